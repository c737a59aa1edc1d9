"""The papermill engine ``labkit``: ``papermill --engine labkit in.ipynb out.ipynb``.

papermill loads every installed engine when it is imported, and a broken or slow engine would
break or slow papermill itself. So this module imports nothing; the work is in
`labkit.batch.execution`, loaded when the engine is first used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["LabkitEngine", "quick_imports"]

_GRAMMAR = "rfc3987_syntax"


class LabkitEngine:
    """papermill engine whose saved notebooks tell the truth.

    After an error, a timeout, a killed kernel or an interruption, the saved notebook names the
    failing cell, is nowhere called ``completed``, and is whole JSON at any time. The class has the
    three methods that papermill calls; deriving it from papermill's ``Engine`` would import all of
    papermill here.
    """

    @classmethod
    def execute_notebook(
        cls, nb: NotebookNode, kernel_name: str, output_path: str | None = None, **kwargs: Any
    ) -> NotebookNode:
        """Run a notebook whose parameters papermill has injected.

        Parameters
        ----------
        nb
            Changed in place.
        kernel_name
            Name of the Jupyter kernel.
        output_path
            Where to save.
        **kwargs
            papermill's engine arguments, and fields of `labkit.batch.execution.Settings` by name.

        Raises
        ------
        papermill.exceptions.PapermillExecutionError
            A cell raised.
        nbclient.exceptions.CellTimeoutError, nbclient.exceptions.DeadKernelError
            A cell passed its time; the kernel died.
        KeyboardInterrupt
            The run was interrupted.
        """
        from labkit.batch.execution import execute_for_papermill

        return execute_for_papermill(nb, kernel_name, output_path, **kwargs)

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """Return the kernel to use: `name`, or the one in the notebook's metadata."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(nb, name))

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """Return the language: `language`, or the one in the notebook's metadata."""
        from papermill.utils import nb_language

        return str(nb_language(nb, language))


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import papermill, nbformat or jsonschema in a fifth of the time.

    Four fifths of the CPU time of ``import papermill`` go into ``rfc3987_syntax``, which compiles
    a grammar when it is imported; jsonschema wants it only to check the format of web addresses,
    which no notebook needs, and does without where it is absent. Inside this block it is absent.
    (python-jsonschema/jsonschema#1521, jupyter-server/jupyter_server#1559)

    A process that is a Jupyter kernel is left alone: it belongs to the user.

    Examples
    --------
    >>> with quick_imports():
    ...     import nbformat
    >>> sys.modules.get("rfc3987_syntax", "not hidden") is not None
    True
    """
    if _GRAMMAR in sys.modules or "ipykernel" in sys.modules:
        yield
        return
    sys.modules[_GRAMMAR] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if sys.modules.get(_GRAMMAR) is None:
            sys.modules.pop(_GRAMMAR, None)
