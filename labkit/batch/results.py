"""Results: `record` puts values into a notebook, `collect` makes one table of many notebooks.

A recorded value travels as scrapbook's mime type, so that scrapbook's readers find it too. That is
JSON, which has no nan and no infinity, and in scrapbook's schema no null either: a value that is
one of these travels as the text ``nan``, ``inf``, ``-inf`` or ``None`` and is read back as what it
was. Inside a list or dict, nan becomes null.
"""

from __future__ import annotations

import html
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.batch.notebooks import read_notebook
from labkit.errors import LabkitError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

SCRAP_MIME = "application/scrapbook.scrap.json+json"
_MISSING = ("NaTType", "NAType")
_WORDS: dict[Any, float | None] = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "None": None,
}
_WRITERS = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
    ".json": lambda frame, path: frame.to_json(path, orient="records", indent=1),
}


def record(**values: Any) -> None:
    """Record named results of this notebook.

    Each value is stored in the notebook's outputs and becomes a column of `collect`'s table; one
    readable table is displayed.

    Parameters
    ----------
    **values
        Numbers, text, bools, None, dates, lists and dicts of these; numpy arrays and scalars,
        tensors and pandas objects are converted.

    Raises
    ------
    ParameterError
        If a value has no JSON form; nothing is recorded then.

    Examples
    --------
    >>> record(macro_auc=0.71, n_labels=27)
    macro_auc  0.71
    n_labels   27
    """
    stored = {name: _stored_value(name, value) for name, value in values.items()}
    from IPython.core.interactiveshell import InteractiveShell

    if not InteractiveShell.initialized():
        sys.stdout.write(as_text(stored) + "\n")
        return
    from IPython.display import publish_display_data as publish

    for name, value in stored.items():
        scrap = {"name": name, "data": value, "encoder": "json", "version": 1}
        about = {"scrapbook": {"name": name, "data": True, "display": False}}
        publish({SCRAP_MIME: scrap}, metadata=about)  # type: ignore[no-untyped-call]
    readable = {"text/plain": as_text(stored), "text/html": _as_html(stored)}
    publish(readable)  # type: ignore[no-untyped-call]


def read_record(notebook: str | Path) -> dict[str, Any]:
    """Return the values that an executed notebook recorded, by name; the last of each name."""
    values: dict[str, Any] = {}
    for cell in read_notebook(Path(notebook))["cells"]:
        for output in cell.get("outputs", ()):
            scrap = output.get("data", {}).get(SCRAP_MIME)
            if isinstance(scrap, dict) and "name" in scrap:
                value = scrap.get("data")
                values[scrap["name"]] = _WORDS.get(value, value) if _is_word(value) else value
    return values


def as_text(values: Mapping[str, Any]) -> str:
    """Return named values as aligned lines; numbers with up to six digits."""
    width = max((len(name) for name in values), default=0)
    return "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in values.items())


def collect(directory: str | Path) -> pd.DataFrame:
    """Return one table of the runs in a folder.

    Parameters
    ----------
    directory
        A sweep's folder, or any folder of run folders.

    Returns
    -------
    DataFrame
        One row per run, also for those that failed or have not started: ``index``, the
        parameters, the recorded values, ``status``, ``error``, ``duration_s``, ``cpu_s``,
        ``peak_rss_mib``, ``path``. A recorded name that is also a parameter's gets the suffix
        ``_recorded``; a parameter named like a fixed column the prefix ``parameter_``.

    Raises
    ------
    ParameterError
        If there is no run in the folder.
    """
    import pandas as pd

    rows = [_row(folder, status) for folder, status in runs_in(directory)]
    groups = [list(dict.fromkeys(key for row in rows for key in row[part])) for part in range(4)]
    columns = list(dict.fromkeys(name for group in groups for name in group))
    merged = [{key: value for part in row for key, value in part.items()} for row in rows]
    return pd.DataFrame(merged, columns=columns)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as .csv, .parquet or .json; the file is complete or not there at all.

    Raises
    ------
    ParameterError
        For another suffix, or a folder that does not exist.
    LabkitError
        If parquet is asked for without pyarrow.
    """
    target = Path(path)
    write = _WRITERS.get(target.suffix)
    if write is None:
        raise ParameterError(f"{path} must end in {', '.join(_WRITERS)}")
    if not target.parent.is_dir():
        raise ParameterError(f"the folder {target.parent} does not exist")
    flat = table.map(_flat) if target.suffix != ".json" else table
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".labkit-") as folder:
        temporary = Path(folder) / target.name
        try:
            write(_uniform(flat) if target.suffix == ".parquet" else flat, temporary)
        except ImportError as error:
            raise LabkitError(
                "parquet needs pyarrow: pip install 'labkit[parquet]', or write a .csv"
            ) from error
        temporary.replace(target)


def runs_in(directory: str | Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder and status record of each run of a sweep's plan, or of a plain folder.

    Raises
    ------
    ParameterError
        If there is no run in the folder.
    """
    from labkit.batch.planning import read_tasks
    from labkit.batch.runs import read_status

    home = Path(directory)
    if (home / "tasks.jsonl").is_file():
        for task in read_tasks(home):
            status = read_status(task.directory)
            yield task.directory, {**status, "index": task.index, "parameters": task.parameters}
        return
    records = sorted(home.glob("*/status.json"))
    if not records:
        raise ParameterError(f"there are no runs in {directory}")
    for path in records:
        yield path.parent, read_status(path.parent)


