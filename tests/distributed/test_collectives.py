import math

import pytest

from labkit.distributed.collectives import COLUMNS, main, measure_collectives
from labkit.distributed.links import KINDS, fit_alpha_beta, held_out_predictions
from labkit.errors import LabkitError, ParameterError

SIZES = [10, 2**12, 2**14, 2**16, 2**20, 2**22]


@pytest.fixture(scope="module")
def table():
    """Two real ranks that talk over gloo."""
    return measure_collectives(SIZES, n_processes=2, repeats=3, device="cpu", timeout_s=200)


def test_every_kind_and_size_is_timed_once(table):
    assert tuple(table.columns) == COLUMNS
    assert list(table["kind"]) == [kind for kind in KINDS for _ in SIZES]
    rounded = [math.ceil(size / 8) * 8 for size in SIZES]
    assert list(table["bytes"]) == rounded * len(KINDS), "whole numbers of 4 bytes for each rank"
    assert set(table["size"]) == {2}
    assert set(table["backend"]) == {"gloo"}


def test_the_median_lies_between_the_quartiles(table):
    assert (table["seconds_low"] > 0).all()
    assert table["seconds"].between(table["seconds_low"], table["seconds_high"]).all()


def test_links_can_be_fitted_to_what_was_measured(table):
    for (kind, size), group in table.groupby(["kind", "size"]):
        fit = fit_alpha_beta(group, size, kind)
        assert fit.bandwidth > 0
        assert fit.latency_s >= 0
    held_out = held_out_predictions(table)
    assert len(held_out) == len(table)
    assert (held_out["ratio"] > 0).all()


def test_choices_that_are_not_allowed_are_refused_before_anything_starts():
    with pytest.raises(ParameterError, match="n_processes=1: use a whole number of 2 or more"):
        measure_collectives(n_processes=1)
    with pytest.raises(ParameterError, match="kinds='broadcast' is not allowed"):
        measure_collectives(kinds=["broadcast"])
    with pytest.raises(ParameterError, match="sizes=0: use a whole number of 1 or more"):
        measure_collectives([0])
    with pytest.raises(ParameterError, match="device='tpu' is not allowed"):
        measure_collectives(device="tpu")


def test_a_measurement_that_takes_too_long_is_an_error():
    with pytest.raises(LabkitError, match=r"collectives were not timed: time limit of 0.5 s"):
        measure_collectives(timeout_s=0.5)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--kinds", "all_red"], "kinds='all_red' is not allowed"),
        (["--sizes", "0"], "sizes=0: use a whole number of 1 or more"),
        ([], "1 process: start two or more"),
        (["--out", "."], "out='.' is a folder"),
        (["--out", f"{__file__}/times.csv"], "is a file; name a folder"),
    ],
)
def test_a_command_that_cannot_run_ends_with_one_line(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "times.csv"), *words])
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
