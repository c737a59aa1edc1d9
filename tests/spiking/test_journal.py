"""The journal file of a tuning study: what it survives, what it refuses, whose trials count."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from labkit.errors import ParameterError
from labkit.journal.file import cut_half_line, quiet_optuna
from labkit.journal.ownership import this_process
from labkit.spiking.journal import SharedStudy, open_study

ABOUT = {"graph": "g", "seed": "0"}


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with quiet_optuna():
        yield


def a_trial(study: SharedStudy, n_trials: int = 5) -> Trial:
    """The next trial, with one parameter drawn."""
    trial = study.claim(n_trials, lambda index: RandomSampler(seed=index))
    assert isinstance(trial, Trial)
    trial.suggest_float("x", 0.0, 1.0)
    return trial


def finish(study: SharedStudy, trial: Trial, value: float = 1.0) -> None:
    study.complete(trial, value, dead=False, seconds=0.1)


def indices(study: SharedStudy) -> list[int]:
    return [trial.user_attrs["index"] for trial in study.counted()]


def running(owner: dict[str, Any] | None, *, index: int, age: timedelta) -> FrozenTrial:
    """A trial that somebody started some time ago."""
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now() - age,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={"index": index} | ({} if owner is None else {"owner": owner}),
        system_attrs={},
        intermediate_values={},
    )


@pytest.mark.parametrize("stored", [False, True])
def test_indices_are_the_first_whole_numbers_whoever_ends_first(
    tmp_path: Path, stored: bool
) -> None:
    study = open_study(tmp_path / "j.log" if stored else None, "s", ABOUT)
    first, second, third = (a_trial(study) for _ in range(3))
    for trial in (third, first, second):
        finish(study, trial)
    assert indices(study) == [0, 1, 2]


def test_the_index_of_a_dropped_trial_is_given_again(tmp_path: Path) -> None:
    study = open_study(tmp_path / "j.log", "s", ABOUT)
    finish(study, a_trial(study))
    dropped, kept = a_trial(study), a_trial(study)
    finish(study, kept)
    study.drop(dropped)
    again = a_trial(study)
    assert again.user_attrs["index"] == dropped.user_attrs["index"] == 1


def test_a_complete_study_gives_no_trial_and_one_that_others_complete_lets_wait() -> None:
    study = open_study(None, "s", ABOUT)
    finish(study, a_trial(study, n_trials=2))
    last = a_trial(study, n_trials=2)
    assert study.claim(2, lambda _: RandomSampler()) == "wait"
    finish(study, last)
    assert study.claim(2, lambda _: RandomSampler()) == "done"


def test_a_refused_trial_counts_and_a_dropped_one_does_not() -> None:
    study = open_study(None, "s", ABOUT)
    study.fail(a_trial(study), "too high", seconds=0.0)
    study.drop(a_trial(study))
    assert indices(study) == [0]


def test_the_first_trial_has_the_settings_given_also_after_it_was_dropped(tmp_path: Path) -> None:
    study = open_study(tmp_path / "j.log", "s", ABOUT, first={"x": 0.25})
    study.drop(a_trial(study))
    again = a_trial(study)
    assert again.params == {"x": 0.25}
    assert a_trial(study).params["x"] != 0.25


@pytest.mark.parametrize(
    ("owner", "age_s", "lost"),
    [
        (this_process(), 1e6, False),
        (this_process() | {"started": 1.0}, 0, True),  # the number was given to another process
        (None, 0, True),  # killed between start and signature, while it held the lock
        ({"machine": "elsewhere", "pid": 1, "started": 0.0}, 500, False),
        ({"machine": "elsewhere", "pid": 1, "started": 0.0}, 700, True),
    ],
)
def test_a_running_trial_is_lost_when_its_process_can_no_longer_end_it(
    owner: dict[str, Any] | None, age_s: float, lost: bool
) -> None:
    study = open_study(None, "s", ABOUT)
    study.study.add_trial(running(owner, index=0, age=timedelta(seconds=age_s)))
    assert study.drop_lost() == int(lost)


def test_a_slow_study_waits_longer_for_other_machines() -> None:
    study = open_study(None, "s", ABOUT)
    study.complete(a_trial(study), 1.0, dead=False, seconds=100.0)
    away = {"machine": "elsewhere", "pid": 1, "started": 0.0}
    study.study.add_trial(running(away, index=1, age=timedelta(seconds=1900)))
    assert study.drop_lost() == 0
    study.study.add_trial(running(away, index=2, age=timedelta(seconds=2100)))
    assert study.drop_lost() == 1


def test_trials_are_found_again_when_the_file_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j.log"
    study = open_study(path, "s", ABOUT)
    finish(study, a_trial(study), 0.5)
    again = open_study(path, "s", ABOUT)
    assert [trial.value for trial in again.counted()] == [0.5]


def test_a_file_holds_several_studies(tmp_path: Path) -> None:
    one = open_study(tmp_path / "j.log", "one", ABOUT)
    finish(one, a_trial(one))
    other = open_study(tmp_path / "j.log", "other", ABOUT | {"seed": "1"})
    assert not other.counted()


@pytest.mark.parametrize(
    ("about", "named"),
    [
        (ABOUT | {"seed": "1"}, "seed"),
        ({"graph": "h", "seed": "1"}, "graph, seed"),
        ({"graph": "g"}, "seed"),
        (ABOUT | {"space": "x"}, "space"),
    ],
)
def test_a_study_of_something_else_is_refused_and_says_what_differs(
    tmp_path: Path, about: dict[str, str], named: str
) -> None:
    open_study(tmp_path / "j.log", "s", ABOUT)
    with pytest.raises(ParameterError, match=f"'s' that differs in {named}; use another"):
        open_study(tmp_path / "j.log", "s", about)


def test_a_study_of_optuna_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "j.log"))
    theirs = optuna.create_study(
        study_name="s", storage=optuna.storages.JournalStorage(backend), direction="maximize"
    )
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(ParameterError, match="differs in graph, seed"):
        open_study(tmp_path / "j.log", "s", ABOUT)


@pytest.mark.parametrize("half", [b"{", b'{"op_code":', b'{"op_code":5,"worker_id":"3f'])
def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "j.log"
    study = open_study(path, "s", ABOUT)
    finish(study, a_trial(study))
    whole = path.read_bytes()
    path.write_bytes(whole + half)
    again = open_study(path, "s", ABOUT)
    assert path.read_bytes().startswith(whole)
    finish(again, a_trial(again))
    assert indices(open_study(path, "s", ABOUT)) == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"notes\nof mine\n", "line 1 is no entry"),
        (b"notes", "is not an Optuna journal"),
        (b"SQLite format 3\x00\x10\x00\n\x01", "line 1 is no entry"),
        (b"[1, 2]\n", "line 1 is no entry"),
        (b"\xff\xfe\n", "line 1 is no entry"),
        (b"\x00\x00\x00", "is not an Optuna journal"),
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "j.log"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=message):
        open_study(path, "s", ABOUT)
    assert path.read_bytes() == content


@pytest.mark.parametrize("part", [b'"index"', b'"seconds"'])
def test_a_journal_that_lacks_a_line_of_a_trial_is_refused(tmp_path: Path, part: bytes) -> None:
    path = tmp_path / "j.log"
    study = open_study(path, "s", ABOUT)
    finish(study, a_trial(study))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if part not in line))
    with pytest.raises(ParameterError, match="the journal is damaged"):
        open_study(path, "s", ABOUT)


def test_a_journal_with_a_broken_line_names_it(tmp_path: Path) -> None:
    path = tmp_path / "j.log"
    study = open_study(path, "s", ABOUT)
    finish(study, a_trial(study))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3][:-9] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(ParameterError, match="line 4 is no entry"):
        open_study(path, "s", ABOUT)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="is a folder; name a file in it"):
        open_study(tmp_path, "s", ABOUT)


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ParameterError, match="cannot be written"):
        open_study(tmp_path / "file" / "j.log", "s", ABOUT)


def test_a_relative_path_works_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    study = open_study("j.log", "s", ABOUT)
    monkeypatch.chdir(tmp_path)
    finish(study, a_trial(study))
    assert indices(open_study("here/j.log", "s", ABOUT)) == [0]


def test_nothing_is_cut_from_a_file_that_does_not_exist(tmp_path: Path) -> None:
    cut_half_line(tmp_path / "none.log")
    assert not (tmp_path / "none.log").exists()