def duration_seconds(status: Mapping[str, Any]) -> float | None:
    """Return how long a run took, from its status record; None while it has not ended."""
    try:
        started, ended = (datetime.fromisoformat(status[key]) for key in ("started", "ended"))
    except (KeyError, TypeError, ValueError):
        return None
    return (ended - started).total_seconds()


def _row(directory: Path, status: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the four groups of columns: index, parameters, recorded values, how it went."""
    how = {
        "status": str(status["status"]),
        "error": _error_line(status),
        "duration_s": duration_seconds(status),
        "cpu_s": status.get("cpu_s"),
        "peak_rss_mib": status.get("peak_rss_mib"),
        "path": str(directory),
    }
    reserved = {"index", *how}
    parameters = {
        f"parameter_{name}" if name in reserved else name: value
        for name, value in (status.get("parameters") or {}).items()
    }
    notebook = directory / "notebook.ipynb"
    recorded: dict[str, Any] = {}
    try:
        recorded = read_record(notebook) if notebook.is_file() else {}
    except LabkitError as error:
        how["error"] = how["error"] or f"results cannot be read: {error}"
    values = {
        f"{name}_recorded" if name in reserved or name in parameters else name: value
        for name, value in recorded.items()
    }
    index = {"index": status["index"]} if "index" in status else {}
    return index, parameters, values, how


def _error_line(status: Mapping[str, Any]) -> str | None:
    error = status.get("error")
    if not error:
        return None
    message = str(error.get("message", "")).strip().partition("\n")[0]
    return f"{error.get('name', 'error')}: {message}"


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value in _WORDS


def _stored_value(name: str, value: Any) -> Any:
    """Return a value as it travels: JSON data without a null at its top."""
    plain = _json_value(name, value)
    if plain is None:
        return "None" if value is None else "nan"
    return plain


def _json_value(name: str, value: Any) -> Any:
    """Return `value` as JSON data, or raise ParameterError with what it is and what is allowed."""
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real) or type(value).__name__ == "Decimal":
        return _json_float(float(value))
    if isinstance(value, Mapping):
        return {str(key): _json_value(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [_json_value(name, item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for method, arguments in (
        ("to_dict", _to_dict_arguments(value)),
        ("tolist", ()),
        ("isoformat", ()),
    ):
        convert = getattr(value, method, None)
        if convert is not None and not isinstance(value, type):
            return _json_value(name, convert(*arguments))
    raise ParameterError(
        f"record({name}=...): a {type(value).__name__} cannot be stored. Record numbers, text, "
        "lists or dicts, and write larger things to a file."
    )


def _to_dict_arguments(value: Any) -> tuple[str, ...]:
    return ("records",) if type(value).__name__ == "DataFrame" else ()


def _json_float(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _as_html(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(_shown(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table>{rows}</table>"


def _flat(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _uniform(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with columns of mixed types as text, which parquet needs."""
    uniform = table.copy()
    for name in uniform.columns:
        kinds = {type(value) for value in uniform[name].dropna()}
        if uniform[name].dtype == object and len(kinds) > 1:
            uniform[name] = uniform[name].map(lambda value: None if value is None else str(value))
    return uniform
