"""The search: known optima, reproducibility, kills, several workers, refused settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from labkit.errors import LabkitError
from labkit.journal.file import quiet_optuna
from labkit.spiking.search import Evaluation, Search, search, trial_table
from labkit.spiking.spaces import Choice, Float, Int, Settings, Space

SPACE = Space((Float("x", -5.0, 5.0), Int("k", 0, 100), Choice("c", ("a", "b", "c"))))
CENTER: Settings = {"x": 1.5, "k": 30, "c": "b"}


def bowl(settings: Settings) -> Evaluation:
    """0 at the center, and -1 per 2 units of x, 20 of k, or another letter."""
    x, k = float(settings["x"]), float(settings["k"])
    wrong = settings["c"] != CENTER["c"]
    return Evaluation(-(((x - 1.5) / 2) ** 2) - ((k - 30) / 20) ** 2 - wrong)


def untimed(found: Search) -> pd.DataFrame:
    return found.trials.drop(columns="seconds")


def assert_same_trials(one: Search, other: Search) -> None:
    pd.testing.assert_frame_equal(untimed(one), untimed(other))


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_planted_optimum_is_found_and_more_closely_than_by_chance(sampler: str) -> None:
    best = {
        name: [
            search(bowl, SPACE, n_trials=25, sampler=name, seed=seed).trials["value"].max()
            for seed in range(2)
        ]
        for name in (sampler, "random")
    }
    # -0.25 is half of the way in x or k at which one loses as much as by a wrong letter.
    assert min(best[sampler]) > -0.25
    assert np.mean(best[sampler]) > np.mean(best["random"])


def test_the_gaussian_process_finds_a_minimum_of_branin() -> None:
    def branin(settings: Settings) -> Evaluation:
        x, y = float(settings["x"]), float(settings["y"])
        bend = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
        return Evaluation(-(bend**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10))

    space = Space((Float("x", -5.0, 10.0), Float("y", 0.0, 15.0)))
    found = search(branin, space, n_trials=30)
    # The three minima are 0.3979; the function runs up to 308 in this box.
    assert found.trials["value"].max() == pytest.approx(-0.3979, abs=0.1)


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_the_same_seed_gives_the_same_trials_and_another_others(sampler: str) -> None:
    one, same, other = (
        search(bowl, SPACE, n_trials=14, sampler=sampler, seed=seed) for seed in (3, 3, 4)
    )
    assert_same_trials(one, same)
    assert not untimed(one).equals(untimed(other))


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_a_search_in_two_parts_equals_one_in_one_part(tmp_path: Path, sampler: str) -> None:
    whole = search(bowl, SPACE, n_trials=14, sampler=sampler, first=CENTER)
    parts = [
        search(bowl, SPACE, n_trials=n, sampler=sampler, first=CENTER, storage=tmp_path / "j")
        for n in (5, 14)
    ]
    assert [part.n_resumed for part in parts] == [0, 5]
    assert_same_trials(parts[-1], whole)


def test_a_complete_search_is_read_and_not_run_again(tmp_path: Path) -> None:
    search(bowl, SPACE, n_trials=4, sampler="random", storage=tmp_path / "j")

    def never(settings: Settings) -> Evaluation:
        raise AssertionError(settings)

    again = search(never, SPACE, n_trials=4, sampler="random", storage=tmp_path / "j")
    assert (len(again.trials), again.n_resumed) == (4, 4)


def test_the_first_trial_has_the_settings_given() -> None:
    found = search(bowl, SPACE, n_trials=2, sampler="random", first=CENTER)
    assert found.trials.loc[0, list(SPACE.names)].to_dict() == CENTER
    assert found.trials.loc[0, "value"] == 0


def test_the_best_so_far_never_falls_and_is_the_largest_value_until_then() -> None:
    found = search(bowl, SPACE, n_trials=40, sampler="random")
    best = found.trials["best_so_far"].to_numpy()
    assert (np.diff(best) >= 0).all()
    assert best[-1] == found.trials["value"].max()
    assert best[17] == found.trials["value"][:18].max()


@pytest.mark.parametrize("stored", [False, True])
def test_threads_complete_the_search_exactly(tmp_path: Path, stored: bool) -> None:
    ended = []
    found = search(
        bowl,
        SPACE,
        n_trials=25,
        sampler="random",
        n_jobs=4,
        storage=tmp_path / "j" if stored else None,
        progress=lambda done, n: ended.append((done, n)),
    )
    assert found.trials["number"].tolist() == list(range(25))
    assert max(ended) == (25, 25)
    assert len(ended) == 25


def test_threads_try_the_random_settings_that_one_would() -> None:
    one, four = (search(bowl, SPACE, n_trials=20, sampler="random", n_jobs=n) for n in (1, 4))
    assert_same_trials(one, four)


WORKER = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("tests_search", {__file__!r})
tests = sys.modules["tests_search"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
from tests_search import SPACE, bowl, search, untimed
"""


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, which knows this module as `tests_search`."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER + textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


