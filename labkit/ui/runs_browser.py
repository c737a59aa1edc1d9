"""Browser for the results of a sweep: filter, sort, choose columns, plot, open notebooks."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from labkit.batch.results import collect
from labkit.batch.runs import read_status
from labkit.errors import LabkitError
from labkit.ui.batch_run import runs_folder
from labkit.ui.blocks import GRAY, RED, Panel, line, show_figure, show_html
from labkit.viz.style import MPLSTYLE, PALETTE

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ALL = "all"
NOTHING = object()
"""An entry of a list for no column; ipywidgets takes None for no choice at all."""
MAX_ROWS = 50
FIRST_COLUMNS = 9
HIDDEN_AT_FIRST = ("index", "error", "cpu_s", "peak_rss_mib", "path")
NO_RUNS = (
    "no runs in {} yet; make some in a terminal: "
    "labkit sweep oversampling notebooks/grids/oversampling_quick.yaml"
)
STATUS_COLORS = {
    "completed": "#00664B",
    "failed": RED,
    "timeout": RED,
    "died": RED,
    "cancelled": "#8a6d00",
}


def runs_table(directory: str | Path | None = None) -> RunsTable:
    """Table of the runs in a folder, with controls to look at them.

    Parameters
    ----------
    directory : str or Path, optional
        Folder of a sweep, of runs, or of several such folders, which can then be chosen from;
        `labkit.ui.batch_run.runs_folder` by default.

    Returns
    -------
    RunsTable
        Shows a plain table when executed headless, and one line that says how to make runs
        when there are none.
    """
    return RunsTable(runs_folder() if directory is None else Path(directory))


class RunsTable(Panel):
    """See `runs_table`; ``frame`` holds all runs, ``shown`` those that the filter leaves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.frame: pd.DataFrame | None = None
        self._problem = ""
        self._build()
        self.refresh()

    @property
    def shown(self) -> pd.DataFrame | None:
        """Runs with the chosen status, sorted; None when there are none at all."""
        if self.frame is None:
            return None
        frame = self.frame
        if self.status.value != ALL:
            frame = frame[frame["status"] == self.status.value]
        if self.sort_by.value is NOTHING:
            return frame
        return frame.sort_values(
            self.sort_by.value,
            ascending=not self.descending.value,
            kind="stable",
            key=_sort_key,
        )

    def refresh(self) -> None:
        """Look for folders again, and read the chosen one, or one that is new."""
        folders = folders_with_runs(self.directory)
        known = [folder for _, folder in self.folder.options]
        self._quiet = True
        _offer(self.folder, folders, None)
        new = [folder for folder in folders if known and folder not in known]
        if new:
            self.folder.value = new[0]
        self.folder.layout.display = "none" if folders in ([], [self.directory]) else "flex"
        self._quiet = False
        self._load()

    def _load(self) -> None:
        folder = self.folder.value
        try:
            self.frame = None if folder is None else collect(folder)
            self._problem = NO_RUNS.format(_shown_path(self.directory))
        except (LabkitError, OSError) as exc:
            self.frame, self._problem = None, f"cannot read {_shown_path(folder)}: {exc}"
        self._fill_controls()
        self._draw()

    def text(self) -> str:
        """The table in plain text, or the line that says why there is none."""
        shown = self.shown
        if shown is None:
            return self._problem
        columns = list(self.columns.value)
        table = shown[columns].head(MAX_ROWS).map(_cell_text).to_string(index=False)
        return f"{self._counts()}\n{table}"

    def _build(self) -> None:
        self.folder = widgets.Dropdown(description="folder")
        self.status = widgets.Dropdown(description="status")
        self.sort_by = widgets.Dropdown(description="sort by")
        self.descending = widgets.Checkbox(description="largest first", indent=False)
        self.columns = widgets.SelectMultiple(description="columns", rows=6)
        self.x = widgets.Dropdown(description="x")
        self.y = widgets.Dropdown(description="y")
        self.color = widgets.Dropdown(description="color")
        self.summary = widgets.HTML().add_class("labkit-runs-summary")
        self.table = widgets.Output().add_class("labkit-runs-table")
        self.plot = widgets.Output().add_class("labkit-runs-plot")
        again = widgets.Button(description="Refresh", icon="refresh").add_class("labkit-refresh")
        again.on_click(lambda _: self.refresh())
        lists = (self.folder, self.status, self.sort_by, self.columns, self.x, self.y, self.color)
        for control in lists:
            control.layout.width = "250px"
            control.style.description_width = "58px"
        self.descending.layout.width = "130px"
        pick = widgets.VBox([self.status, self.sort_by, self.descending])
        axes = widgets.VBox([self.x, self.y, self.color])
        self._controls = widgets.HBox(
            [pick, self.columns, axes], layout=widgets.Layout(flex_flow="row wrap")
        )
        watched = (self.status, self.sort_by, self.descending, self.columns)
        for control in (*watched, self.x, self.y, self.color):
            control.observe(self._on_change, names="value")
        self.folder.layout.width = "420px"
        self.folder.observe(lambda _: None if self._quiet else self._load(), names="value")
        top = widgets.HBox(
            [self.folder, self.summary, again], layout=widgets.Layout(align_items="center")
        )
        super().__init__([top, self._controls, self.table, self.plot])
        self.add_class("labkit-runs")

    def _fill_controls(self) -> None:
        """Offer what the table has; choices that are still there are kept."""
        self._quiet = True
        frame = self.frame
        self._controls.layout.display = "none" if frame is None else "flex"
        if frame is not None:
            statuses = [ALL, *sorted(frame["status"].unique())]
            names = list(frame.columns)
            numbers = [name for name in names if _is_number(frame[name])]
            _offer(self.status, statuses, ALL)
            x, y, color = _first_plot(frame, names, numbers)
            _offer(self.sort_by, names, NOTHING, nothing="as planned")
            _offer(self.x, names, x, nothing="no plot")
            _offer(self.y, numbers, y, nothing="no plot")
            _offer(self.color, names, color, nothing="one color")
            kept = [name for name in self.columns.value if name in names]
            self.columns.options = names
            self.columns.value = kept or _first_columns(frame)
        self._quiet = False

    def _on_change(self, _change: object) -> None:
        if not self._quiet:
            self._draw()

    def _draw(self) -> None:
        shown = self.shown
        if shown is None:
            self.summary.value = line(self._problem, GRAY)
            self.table.outputs = self.plot.outputs = ()
            return
        self.summary.value = line(self._counts())
        show_html(self.table, _table_html(shown, list(self.columns.value)), self.text())
        self._draw_plot(shown)

    def _draw_plot(self, shown: pd.DataFrame) -> None:
        x, y = self.x.value, self.y.value
        if NOTHING in (x, y) or not shown[y].notna().any():
            self.plot.outputs = ()
            return
        import matplotlib.style
        from matplotlib.figure import Figure

        with matplotlib.style.context(MPLSTYLE):
            figure = Figure(figsize=(6.6, 3.6))
            color = None if self.color.value is NOTHING else self.color.value
            _scatter(figure.add_subplot(), shown, x, y, color)
            show_figure(self.plot, figure, f"plot of {y} against {x}")

    def _counts(self) -> str:
        assert self.frame is not None
        counts = self.frame["status"].value_counts()
        parts = ", ".join(f"{count} {status}" for status, count in counts.items())
        noun = "run" if len(self.frame) == 1 else "runs"
        return f"{len(self.frame)} {noun} in {_shown_path(self.folder.value)}: {parts}"


