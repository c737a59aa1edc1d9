"""Results that ship with the package: they load, they fit together, and a loss is explained."""

from __future__ import annotations

import re

import numpy as np
import pytest

from labkit.clot import shipped
from labkit.clot.caps import stability_caps
from labkit.clot.comparison import CHOOSING, COSTS
from labkit.clot.control.ladder import ladder
from labkit.clot.control.learned import WEIGHTS, ErrorNetwork
from labkit.clot.scaling import CONSTANTS
from labkit.clot.settings import ClotConfig
from labkit.errors import MissingDataError

MOST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def labels():
    return shipped.labels()


@pytest.fixture(scope="module")
def controllers():
    return shipped.controllers()


def test_labels_are_of_the_plans_that_a_run_chooses_from(labels):
    made = ClotConfig.from_preset("quick").system()
    assert labels.plans == ladder(stability_caps(made.suspension, made.forcefield)).plans
    assert len({t.trajectory.scene for t in labels.trajectories}) >= 2
    assert len({t.shear_rate for t in labels.trajectories}) >= 2
    assert len({t.trajectory.seed for t in labels.trajectories}) >= 3


def test_errors_of_coarser_plans_are_larger(labels):
    """As far as half precision tells: those of the two coarsest end where beads are torn off."""
    errors = np.concatenate(
        [t.errors.max(axis=2)[~np.isnan(t.errors).any(axis=(1, 2))] for t in labels.trajectories]
    )
    median = np.median(errors, axis=0)
    assert (np.diff(median) >= -0.01 * median[:-1]).all()
    assert median[-1] > 3 * median[0] > 0


def test_networks_know_the_plans_of_their_labels(labels):
    assert ErrorNetwork.load(WEIGHTS / "learned.npz").plans == labels.plans


def test_all_controllers_ran_on_one_ensemble(controllers):
    table = controllers.table
    assert controllers.reference == table["controller"].iloc[0]
    assert set(CHOOSING) < set(table["controller"])
    seeds = table.groupby("controller")["seed"].apply(sorted)
    assert all(each == seeds.iloc[0] for each in seeds)
    assert len(seeds.iloc[0]) >= 5
    assert (table[[name for name in COSTS if name.endswith("seconds")]] > 0).all().all()


def test_costs_and_errors_of_the_controllers_can_be_shown(controllers):
    assert len(controllers.costs) == len(set(controllers.table["controller"]))
    assert controllers.reference not in set(controllers.errors["controller"])


def test_the_scaling_model_is_fitted_to_runs_on_one_rank_and_on_more():
    model = shipped.scaling()
    assert model.n_runs > len(CONSTANTS)
    assert model.constants["fluid"] + model.constants["update"] > 0
    assert model.spread < 0.3


def test_what_ships_is_small():
    files = [*WEIGHTS.iterdir(), *shipped.STORED.iterdir()]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


@pytest.mark.parametrize(
    ("load", "command"),
    [
        (shipped.labels, "python -m labkit.clot.labels"),
        (shipped.controllers, "python benchmarks/clot_pareto.py --table"),
        (shipped.scaling, "python benchmarks/clot_scaling.py --save"),
    ],
)
def test_a_missing_file_is_named_with_the_command_that_makes_it(
    load, command, tmp_path, monkeypatch, repository
):
    monkeypatch.setattr(shipped, "STORED", tmp_path)
    monkeypatch.setattr(shipped, "LABELS", tmp_path / "labels.npz")
    with pytest.raises(MissingDataError, match=re.escape(command)) as missing:
        load()
    message = str(missing.value)
    assert "\n" not in message
    assert str(tmp_path) in message
    script = command.split()[1]
    assert script == "-m" or (repository / script).is_file()
