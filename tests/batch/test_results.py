import json
import math
import runpy
import sys
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from labkit.batch.results import (
    SCRAP_MIME,
    as_text,
    collect,
    duration_seconds,
    read_record,
    record,
    write_table,
)
from labkit.batch.runs import write_status
from labkit.errors import LabkitError, ParameterError

write_notebook = runpy.run_path(str(Path(__file__).with_name("tiny.py")))["write_notebook"]


@pytest.fixture(scope="module")
def shell():
    """An IPython shell, as a kernel has one, that keeps no history."""
    yield InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    InteractiveShell.clear_instance()


@pytest.fixture
def displayed(shell):
    """Record inside an IPython shell and return the outputs that a notebook would hold."""

    def outputs_of(**values):
        with capture_output() as captured:
            record(**values)
        return captured.outputs

    return outputs_of


def notebook_with(outputs, path):
    cell = {
        "cell_type": "code",
        "source": "",
        "metadata": {},
        "execution_count": 1,
        "outputs": [
            {"output_type": "display_data", "data": out.data, "metadata": out.metadata}
            for out in outputs
        ],
    }
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    path.write_text(json.dumps(content, allow_nan=False))
    return path


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (3, 3),
        (True, True),
        (None, None),
        ("text", "text"),
        (2.5, 2.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (np.array(4.0), 4.0),
        (np.array([[1.0, np.nan]]), [[1.0, None]]),
        (float("nan"), math.nan),
        (np.float32("nan"), math.nan),
        (pd.NaT, math.nan),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        ((1, 2), [1, 2]),
        ({"a": np.int8(1), 2: [Fraction(1, 4)]}, {"a": 1, "2": [0.25]}),
        (Decimal("0.5"), 0.5),
        (date(2026, 11, 21), "2026-11-21"),
        (Path("a/b"), "a/b"),
        (pd.Series({"x": 1.0, "y": np.nan}), {"x": 1.0, "y": None}),
        (pd.DataFrame({"x": [1, 2]}), [{"x": 1}, {"x": 2}]),
        (pd.Timestamp("2026-11-21"), "2026-11-21T00:00:00"),
        (range(3), [0, 1, 2]),
    ],
)
def test_a_value_survives_the_notebook(displayed, tmp_path, value, read):
    path = notebook_with(displayed(value=value), tmp_path / "n.ipynb")
    assert repr(read_record(path)) == repr({"value": read})


def test_what_scrapbooks_schema_does_not_allow_is_never_written(displayed):
    allowed = (dict, list, bool, str, int, float)
    *scraps, _ = displayed(a=None, b=math.nan, c=math.inf, d=[None, math.nan], e=pd.NA)
    assert all(isinstance(scrap.data[SCRAP_MIME]["data"], allowed) for scrap in scraps)


def test_a_tensor_is_recorded_like_an_array(displayed, tmp_path):
    torch = pytest.importorskip("torch")
    path = notebook_with(displayed(a=torch.tensor(2.5), b=torch.ones(2)), tmp_path / "n.ipynb")
    assert read_record(path) == {"a": 2.5, "b": [1.0, 1.0]}


def test_each_value_is_one_display_in_scrapbooks_format(displayed):
    *scraps, readable = displayed(auc=0.71, n=3)
    assert [scrap.data[SCRAP_MIME] for scrap in scraps] == [
        {"name": "auc", "data": 0.71, "encoder": "json", "version": 1},
        {"name": "n", "data": 3, "encoder": "json", "version": 1},
    ]
    assert [scrap.metadata["scrapbook"]["name"] for scrap in scraps] == ["auc", "n"]
    assert readable.data["text/plain"] == "auc  0.71\nn    3"
    assert "<td" in readable.data["text/html"]


def test_names_and_values_are_escaped_in_html(displayed):
    assert "<script>" not in displayed(x="<script>")[-1].data["text/html"]


@pytest.mark.parametrize("value", [object(), open, {"a": {1j}}, [object()], int, b"raw"])
def test_what_is_not_json_is_refused_in_one_line_and_nothing_is_recorded(displayed, value):
    with pytest.raises(ParameterError) as error:
        displayed(fine=1, model=value)
    assert str(error.value).startswith("record(model=...): a")
    assert "\n" not in str(error.value)


