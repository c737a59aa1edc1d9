"""The solver of Lava's optimization library, asked from here point by point."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.spiking.lava_process import LavaError, MissingLavaError
from labkit.spiking.lavabo import lavabo

SPACE = {"x": (-1.0, 2.0), "y": (-3, 1)}


def bowl(point: dict[str, float]) -> float:
    """Lowest, 0, at x = 0.5, y = -1."""
    return (point["x"] - 0.5) ** 2 + (point["y"] + 1) ** 2


def test_every_evaluation_is_read_back_as_it_was_made(lava_environment):
    asked = []

    def objective(point: dict[str, float]) -> float:
        asked.append(dict(point))
        return bowl(point)

    trials = lavabo(objective, SPACE, n_trials=7, n_initial=4, seed=3)
    assert list(trials.columns) == ["number", "value", "seconds", "x", "y", "best_so_far"]
    assert trials[["x", "y"]].to_dict("records") == asked
    assert list(trials["number"]) == list(range(7))
    np.testing.assert_array_equal(trials["value"], [bowl(point) for point in asked])
    np.testing.assert_array_equal(trials["best_so_far"], np.minimum.accumulate(trials["value"]))
    for name, (low, high) in SPACE.items():
        assert trials[name].between(low, high).all()
        assert trials[name].nunique() > 4


def test_a_search_for_the_largest_value_mirrors_the_one_for_the_smallest(lava_environment):
    # Same seed: the solver is told the same numbers, so it asks for the same points.
    options = {"n_trials": 6, "n_initial": 3, "seed": 5}
    smallest = lavabo(bowl, SPACE, **options)
    largest = lavabo(lambda point: -bowl(point), SPACE, maximize=True, **options)
    np.testing.assert_array_equal(smallest[["x", "y"]], largest[["x", "y"]])
    np.testing.assert_array_equal(smallest["value"], -largest["value"])
    np.testing.assert_array_equal(largest["best_so_far"], -smallest["best_so_far"])


def test_an_error_of_the_objective_is_raised_and_ends_the_solver(lava_environment):
    def objective(point: dict[str, float]) -> float:
        raise ZeroDivisionError(f"at {sorted(point)}")

    with pytest.raises(ZeroDivisionError, match=r"at \['x', 'y'\]"):
        lavabo(objective, SPACE, n_trials=5)


def test_a_value_that_is_no_number_is_refused(lava_environment):
    with pytest.raises(ParameterError, match="objective returned nan in evaluation 0"):
        lavabo(lambda _: float("nan"), SPACE, n_trials=5)


def test_a_solver_that_is_out_of_time_is_ended(lava_environment):
    with pytest.raises(LavaError, match=r"Lava needed more than timeout_s=0\.1"):
        lavabo(bowl, SPACE, n_trials=5, timeout_s=0.1)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({}, {}, "space is empty"),
        ({"x": (1.0, 1.0)}, {}, r"space\['x'\]=\(1.0, 1.0\) is not allowed"),
        ({"x": (0.0, np.inf)}, {}, r"space\['x'\]=\(0.0, inf\) is not allowed"),
        ({"x": (0.0, 1.0)}, {"n_trials": 0}, "n_trials=0 is not allowed"),
        ({"x": (0.0, 1.0)}, {"seed": -1}, "seed=-1 is not allowed"),
    ],
)
def test_what_the_solver_cannot_search_is_named(space, options, message):
    with pytest.raises(ParameterError, match=message):
        lavabo(bowl, space, **{"n_trials": 3, **options})


def test_missing_lava_says_what_to_do(monkeypatch, tmp_path):
    for variable in ("LABKIT_LAVA_PYTHON", "CONDA_PREFIX", "CONDA_EXE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingLavaError, match=r"conda env create -f environment-lava\.yml"):
        lavabo(bowl, SPACE, n_trials=3)
