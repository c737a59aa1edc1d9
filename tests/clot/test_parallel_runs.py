"""One rank and several agree in their means."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.clot.aggregation import start_of
from labkit.clot.parallel_runs import on_ranks
from labkit.clot.settings import ClotConfig


@pytest.fixture(scope="module")
def start():
    return start_of(ClotConfig.from_preset("quick"))


def test_one_rank_has_nothing_to_be_compared_with(start):
    assert on_ranks(ClotConfig.from_preset("quick"), *start) is None


def test_two_ranks_are_as_warm_as_one(start, tmp_path):
    """Two runs of half a time unit: the scatter of a mean is a tenth. A rank that loses the noise
    rule, or draws its noise twice, is off by half or more."""
    config = ClotConfig.from_preset("quick", ranks=2)
    table = on_ranks(config, *start, time=0.5, folder=tmp_path).set_index("ranks")
    assert list(table.index) == [1, 2]
    for name in ("T_platelet", "T_fluid"):
        assert np.isfinite(table[f"{name}_low"]).all()
        assert table.loc[2, name] == pytest.approx(table.loc[1, name], rel=0.35)
    assert (table["wall_seconds"] > 0).all()
    assert (tmp_path / "ranks_2" / "seed_1" / "job.json").is_file()
