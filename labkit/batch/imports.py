"""What a notebook imports, read from its code without running it."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any


def imports_of(notebook: Path | str | Mapping[str, Any]) -> list[str]:
    """Return the installed modules that a notebook's code cells import at their top level.

    Only third-party packages and labkit: what the standard library brings is quick, and a module
    that lies beside the notebook may differ between working directories. A labkit package that
    defines a tuple ``PRELOAD`` adds the modules in it: what it imports late, inside functions.

    Parameters
    ----------
    notebook
        A notebook file of format 4, or its parsed content.

    Returns
    -------
    list of str
        Full module names (``torch_geometric.nn``), in the order of first use. ``from a.b import c``
        counts as ``a.b``.

    Examples
    --------
    >>> imports_of({"cells": [{"cell_type": "code", "source": "import numpy as np, json"}]})
    ['numpy']
    """
    content: Mapping[str, Any]
    if isinstance(notebook, Mapping):
        content = notebook
    else:
        content = json.loads(Path(notebook).read_text(encoding="utf-8"))
    names: dict[str, None] = {}
    for cell in content.get("cells", []):
        if cell.get("cell_type") == "code":
            names |= dict.fromkeys(_imported("".join(cell["source"])))
    found = [name for name in names if _is_preloadable(name)]
    extra = [late for name in found for late in _declared_preload(name)]
    return list(dict.fromkeys(found + [name for name in extra if _is_preloadable(name)]))


def _imported(source: str) -> Iterator[str]:
    """Yield the modules that a cell's top-level statements import; magics are skipped."""
    lines = source.splitlines()
    if lines and lines[0].lstrip().startswith("%%"):
        return
    plain = "\n".join("pass" if line.startswith(("%", "!", "?")) else line for line in lines)
    try:
        statements = ast.parse(plain).body
    except SyntaxError:
        return
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            yield statement.module
            if statement.module.partition(".")[0] == "labkit":
                yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


@lru_cache(maxsize=1024)
def _is_preloadable(name: str) -> bool:
    """Tell whether a module is installed (site-packages) or labkit's, and not standard library."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "__main__":
        return False
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None or not (spec.origin or spec.submodule_search_locations):
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or [])]
    if top != "labkit" and not any("-packages" in place for place in places):
        return False
    return _submodule_exists(name, list(spec.submodule_search_locations or []))


@lru_cache(maxsize=1024)
def locations(top: str) -> frozenset[str]:
    """Return the file of a top-level module, resolved; empty when it is not installed."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return frozenset()
    origin = spec.origin if spec is not None else None
    return frozenset({str(Path(origin).resolve())} if origin else ())


def _submodule_exists(name: str, folders: list[str]) -> bool:
    """Tell whether ``a.b.c`` is a module, by looking for files: finding it would import ``a``."""
    for part in name.split(".")[1:]:
        inner = [Path(folder) / part for folder in folders]
        packages = [str(folder) for folder in inner if folder.is_dir()]
        if packages:
            folders = packages
        elif any(list(path.parent.glob(f"{path.name}.*")) for path in inner):
            folders = []
        else:
            return False
    return True


def _declared_preload(name: str) -> tuple[str, ...]:
    """Return the ``PRELOAD`` tuple of a labkit package, read from its source."""
    parts = name.split(".")
    if parts[0] != "labkit" or len(parts) < 2:
        return ()
    file = Path(__file__).parents[1] / parts[1] / "__init__.py"
    if not file.is_file():
        return ()
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == "PRELOAD" for target in targets):
            return tuple(ast.literal_eval(statement.value))  # type: ignore[attr-defined]
    return ()
