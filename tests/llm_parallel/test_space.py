from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.rules import check
from labkit.llm_parallel.space import REASONS, UNEVEN_DEVICES, default_domains, search_space
from labkit.llm_parallel.systems import system_preset

MODEL = model_preset("gpt-22b")
SYSTEM = system_preset("frontier")
FIXED = {
    "virtual_pp": 1,
    "micro_batch_size": 1,
    "zero_stage": 1,
    "sequence_parallel": False,
    "recompute": "full",
    "schedule": "1f1b",
}


def small_space(**domains):
    return search_space(MODEL, SYSTEM, 64, 128, **(FIXED | domains))


def test_points_are_the_product_of_the_domains_in_order():
    space = small_space(tp=[1, 2, 4], pp=[2, 8], micro_batch_size=[1, 2], schedule=["1f1b", "zbv"])
    columns = space.columns(0, len(space))
    names = [domain.name for domain in space.free]
    product = list(itertools.product(*(domain.values for domain in space.free)))
    rows = columns.frame()[names].itertuples(index=False, name=None)
    assert list(rows) == product
    assert len(space) == len(product) == 24


def test_any_slice_of_the_columns_is_that_part_of_the_whole():
    space = small_space(tp=[1, 2, 4], pp=[1, 2, 3, 4], micro_batch_size=[1, 2, 4])
    whole = space.columns(0, len(space)).frame()
    for start, stop in ((0, 5), (7, 8), (30, 36)):
        part = space.columns(start, stop).frame()
        assert part.equals(whole.iloc[start:stop].reset_index(drop=True))


def test_chunks_hold_every_point_once():
    space = small_space(tp=[1, 2, 4], pp=[1, 2, 3, 4], micro_batch_size=[1, 2, 4])
    assert np.concatenate(list(space.chunks(7))).tolist() == list(range(36))


def test_the_end_of_a_space_that_fits_in_no_memory_is_read_at_once():
    space = search_space(
        MODEL,
        SYSTEM,
        list(range(1, 1001)),
        128,
        tp=list(range(1, 101)),
        pp=list(range(1, 101)),
        micro_batch_size=list(range(1, 101)),
        virtual_pp=1,
        zero_stage=1,
        sequence_parallel=False,
        recompute="full",
        schedule="1f1b",
    )
    assert len(space) == 10**9
    last = space.columns(len(space) - 1, len(space))
    assert (last.tp[0], last.pp[0], last.micro_batch_size[0]) == (100, 100, 100)


def test_data_parallelism_is_what_the_other_sizes_leave():
    space = small_space(tp=[1, 2, 4, 8], pp=[1, 2, 4], cp=[1, 2])
    columns = space.columns(0, len(space))
    assert (columns.n_devices == 64).all()


def test_rules_of_a_space_are_those_of_a_single_strategy():
    space = small_space(
        tp=[1, 2, 3, 16],
        pp=[1, 3, 4, 5],
        virtual_pp=[1, 2],
        micro_batch_size=[1, 3, 4],
        sequence_parallel=[False, True],
        schedule=["1f1b", "interleaved_1f1b"],
    )
    index = np.arange(len(space))
    columns = space.at(index)
    broken = space.broken(index, columns)
    for row in index:
        try:
            check(MODEL, columns.row(row), n_devices=64)
        except ParameterError:
            assert broken[row] >= 0
        else:
            assert broken[row] == -1
    uneven = 64 % (columns.tp * columns.pp) != 0
    assert np.array_equal(broken == REASONS.index(UNEVEN_DEVICES), uneven)


def test_several_numbers_of_devices_are_a_choice_like_any_other():
    space = search_space(MODEL, SYSTEM, [32, 64, 128], 128, **FIXED, tp=[1, 8], pp=[4])
    assert space.columns(0, len(space)).n_devices.tolist() == [32, 32, 64, 64, 128, 128]
    assert space.free[0].name == "n_devices"


def test_every_legal_strategy_is_found_at_its_point():
    space = small_space(tp=[1, 2, 4], pp=[2, 8], recompute=["none", "full"])
    for point in range(len(space)):
        assert space.index_of(space.columns(point, point + 1).row(0)) == point


