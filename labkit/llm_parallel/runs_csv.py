"""The lines of a user's csv file of measured steps, checked one by one.

Every error is one sentence that names the file, the line and what to write instead.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.rules import check

_MODEL_NEEDED = ("num_layers", "hidden_size", "num_attention_heads", "seq_length")
_STRATEGY_NEEDED = ("tp", "pp", "dp", "micro_batch_size", "global_batch_size")
_TYPES = {
    **{field.name: field.type for field in fields(ModelConfig)},
    **{field.name: field.type for field in fields(ParallelConfig)},
}
_MEASURED = ("seconds", "memory_bytes", "source")
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_OTHER_UNIT = re.compile(
    r"millis|\bms\b|_ms$|second|minute|hour|\btime\b|_time|memory|gi?b\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Line:
    """One measured step; ``memory_bytes`` is NaN where it was not measured."""

    model: ModelConfig
    strategy: ParallelConfig
    seconds: float
    memory_bytes: float
    source: str


def read_lines(path: Path, *, model: ModelConfig | None) -> list[Line]:
    """Read and check the lines of a file; errors name the file and the line.

    Parameters
    ----------
    path : Path
    model : ModelConfig, optional
        What the columns of a model start from; without it they are needed.
    """
    table = _cells(path)
    header = [name.strip() for name in table[0][1]] if table else []
    try:
        _check_header(header, model)
    except ParameterError as exc:
        raise ParameterError(f"{path.name}, line 1: {exc}") from exc
    lines: list[Line] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, cells in table[1:]:
        try:
            if len(cells) != len(header):
                raise ParameterError(f"{len(cells)} cells where the header has {len(header)}.")
            if (first := seen.setdefault(tuple(cells), number)) != number:
                raise ParameterError(
                    f"the same as line {first} to the last digit; remove one of them."
                )
            lines.append(_line(dict(zip(header, cells, strict=True)), model))
        except ParameterError as exc:
            raise ParameterError(f"{path.name}, line {number}: {exc}") from exc
    if not seen:
        raise ParameterError(f"{path.name}, line 2: add at least one measured step.")
    return lines


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    """Return the number and the cells of each line that is not empty."""
    if not path.is_file():
        raise ParameterError(f"runs: {path} is no file; name a csv file of measured steps.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            return [(reader.line_num, [c.strip() for c in row]) for row in reader if any(row)]
    except UnicodeDecodeError as exc:
        raise ParameterError(f"{path.name}: it is no UTF-8 text; save it as csv, UTF-8.") from exc
    except csv.Error as exc:
        raise ParameterError(f"{path.name}, line {reader.line_num}: no csv ({exc}).") from exc


def _check_header(header: list[str], model: ModelConfig | None) -> None:
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        raise ParameterError("the cells are not separated by commas; save it with commas.")
    for name in header:
        if header.count(name) > 1:
            raise ParameterError(f"the column {name!r} is there {header.count(name)} times.")
        if name not in _TYPES and name not in _MEASURED:
            if _OTHER_UNIT.search(name):
                raise ParameterError(
                    f"the column {name!r} has another unit or name; give the time of a step as "
                    "'seconds' and the memory as 'memory_bytes'."
                )
            raise ParameterError(not_allowed("column", name, [*_TYPES, *_MEASURED]))
    missing = [name for name in _needed(model) if name not in header]
    if missing:
        needed = ", ".join(_needed(model))
        raise ParameterError(f"the column {missing[0]!r} is missing; needed: {needed}.")


def _needed(model: ModelConfig | None) -> tuple[str, ...]:
    return (*(_MODEL_NEEDED if model is None else ()), *_STRATEGY_NEEDED, "seconds")


def _line(cells: dict[str, str], model: ModelConfig | None) -> Line:
    given = {name: _value(name, cell) for name, cell in cells.items() if cell}
    for name in _needed(model):
        if name not in given:
            raise ParameterError(f"{name} is empty.")
    of_model, of_strategy = (
        {name: given[name] for name in (field.name for field in fields(kind)) if name in given}
        for kind in (ModelConfig, ParallelConfig)
    )
    trained = ModelConfig(**of_model) if model is None else model.replace(**of_model)
    strategy = ParallelConfig(**of_strategy)
    check(trained, strategy)
    return Line(
        trained,
        strategy,
        _positive("seconds", given["seconds"]),
        _positive("memory_bytes", given["memory_bytes"]) if "memory_bytes" in given else math.nan,
        given.get("source", "measured here"),
    )


def _value(name: str, cell: str) -> Any:
    """Return a cell in the type of its field."""
    kind = str(_TYPES.get(name, "str" if name == "source" else "float"))
    if kind == "str":
        return cell
    if kind == "bool":
        if cell.lower() not in _BOOLEANS:
            raise ParameterError(f"{name}={cell!r}: use true or false.")
        return _BOOLEANS[cell.lower()]
    try:
        number = float(cell)
    except ValueError:
        raise ParameterError(f"{name}={cell!r} is no number.") from None
    return int(number) if kind.startswith("int") and number.is_integer() else number


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ParameterError(f"{name}={value:g}: use a number above 0.")
    return value