def test_outside_a_notebook_the_values_are_printed(capsys, monkeypatch):
    monkeypatch.setattr(InteractiveShell, "initialized", lambda: False)
    record(auc=0.5)
    assert capsys.readouterr().out == "auc  0.5\n"


def test_the_last_of_a_repeated_name_counts(displayed, tmp_path):
    path = notebook_with([*displayed(x=1), *displayed(x=2)], tmp_path / "n.ipynb")
    assert read_record(path) == {"x": 2}


def test_text_is_aligned_and_long_values_are_cut():
    text = as_text({"a": 1 / 3, "long_name": list(range(100)), "none": None})
    first, second, third = text.splitlines()
    assert first == "a          0.333333"
    assert len(second) < 100
    assert second.endswith("...")
    assert third == "none       -"


def make_run(home, name, status, outputs=(), **fields):
    folder = home / name
    times = {"started": "2026-11-21T10:00:00+00:00", "ended": "2026-11-21T10:01:30.500+00:00"}
    write_status(folder, {"status": status, "key": "0" * 64, "pid": 1, **times, **fields})
    if outputs:
        notebook_with(outputs, folder / "notebook.ipynb")
    return folder


def test_one_row_per_run_also_for_failed_ones(displayed, tmp_path):
    make_run(
        tmp_path,
        "0000-a",
        "completed",
        displayed(auc=0.7, curve=[1, 2]),
        parameters={"seed": 0},
        peak_rss_mib=300.5,
        cpu_s=2.0,
    )
    error = {"name": "ZeroDivisionError", "message": "division by zero\nmore"}
    make_run(tmp_path, "0001-b", "failed", parameters={"seed": 1, "lr": 0.1}, error=error)
    table = collect(tmp_path)
    assert list(table.columns) == [
        *("seed", "lr", "auc", "curve", "status", "error"),
        *("duration_s", "cpu_s", "peak_rss_mib", "path"),
    ]
    assert list(table["status"]) == ["completed", "failed"]
    assert table["error"][1] == "ZeroDivisionError: division by zero"
    assert list(table["duration_s"]) == [90.5, 90.5]
    assert table["auc"].isna().tolist() == [False, True]


def test_a_name_that_is_taken_twice_gets_two_columns(displayed, tmp_path):
    parameters = {"seed": 3, "status": "x"}
    outputs = displayed(seed=4, path="p", auc=1)
    make_run(tmp_path, "0000-a", "completed", outputs, parameters=parameters)
    (row,) = collect(tmp_path).to_dict("records")
    assert (row["seed"], row["seed_recorded"], row["parameter_status"]) == (3, 4, "x")
    assert (row["status"], row["path_recorded"]) == ("completed", "p")


def test_a_run_that_has_not_ended_has_no_duration(tmp_path):
    assert duration_seconds({"started": "2026-11-21T10:00:00+00:00", "ended": None}) is None
    assert duration_seconds({}) is None


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ParameterError, match="there are no runs in"):
        collect(tmp_path)


TABLE = pd.DataFrame(
    {
        "seed": [0, 1],
        "auc": [0.5, np.nan],
        "curve": [[1, 2], None],
        "mixed": ["a", 3],
        "odd": [True, None],
    }
)


@pytest.mark.parametrize(
    ("suffix", "read"),
    [(".csv", pd.read_csv), (".parquet", pd.read_parquet), (".json", pd.read_json)],
)
def test_a_written_table_is_read_back(tmp_path, suffix, read):
    path = tmp_path / f"results{suffix}"
    write_table(TABLE, path)
    again = read(path)
    assert list(again.columns) == list(TABLE.columns)
    assert list(again["seed"]) == [0, 1]
    assert again["auc"].isna().tolist() == [False, True]
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.parquet"
    path.write_text("old")
    with pytest.raises(ParameterError, match=r"must end in \.csv, \.parquet, \.json"):
        write_table(TABLE, tmp_path / "results.xls")
    with pytest.raises(ParameterError, match="does not exist"):
        write_table(TABLE, tmp_path / "none" / "results.csv")
    with pytest.raises((NotImplementedError, ValueError), match="complex"):
        write_table(pd.DataFrame({"a": [1 + 2j]}), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LabkitError, match=r"pip install 'labkit\[parquet\]', or write a .csv"):
        write_table(TABLE[["seed"]], tmp_path / "results.parquet")
