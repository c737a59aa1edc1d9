"""Types of notebook parameters: what a value must be, and how to read it from text.

A type comes from an annotation (`annotation_type`) or, without one, from the default value
(`inferred_type`). `ValueType.accept` checks a Python value and `ValueType.parse` reads command-line
text; both return plain JSON values (a path becomes a string, a tuple a list), which is what a
notebook receives.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any

_WORDS = {"true": True, "yes": True, "on": True, "1": True} | dict.fromkeys(
    ("false", "no", "off", "0"), False
)
_NONE_WORDS = ("none", "null", "")
_PATHS = ("Path", "PurePath", "PathLike", "PosixPath")
_LISTS = ("list", "List", "Sequence", "Iterable", "Collection")
_MAPPINGS = ("dict", "Dict", "Mapping")


@dataclass(frozen=True)
class ValueType:
    """What values a parameter may take.

    Parameters
    ----------
    name
        ``int``, ``float``, ``str``, ``bool``, ``path``, ``list``, ``tuple``, ``dict``, ``none``,
        ``choice``, ``union`` or ``any``.
    arguments
        Types of the items: one for a list, one per place for a tuple (or one and `repeated`),
        key and value for a dict, the members for a union.
    choices
        The allowed values of a ``choice``.
    repeated
        A tuple of any length whose items all have the first argument's type.
    """

    name: str
    arguments: tuple[ValueType, ...] = ()
    choices: tuple[Any, ...] = field(default=())
    repeated: bool = False

    def __str__(self) -> str:
        if self.name == "choice" and self.choices:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        if self.name == "union":
            return " or ".join(str(member) for member in self.arguments)
        if self.name in ("list", "tuple") and self.arguments:
            inner = ", ".join(str(argument) for argument in self.arguments)
            return f"{self.name} of {inner}"
        if self.name == "dict" and self.arguments:
            return f"dict of {self.arguments[0]} to {self.arguments[1]}"
        return {"none": "None", "any": "any value"}.get(self.name, self.name)

    @property
    def described(self) -> str:
        """The type with its article, for messages: ``a float``, ``one of 'a', 'b'``."""
        text = str(self)
        if self.name == "any" or text.startswith(("one of", "None")):
            return text
        return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"

    def accept(self, value: Any) -> Any:
        """Return `value` as a plain JSON value of this type.

        Raises
        ------
        ValueError
            If the value is not of this type; nothing is converted but int to float.
        """
        return _ACCEPT[self.name](self, plain(value))

    def parse(self, text: str) -> Any:
        """Read command-line text as a value of this type.

        Raises
        ------
        ValueError
            If the text is not of this type.

        Examples
        --------
        >>> annotation_type("list[int]").parse("64,64")
        [64, 64]
        >>> annotation_type("float | None").parse("none")
        """
        return _PARSE.get(self.name, _parse_literal)(self, text)


def plain(value: Any) -> Any:
    """Return numpy scalars and arrays, paths and tuples as plain Python values."""
    tolist = getattr(value, "tolist", None)
    if tolist is not None and type(value).__module__.partition(".")[0] == "numpy":
        value = tolist()
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


def annotation_type(annotation: str | ast.expr) -> ValueType:
    """Return the type that an annotation states; ``any`` for one that is not understood."""
    if isinstance(annotation, str):
        annotation = ast.parse(annotation, mode="eval").body
    if isinstance(annotation, ast.Constant):
        if annotation.value is None:
            return ValueType("none")
        if isinstance(annotation.value, str):
            return annotation_type(annotation.value)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return union(annotation_type(annotation.left), annotation_type(annotation.right))
    if isinstance(annotation, ast.Subscript):
        return _subscript_type(_last_name(annotation.value), _items(annotation.slice))
    return _named_type(_last_name(annotation))


def inferred_type(default: Any) -> ValueType:
    """Return the type of a parameter without annotation from its default value."""
    if default is None:
        return ValueType("any")
    if isinstance(default, list | tuple):
        kinds = {inferred_type(item) for item in default}
        if len(kinds) == 1:
            return ValueType("list", (kinds.pop(),))
        if kinds == {ValueType("int"), ValueType("float")}:
            return ValueType("list", (ValueType("float"),))
        return ValueType("list")
    for kind in (bool, int, float, str, dict):
        if isinstance(default, kind):
            return ValueType(kind.__name__)
    return ValueType("path") if isinstance(default, PathLike) else ValueType("any")


def split_items(text: str) -> list[str]:
    """Split text at the commas that stand outside brackets and quotes.

    Examples
    --------
    >>> split_items("[1, 2], [3], 'a,b'")
    ['[1, 2]', '[3]', "'a,b'"]
    """
    parts, depth, quote, start = [], 0, "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[({":
            depth += 1
        elif character in "])}":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def unquoted(text: str) -> str:
    """Return text without the quotes around it, if there are any.

    Examples
    --------
    >>> unquoted("'a,b'"), unquoted("a")
    ('a,b', 'a')
    """
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def union(*members: ValueType) -> ValueType:
    """Return the type that accepts what any of `members` accepts; nested unions are flattened."""
    flat = [
        inner
        for member in members
        for inner in (member.arguments if member.name == "union" else (member,))
    ]
    distinct = tuple(dict.fromkeys(flat))
    return distinct[0] if len(distinct) == 1 else ValueType("union", distinct)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _items(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def _named_type(name: str) -> ValueType:
    if name in ("int", "float", "str", "bool"):
        return ValueType(name)
    if name in _PATHS:
        return ValueType("path")
    if name in _LISTS:
        return ValueType("list")
    if name in _MAPPINGS:
        return ValueType("dict")
    return ValueType("tuple") if name in ("tuple", "Tuple") else ValueType("any")


def _subscript_type(name: str, items: list[ast.expr]) -> ValueType:
    if name == "Literal":
        return ValueType("choice", choices=tuple(ast.literal_eval(item) for item in items))
    if name == "Optional":
        return union(annotation_type(items[0]), ValueType("none"))
    if name == "Union":
        return union(*(annotation_type(item) for item in items))
    if name in ("Annotated", "Final"):
        return annotation_type(items[0])
    repeated = isinstance(items[-1], ast.Constant) and items[-1].value is Ellipsis
    base = _named_type(name)
    if base.name not in ("list", "tuple", "dict"):
        return base
    arguments = tuple(annotation_type(item) for item in (items[:-1] if repeated else items))
    return ValueType(base.name, arguments, repeated=repeated)


def _accept_scalar(kind: ValueType, value: Any) -> Any:
    allowed, convert = _SCALAR_TYPES[kind.name]
    if isinstance(value, allowed) and isinstance(value, bool) == (kind.name == "bool"):
        return convert(value)
    raise _mismatch(kind, value)


def _accept_none(kind: ValueType, value: Any) -> None:
    if value is not None:
        raise _mismatch(kind, value)


def _accept_choice(kind: ValueType, value: Any) -> Any:
    for choice in kind.choices:
        if choice == value and type(choice) is type(value):
            return choice
    raise _mismatch(kind, value)


def _accept_list(kind: ValueType, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _mismatch(kind, value)
    fixed = kind.name == "tuple" and bool(kind.arguments) and not kind.repeated
    if fixed and len(value) != len(kind.arguments):
        raise ValueError(f"must have {len(kind.arguments)} items, got {len(value)}: {value!r}")
    try:
        return [place.accept(item) for place, item in zip(_places(kind), value, strict=False)]
    except ValueError:
        raise _mismatch(kind, value) from None


def _accept_dict(kind: ValueType, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _mismatch(kind, value)
    if not all(isinstance(key, str) for key in value):
        raise ValueError(f"must have text keys, got {value!r}")
    inner = kind.arguments[1] if len(kind.arguments) == 2 else ValueType("any")
    return {key: inner.accept(item) for key, item in value.items()}


def _accept_union(kind: ValueType, value: Any) -> Any:
    for member in kind.arguments:
        try:
            return member.accept(value)
        except ValueError:
            continue
    raise _mismatch(kind, value)


def _accept_any(kind: ValueType, value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"must be a number, text, bool, None, list or dict, got {type(value).__name__}"
        ) from None
    return value


def _parse_number(kind: ValueType, text: str) -> Any:
    try:
        return _SCALAR_TYPES[kind.name][1](text)
    except ValueError:
        raise _mismatch(kind, text) from None


def _parse_bool(kind: ValueType, text: str) -> bool:
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        raise _mismatch(kind, text) from None


def _parse_none(kind: ValueType, text: str) -> None:
    if text.strip().lower() not in _NONE_WORDS:
        raise _mismatch(kind, text)


def _parse_choice(kind: ValueType, text: str) -> Any:
    for choice in kind.choices:
        if text == str(choice) or (choice is None and text.lower() in _NONE_WORDS):
            return choice
    raise _mismatch(kind, text)


def _parse_union(kind: ValueType, text: str) -> Any:
    for member in sorted(kind.arguments, key=lambda member: member.name != "none"):
        try:
            return member.parse(text)
        except ValueError:
            continue
    raise _mismatch(kind, text)


def _parse_items(kind: ValueType, text: str) -> list[Any]:
    stripped = text.strip()
    if stripped[:1] + stripped[-1:] in ("[]", "()"):
        stripped = stripped[1:-1]
    items = split_items(stripped)
    try:
        parsed = [
            place.parse(unquoted(item)) for place, item in zip(_places(kind), items, strict=False)
        ]
    except ValueError:
        raise _mismatch(kind, text) from None
    return kind.accept(parsed + items[len(parsed) :])


def _places(kind: ValueType) -> Iterator[ValueType]:
    if kind.name == "tuple" and kind.arguments and not kind.repeated:
        yield from kind.arguments
        return
    while True:
        yield kind.arguments[0] if kind.arguments else ValueType("any")


def _parse_literal(kind: ValueType, text: str) -> Any:
    for read in (json.loads, ast.literal_eval, _flow_yaml):
        try:
            return kind.accept(read(text))
        except (ValueError, SyntaxError):
            continue
    if kind.name == "any":
        return text
    raise _mismatch(kind, text)


def _flow_yaml(text: str) -> Any:
    """Read ``{a: 1, b: x}``, the way a grid file writes it."""
    if not text.lstrip().startswith("{"):
        raise ValueError(text)
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(text) from error


def _mismatch(kind: ValueType, value: Any) -> ValueError:
    shown = repr(value)
    return ValueError(
        f"must be {kind.described}, got {shown if len(shown) <= 60 else shown[:57] + '...'}"
    )


_SCALAR_TYPES: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "int": (Integral, int),
    "float": (Real, float),
    "bool": (bool, bool),
    "str": (str, str),
    "path": (str, str),
}
_ACCEPT: dict[str, Callable[[ValueType, Any], Any]] = {
    **dict.fromkeys(_SCALAR_TYPES, _accept_scalar),
    "none": _accept_none,
    "choice": _accept_choice,
    "list": _accept_list,
    "tuple": _accept_list,
    "dict": _accept_dict,
    "union": _accept_union,
    "any": _accept_any,
}
_PARSE: dict[str, Callable[[ValueType, str], Any]] = {
    "int": _parse_number,
    "float": _parse_number,
    "bool": _parse_bool,
    "str": lambda kind, text: text,
    "path": lambda kind, text: text,
    "none": _parse_none,
    "choice": _parse_choice,
    "union": _parse_union,
    "list": _parse_items,
    "tuple": _parse_items,
}
