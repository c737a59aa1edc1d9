"""The parameters of a notebook: read from its `parameters` cell, checked before anything runs.

The cell is parsed, never executed: names, annotations and defaults by `ast`, comments by
`tokenize`. A parameter's help is its trailing comment and the comment lines directly above it.
"""

from __future__ import annotations

import ast
import difflib
import io
import operator
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.batch.notebooks import read_notebook, source_of
from labkit.batch.values import ValueType, annotation_type, inferred_type, plain, union
from labkit.errors import ParameterError

_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Parameters
    ----------
    name
        The variable's name.
    type
        What values it takes.
    default
        Its value in the notebook, as a plain JSON value; None when `computed`.
    help
        Its comments.
    choices
        Allowed values, for ``Literal`` annotations.
    annotation
        The annotation as written, or None.
    computed
        The default is an expression that only the kernel can evaluate; unless overridden, the
        notebook's own value holds.
    """

    name: str
    type: ValueType
    default: Any
    help: str = ""
    choices: tuple[Any, ...] = ()
    annotation: str | None = None
    computed: bool = False


def read_parameters(notebook: str | Path | Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters of a notebook in the order of its `parameters` cell.

    Parameters
    ----------
    notebook
        A path, or a notebook's JSON (an nbformat node is one).

    Returns
    -------
    dict
        Empty where no code cell is tagged ``parameters``.

    Raises
    ------
    ParameterError
        If the notebook cannot be read, the cell is not Python, or a default contradicts its own
        annotation.
    """
    content = notebook if isinstance(notebook, Mapping) else read_notebook(Path(notebook))
    for cell in content["cells"]:
        if cell.get("cell_type") == "code" and "parameters" in cell.get("metadata", {}).get(
            "tags", ()
        ):
            return parse_cell(source_of(cell))
    return {}


def parse_cell(source: str) -> dict[str, Parameter]:
    """Return the parameters that a cell's source assigns.

    Examples
    --------
    >>> cell = parse_cell('s = "a#b"  # hash')
    >>> cell["s"].default, cell["s"].help
    ('a#b', 'hash')
    """
    source = "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()
    )
    try:
        module = ast.parse(source)
    except SyntaxError as error:
        raise ParameterError(
            f"the parameters cell is not valid Python: line {error.lineno}: {error.msg}"
        ) from error
    comments = _Comments(source)
    found = (
        _parameter(name, value, annotation, comments.help_for(statement))
        for statement in module.body
        for name, value, annotation in _assignments(statement)
    )
    return {parameter.name: parameter for parameter in found}


def check(
    parameters: Mapping[str, Parameter],
    overrides: Mapping[str, object],
    *,
    notebook: str = "the notebook",
) -> dict[str, Any]:
    """Return all parameters of a run: the overrides where given, the defaults elsewhere.

    Parameters
    ----------
    parameters
        What `read_parameters` returned.
    overrides
        New values; an int is accepted for a float, nothing else is converted.
    notebook
        What to call the notebook in messages.

    Returns
    -------
    dict
        Plain JSON values in the notebook's order; parameters whose default only the kernel can
        compute are left out unless overridden.

    Raises
    ------
    ParameterError
        For an unknown name (with the nearest known one) or a value that is not allowed.
    """
    for name in overrides:
        if name not in parameters:
            raise ParameterError(_unknown(name, parameters, notebook))
    effective: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name in overrides:
            effective[name] = _accept(parameter, overrides[name])
        elif not parameter.computed:
            effective[name] = parameter.default
    return effective


def parse(
    parameters: Mapping[str, Parameter], name: str, text: str, *, notebook: str = "the notebook"
) -> Any:
    """Return command-line text as the value of a parameter.

    Raises
    ------
    ParameterError
        For an unknown name or text that is not of the parameter's type.
    """
    if name not in parameters:
        raise ParameterError(_unknown(name, parameters, notebook))
    try:
        return parameters[name].type.parse(text)
    except ValueError as error:
        raise ParameterError(f"{name} {error}") from error


def check_positive(**values: float | None) -> None:
    """Raise ParameterError for a setting that is given and not more than 0."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ParameterError(f"{name} must be more than 0, got {value:g}")


def _accept(parameter: Parameter, value: object) -> Any:
    try:
        return parameter.type.accept(value)
    except ValueError as error:
        raise ParameterError(f"{parameter.name} {error}") from error


def _unknown(name: str, parameters: Mapping[str, Parameter], notebook: str) -> str:
    if not parameters:
        return (
            f"{notebook} has no parameters, so '{name}' cannot be set. "
            "Tag the cell that defines them with 'parameters'."
        )
    near = difflib.get_close_matches(name, parameters, n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    return f"{notebook} has no parameter '{name}'.{meant} Known: {', '.join(parameters)}"


def _assignments(
    statement: ast.stmt,
) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    if isinstance(statement, ast.AnnAssign):
        if isinstance(statement.target, ast.Name) and statement.value is not None:
            yield statement.target.id, statement.value, statement.annotation
        return
    if not isinstance(statement, ast.Assign):
        return
    for target in statement.targets:
        if isinstance(target, ast.Name):
            yield target.id, statement.value, None
        elif isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            for name, value in zip(target.elts, statement.value.elts, strict=False):
                if isinstance(name, ast.Name):
                    yield name.id, value, None


def _parameter(
    name: str, value: ast.expr, annotation: ast.expr | None, help_text: str
) -> Parameter:
    written = None if annotation is None else ast.unparse(annotation)
    try:
        default = _evaluate(value)
    except ValueError:
        kind = ValueType("any") if annotation is None else annotation_type(annotation)
        return Parameter(name, kind, None, help_text, kind.choices, written, computed=True)
    kind = inferred_type(default) if annotation is None else annotation_type(annotation)
    if default is None and kind.name != "any":
        kind = union(kind, ValueType("none"))
    try:
        accepted = kind.accept(default)
    except ValueError as error:
        raise ParameterError(
            f"the parameters cell contradicts itself: {name}: {written} {error}"
        ) from error
    return Parameter(name, kind, accepted, help_text, _choices(kind), written)


def _choices(kind: ValueType) -> tuple[Any, ...]:
    if kind.name == "union":
        return tuple(choice for member in kind.arguments for choice in _choices(member))
    return kind.choices


def _evaluate(node: ast.expr) -> Any:
    """Return the value of a literal, a path or plain arithmetic; ValueError for anything else."""
    if isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        argument = _evaluate(node.args[0])
        if called == "Path" and isinstance(argument, str):
            return Path(argument)
        if called == "float" and isinstance(argument, str | int | float):
            return float(argument)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return _OPERATORS[type(node.op)](left, right)
    try:
        return plain(ast.literal_eval(node))
    except (ValueError, TypeError) as error:
        raise ValueError(ast.unparse(node)) from error


class _Comments:
    """The comments of a cell, by line."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()
        self._comments = {
            token.start[0]: token.string.lstrip("#").strip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }

    def help_for(self, statement: ast.stmt) -> str:
        """Return the comment lines directly above a statement, then its trailing comment."""
        above = []
        line = statement.lineno - 1
        while line in self._comments and self._lines[line - 1].lstrip().startswith("#"):
            above.append(self._comments[line])
            line -= 1
        last = statement.end_lineno or statement.lineno
        trailing = self._comments.get(last) or self._comments.get(statement.lineno, "")
        return " ".join(part for part in [*reversed(above), trailing] if part)