def test_a_strategy_outside_the_space_is_named_with_what_is_inside():
    space = small_space(tp=[1, 2, 4], pp=[2, 8])
    outside = ParallelConfig(tp=16, pp=2, dp=2, global_batch_size=128, recompute="full")
    with pytest.raises(ParameterError, match=r"tp=16 is not allowed; use 1, 2, 4"):
        space.index_of(outside)
    with pytest.raises(ParameterError, match="global_batch_size=64"):
        space.index_of(outside.replace(global_batch_size=64))


def test_numbers_are_put_in_order_and_may_come_from_numpy():
    space = small_space(tp=np.array([4, 1, 2]), pp=range(1, 4), sequence_parallel=np.True_)
    assert space.domain("tp").values == (1, 2, 4)
    assert space.domain("pp").values == (1, 2, 3)
    assert space.domain("sequence_parallel").values == (True,)
    assert all(type(value) is int for value in space.domain("tp").values)


@pytest.mark.parametrize("name", ["gpt-1.4b", "gpt-22b", "gpt-175b", "gpt-1t", "llama-3-70b"])
def test_usual_domains_hold_strategies_that_keep_the_rules(name):
    model = model_preset(name)
    space = search_space(model, SYSTEM, 128, 640)
    usual = default_domains(model, SYSTEM, 128)
    assert math.prod(len(values) for values in usual.values()) == len(space)
    index = np.arange(len(space))
    assert (space.broken(index, space.at(index)) < 0).sum() > 100


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ({"pipeline": [1]}, "'pipeline' is no choice"),
        ({"tpp": [1]}, "Did you mean 'tp'"),
        ({"dp": [1, 2]}, "dp follows from n_devices"),
        ({"tp": []}, r"tp=\[\] is empty"),
        ({"tp": [0]}, "tp=0: use a whole number"),
        ({"tp": [-2]}, "tp=-2"),
        ({"tp": [2.0]}, "tp=2.0"),
        ({"tp": [True]}, "tp=True"),
        ({"tp": ["4"]}, "tp='4'"),
        ({"tp": "4"}, "tp='4'"),
        ({"tp": None}, "tp=None"),
        ({"tp": [[1, 2]]}, r"tp=\[1, 2\]"),
        ({"tp": [10**30]}, "from 1 to 1000000"),
        ({"tp": [2, 4, 2]}, "tp has 2 twice"),
        ({"tp": itertools.count(1)}, "more than 1000 values"),
        ({"zero_stage": [4]}, "zero_stage=4"),
        ({"recompute": ["ful"]}, "Did you mean 'full'"),
        ({"recompute": "everything"}, "recompute='everything' is not allowed"),
        ({"sequence_parallel": [0, 1]}, "sequence_parallel=0: use True or False"),
        ({"micro_batch_size": [math.nan]}, "micro_batch_size=nan"),
    ],
)
def test_domains_that_cannot_be_are_refused_in_one_line(domains, message):
    with pytest.raises(ParameterError, match=message) as refused:
        small_space(**domains)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MODEL, SYSTEM, 0, 128), "n_devices=0"),
        ((MODEL, SYSTEM, 10**6, 128), "n_devices=1000000: use a whole number from 1 to"),
        ((MODEL, SYSTEM, [64, 64], 128), "n_devices has 64 twice"),
        ((MODEL, SYSTEM, 64, 0), "global_batch_size=0"),
        ((MODEL, SYSTEM, 64, [128]), r"global_batch_size=\[128\]"),
        (("gpt-22b", SYSTEM, 64, 128), "model='gpt-22b': use a ModelConfig"),
        ((MODEL, "frontier", 64, 128), "system='frontier': use a SystemConfig"),
    ],
)
def test_what_a_space_is_made_of_is_checked(arguments, message):
    with pytest.raises(ParameterError, match=message):
        search_space(*arguments)


def test_the_batch_is_no_domain():
    with pytest.raises(ParameterError, match=r"global_batch_size=\[64, 128\]: use a whole number"):
        search_space(MODEL, SYSTEM, 64, global_batch_size=[64, 128])


def test_a_space_of_absurd_size_is_refused_with_its_size():
    many = list(range(1, 1001))
    with pytest.raises(ParameterError, match=r"1\.0e\+12 points"):
        small_space(tp=many, pp=many, micro_batch_size=many, cp=many)


def test_digits_of_an_unknown_choice_are_refused():
    with pytest.raises(ParameterError, match="'dp' is no choice"):
        small_space(tp=[1, 2]).domain("dp")