def folders_with_runs(directory: Path) -> list[Path]:
    """Return `directory` and those of its folders that hold runs, the last changed first."""
    if not directory.is_dir():
        return []
    inside = [path for path in directory.iterdir() if path.is_dir() and _has_runs(path)]
    inside.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return [directory, *inside] if _has_runs(directory) else inside


def _has_runs(folder: Path) -> bool:
    if (folder / "tasks.jsonl").is_file():
        return True
    return next(folder.glob("*/status.json"), None) is not None


def _shown_path(path: Path) -> str:
    """Path relative to the current folder, where it is not far from it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("../..") else relative


def _offer(
    control: widgets.Dropdown, values: Sequence[Any], first: Any, *, nothing: str = ""
) -> None:
    """Fill a list; what was chosen stays chosen where it is still there."""
    entries = [(_entry(value), value) for value in values]
    if nothing:
        entries.insert(0, (nothing, NOTHING))
    values = [value for _, value in entries]
    kept = control.value if control.options and control.value in values else first
    control.options = entries
    if values:
        control.value = kept if kept in values else values[0]


def _entry(value: Any) -> str:
    return _shown_path(value) if isinstance(value, Path) else str(value)


def _first_columns(frame: pd.DataFrame) -> list[str]:
    """What varies between the runs, then results: the columns worth a first look."""
    last = ["status", "duration_s"]
    names = [name for name in frame.columns if name not in (*HIDDEN_AT_FIRST, *last)]
    varying = [name for name in names if _n_distinct(frame[name]) > 1]
    return (varying or names)[: FIRST_COLUMNS - len(last)] + last


def _first_plot(
    frame: pd.DataFrame, names: Sequence[str], numbers: Sequence[str]
) -> tuple[Any, Any, Any]:
    """Columns for x, y and color: the last result against the parameter varied most."""
    fixed = (*HIDDEN_AT_FIRST, "status", "duration_s")
    distinct = {name: _n_distinct(frame[name]) for name in names if name not in fixed}
    varying = [name for name, count in distinct.items() if count > 1]
    parameters = _parameter_names(frame)
    results = [name for name in varying if name in numbers and name not in parameters]
    y = results[-1] if results else "duration_s"
    given = [name for name in varying if name in parameters]
    x = max(given, key=lambda name: (name in numbers, distinct[name]), default=NOTHING)
    few = [name for name in given if name != x and distinct[name] <= len(PALETTE)]
    return x, y if y in numbers else NOTHING, few[0] if few else NOTHING


def _parameter_names(frame: pd.DataFrame) -> set[str]:
    """Columns that are parameters, from the first run that has a record of them."""
    for path in frame["path"]:
        parameters = read_status(Path(path)).get("parameters")
        if parameters:
            return set(parameters)
    return set()


def _n_distinct(column: pd.Series[Any]) -> int:
    return int(column.map(str).nunique())


def _is_number(column: pd.Series[Any]) -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _sort_key(column: pd.Series[Any]) -> pd.Series[Any]:
    return column if _is_number(column) else column.map(str)


def _cell_text(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - true of nan and NaT only
        return "–"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _table_html(frame: pd.DataFrame, columns: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in (*columns, "notebook"))
    body = "".join(_row_html(row, columns) for row in frame.head(MAX_ROWS).to_dict("records"))
    rest = len(frame) - MAX_ROWS
    note = f"<p>the first {MAX_ROWS} of {len(frame)}; filter or sort for others</p>"
    return (
        '<div style="overflow-x:auto"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>{note if rest > 0 else ''}"
    )


def _row_html(row: dict[str, Any], columns: Sequence[str]) -> str:
    cells = [_cell_html(name, row[name]) for name in columns]
    notebook = Path(str(row["path"])) / "notebook.ipynb"
    path = html.escape(os.path.relpath(notebook), quote=True)
    link = f'<a href="{path}">open</a>' if notebook.is_file() else "–"
    return "<tr>" + "".join(cells) + f"<td>{link}</td></tr>"


def _cell_html(name: str, value: Any) -> str:
    text = html.escape(_cell_text(value))
    if name == "status":
        text = f'<span style="color:{STATUS_COLORS.get(str(value), GRAY)}">{text}</span>'
    align = "right" if isinstance(value, int | float) else "left"
    return f'<td style="text-align:{align}">{text}</td>'


def _scatter(ax: Axes, frame: pd.DataFrame, x: str, y: str, color: str | None) -> None:
    """Draw runs as dots, one color for each value of `color`, text values in order on the axis."""
    known = frame[frame[y].notna()]
    groups = [("", known)] if color is None else list(known.groupby(known[color].map(str)))
    positions = {} if _is_number(known[x]) else _positions(known[x])
    for i, (name, group) in enumerate(groups):
        across = group[x] if not positions else group[x].map(lambda v: positions[_cell_text(v)])
        shade = PALETTE[i % len(PALETTE)]
        ax.plot(across, group[y], "o", color=shade, label=name, alpha=0.85, markeredgewidth=0)
    if positions:
        ax.set_xticks(list(positions.values()), list(positions))
        ax.set_xlim(-0.5, len(positions) - 0.5)
    ax.set(xlabel=x, ylabel=y)
    if color is not None and len(groups) <= 12:
        ax.legend(title=color)


def _positions(column: pd.Series[Any]) -> dict[str, int]:
    return {text: i for i, text in enumerate(dict.fromkeys(map(_cell_text, column)))}
