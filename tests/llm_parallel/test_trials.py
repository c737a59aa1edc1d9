from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from labkit.errors import ParameterError
from labkit.journal import file as journal_file
from labkit.journal.file import quiet_optuna
from labkit.llm_parallel import trials
from labkit.llm_parallel.trials import Measured, open_trials

ABOUT = {"model": "tiny"}


def started(store, point):
    trial = store.study.ask()
    store.start(trial, point, {"memory": -0.5})
    return trial


@pytest.fixture(autouse=True)
def _quiet():
    with quiet_optuna():
        yield


@pytest.fixture
def file(tmp_path):
    return tmp_path / "trials.log"


def test_what_was_measured_is_read_back(file):
    store = open_trials(file, ABOUT)
    run = Measured(point=7, throughput=3.0, seconds=2.0, memory_bytes=1e9, wall_s=0.5)
    lost = Measured(point=8, reason="out of memory", message="70 GiB", wall_s=0.1)
    for measured in (run, lost):
        store.end(started(store, measured.point), measured)
    assert open_trials(file, ABOUT).ended() == [run, lost]


@pytest.mark.parametrize("where", ["file", "memory"])
def test_points_that_are_being_tried_are_taken_and_do_not_count(where, file):
    store = open_trials(file if where == "file" else None, ABOUT)
    trial = started(store, 3)
    assert (store.taken(), store.n_running(), store.ended()) == ({3}, 1, [])
    store.drop(trial)
    assert (store.taken(), store.n_running()) == (set(), 0)


def test_half_a_line_of_a_killed_process_is_cut_off(file):
    store = open_trials(file, ABOUT)
    store.end(started(store, 1), Measured(point=1, throughput=1.0))
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code":8,"wor')
    again = open_trials(file, ABOUT)
    assert [done.point for done in again.ended()] == [1]
    assert file.read_bytes().startswith(whole)
    assert b'"wor{' not in file.read_bytes()
    again.end(started(again, 2), Measured(point=2, throughput=2.0))
    assert [done.point for done in open_trials(file, ABOUT).ended()] == [1, 2]


def test_a_trial_whose_process_has_ended_is_given_up(file, monkeypatch, caplog):
    store = open_trials(file, ABOUT)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    here = trials.this_process()
    monkeypatch.setattr(trials, "this_process", lambda: {**here, "pid": int(gone.stdout)})
    started(store, 4)
    monkeypatch.undo()
    started(store, 5)
    with caplog.at_level(logging.INFO):
        again = open_trials(file, ABOUT)
    assert again.taken() == {5}
    assert "its process has ended" in caplog.text


def test_a_number_that_was_given_to_another_process_is_not_the_owner(file, monkeypatch):
    store = open_trials(file, ABOUT)
    here = trials.this_process()
    monkeypatch.setattr(trials, "this_process", lambda: {**here, "started": here["started"] - 99})
    started(store, 4)
    monkeypatch.undo()
    assert open_trials(file, ABOUT).taken() == set()


def test_a_trial_of_another_machine_is_waited_for_but_not_forever(file, monkeypatch):
    store = open_trials(file, ABOUT)
    here = trials.this_process()
    monkeypatch.setattr(trials, "this_process", lambda: {**here, "machine": "far away"})
    started(store, 4)
    assert open_trials(file, ABOUT).taken() == {4}
    monkeypatch.setattr(journal_file, "GIVE_UP_SECONDS", 0.0)
    assert open_trials(file, ABOUT).taken() == set()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tp,pp,seconds\n1,2,3\n", "line 1 is no entry"),
        (b"not a journal", "is not an Optuna journal"),
        (b'{"op_code":0}\n', "the journal is damaged"),
        (b"\x00\xff\n", "line 1 is no entry"),
    ],
)
def test_files_that_are_no_journal_are_refused_and_left_alone(file, content, message):
    file.write_bytes(content)
    with pytest.raises(ParameterError, match=message):
        open_trials(file, ABOUT)
    assert file.read_bytes() == content


def test_a_file_of_another_search_is_refused(file):
    open_trials(file, ABOUT)
    with pytest.raises(ParameterError, match="differs in model, seed; name another file"):
        open_trials(file, {"model": "large", "seed": "1"})


def test_places_where_no_file_can_be_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="is a folder"):
        open_trials(tmp_path, ABOUT)
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match="cannot be written"):
        open_trials(tmp_path / "file" / "trials.log", ABOUT)