KILLED = """
    def stuck(settings, tried=[]):
        tried.append(settings)
        if len(tried) == 8:
            print("in the eighth", flush=True)
            sys.stdin.read()
        return bowl(settings)

    search(stuck, SPACE, n_trials=14, sampler="tpe", storage=sys.argv[1])
"""


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    with start_python(KILLED, journal) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in the eighth\n"
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    resumed = search(bowl, SPACE, n_trials=14, sampler="tpe", storage=journal)
    assert resumed.n_resumed == 7
    assert resumed.trials["number"].tolist() == list(range(14))
    assert_same_trials(resumed, search(bowl, SPACE, n_trials=14, sampler="tpe"))
    states = [trial.state.name for trial in stored_trials(journal)]
    assert states.count("FAIL") == 1
    assert states.count("RUNNING") == 0


SHARING = """
    def wait(done, n):
        if done == 3:
            print("three", flush=True)
            sys.stdin.readline()

    found = search(bowl, SPACE, n_trials=9, sampler="tpe", storage=sys.argv[1], progress=wait)
    print(untimed(found).to_json(double_precision=15))
"""


def test_processes_share_one_journal_and_end_with_the_same_table(tmp_path: Path) -> None:
    journal = tmp_path / "j.log"
    with start_python(SHARING, journal) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "three\n"
        ours = search(bowl, SPACE, n_trials=9, sampler="tpe", storage=journal)
        theirs, _ = process.communicate("go\n")
    assert ours.trials["number"].tolist() == list(range(9))
    assert json.loads(theirs) == json.loads(untimed(ours).to_json(double_precision=15))
    owners = [trial.user_attrs["owner"]["pid"] for trial in stored_trials(journal)]
    assert owners == [process.pid] * 3 + [os.getpid()] * 6


def stored_trials(journal: Path) -> list[optuna.trial.FrozenTrial]:
    with quiet_optuna():
        backend = optuna.storages.journal.JournalFileBackend(str(journal))
        storage = optuna.storages.JournalStorage(backend)
        return optuna.load_study(study_name="tuning", storage=storage).trials


@pytest.mark.parametrize("error", [RuntimeError("a fault"), KeyboardInterrupt()])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_ends_the_search_and_its_trial_does_not_count(
    tmp_path: Path, error: BaseException, n_jobs: int
) -> None:
    tried: list[Settings] = []

    def sixth_fails(settings: Settings) -> Evaluation:
        tried.append(settings)
        if len(tried) == 6:
            raise error
        return bowl(settings)

    options = {"n_trials": 10, "sampler": "random", "storage": tmp_path / "j"}
    with pytest.raises(type(error)):
        search(sixth_fails, SPACE, n_jobs=n_jobs, **options)
    resumed = search(bowl, SPACE, **options)
    assert 5 <= resumed.n_resumed < 10
    assert_same_trials(resumed, search(bowl, SPACE, n_trials=10, sampler="random"))


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_refused_settings_count_and_have_no_value(sampler: str) -> None:
    def not_c(settings: Settings) -> Evaluation:
        if settings["c"] == "c":
            raise LabkitError("c is not to be had")
        return bowl(settings)

    found = search(not_c, SPACE, n_trials=24, sampler=sampler)
    failed = found.trials["state"] == "failed"
    assert failed.equals(found.trials["c"] == "c")
    assert 0 < failed.sum() < 24
    assert found.trials.loc[failed, "value"].isna().all()
    assert set(found.trials.loc[failed, "error"]) == {"c is not to be had"}
    assert found.trials["best_so_far"].dropna().is_monotonic_increasing


def test_dead_trials_have_their_value_and_a_state_of_their_own() -> None:
    found = search(
        lambda s: Evaluation(0.1, dead=s["c"] == "a"), SPACE, n_trials=12, sampler="random"
    )
    assert (found.trials["state"] == "dead").equals(found.trials["c"] == "a")
    assert (found.trials["value"] == 0.1).all()


def test_importance_goes_to_what_matters_and_sums_to_one() -> None:
    found = search(
        lambda s: Evaluation(float(s["k"]) + 0.01 * float(s["x"])),
        SPACE,
        n_trials=40,
        sampler="random",
    )
    assert found.importance.index[0] == "k"
    assert found.importance["k"] > 0.9
    assert found.importance.sum() == pytest.approx(1)
    assert sorted(found.importance.index) == sorted(SPACE.names)


@pytest.mark.parametrize("n_trials", [1, 12])
@pytest.mark.parametrize("sampler", ["gp", "tpe", "random"])
def test_importance_is_unknown_when_all_values_are_equal(n_trials: int, sampler: str) -> None:
    found = search(lambda _: Evaluation(0.5), SPACE, n_trials=n_trials, sampler=sampler)
    assert found.importance.isna().all()
    assert sorted(found.importance.index) == sorted(SPACE.names)


def test_a_search_logs_nothing_and_leaves_optuna_as_talkative_as_before(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = optuna.logging.get_verbosity()
    search(bowl, SPACE, n_trials=12, sampler="gp")
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_a_table_without_a_value_has_no_best() -> None:
    rows = [{"number": 0, "value": np.nan, "state": "failed", "seconds": 0.0, "error": "no"}]
    table = trial_table(rows, ("x",))
    assert table["best_so_far"].isna().all()
    assert list(table) == ["number", "value", "state", "seconds", "x", "error", "best_so_far"]
