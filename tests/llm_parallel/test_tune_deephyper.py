from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from labkit.errors import ParameterError
from labkit.llm_parallel import tune_deephyper
from labkit.llm_parallel.objective import benchmark
from labkit.llm_parallel.tune import tune
from labkit.llm_parallel.tune_deephyper import hyperparameters

pytest.importorskip("deephyper", reason="DeepHyper is an optional extra")

CLUSTER, SPACES = benchmark(seed=0)
SPACE = SPACES["narrow"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deephyper")
    return folder, tune(SPACE, CLUSTER, engine="deephyper", n_trials=24, storage=folder)


def test_failures_are_kept_with_their_reasons_and_written_as_f(searched):
    folder, found = searched
    table = pd.read_csv(folder / "results.csv").sort_values("job_id", ignore_index=True)
    failed = found.trials.state == "failed"
    assert len(found.trials) == len(table) == 24
    assert failed.any()
    expected = "F_" + found.trials.reason[failed].str.replace(" ", "_")
    assert table.objective[failed].tolist() == expected.tolist()
    assert (found.trials.message[failed] != "").all()
    assert table["m:point"].tolist() == found.trials.point.tolist()


def test_the_best_is_what_the_cluster_measures(searched):
    _, found = searched
    assert found.trials.best_so_far.is_monotonic_increasing
    assert found.best is not None
    assert CLUSTER(found.best).seconds == pytest.approx(found.best_seconds, rel=1e-12)
    assert found.recommended == found.best


def test_trials_are_the_settings_of_their_points(searched):
    """What DeepHyper wrote as its own parameters names the strategy that was measured."""
    folder, found = searched
    table = pd.read_csv(folder / "results.csv").sort_values("job_id", ignore_index=True)
    for domain in SPACE.free:
        chosen = table[f"p:{domain.name}"]
        if domain.is_ordered:
            values = [domain.values[place] for place in chosen]
        else:
            values = [text.partition("=")[2] for text in chosen]
        assert values == (
            found.trials[domain.name].tolist()
            if domain.is_ordered
            else found.trials[domain.name].astype(str).tolist()
        )


def test_a_finished_search_is_read_and_not_repeated(searched):
    folder, found = searched

    again = tune(SPACE, CLUSTER, engine="deephyper", n_trials=24, storage=folder)
    assert again.n_resumed == 24
    pd.testing.assert_frame_equal(again.trials, found.trials)


def test_a_search_runs_where_an_event_loop_runs_already(searched, tmp_path):
    """Jupyter's kernel runs its cells inside a loop."""

    async def cell():
        return tune(SPACE, CLUSTER, engine="deephyper", n_trials=6, storage=tmp_path)

    with ThreadPoolExecutor(1) as pool:  # tests of the browser leave a loop running in this thread
        points = pool.submit(asyncio.run, cell()).result().trials.point
    assert points.tolist() == searched[1].trials.point[:6].tolist()


def test_an_interrupted_search_goes_on_after_half_a_line(tmp_path):
    left = 5

    def interrupted(strategy):
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return CLUSTER(strategy)

    start = SPACE.at(np.array([1034])).row(0)
    with pytest.raises(KeyboardInterrupt):
        tune(SPACE, interrupted, engine="deephyper", n_trials=20, storage=tmp_path, start=start)
    file = tmp_path / "results.csv"
    whole = file.read_bytes()
    file.write_bytes(whole + b"3,overlap_grad_re")
    left = 100
    found = tune(SPACE, interrupted, engine="deephyper", n_trials=20, storage=tmp_path)
    assert found.n_resumed == whole.count(b"\n") - 1
    assert 5 <= found.n_resumed < 20
    assert len(found.trials) == 20
    assert found.trials.point[0] == 1034
    written = whole.decode().splitlines()[1:]
    assert [line.split(",F_")[0] for line in written if ",F_" in line]
    again = found.trials.point[found.n_resumed :]
    assert not set(again[:5]) <= set(found.trials.point[: found.n_resumed])


def test_an_objective_that_raises_is_a_failed_trial():
    def broken(strategy):
        raise RuntimeError('no "such"\n  node, 3')

    found = tune(SPACE, broken, engine="deephyper", n_trials=8)
    assert set(found.failures) <= {"crashed", "illegal"}
    crashed = found.trials[found.trials.reason == "crashed"]
    assert crashed.message.iloc[0] == 'RuntimeError: no "such" node, 3'
    assert found.best is None


def test_progress_counts_the_trials_that_ended():
    seen = []
    options = {"engine": "deephyper", "n_trials": 3, "progress": lambda *n: seen.append(n)}
    tune(SPACE, CLUSTER, **options)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_numbers_are_places_in_their_domain_as_in_the_study():
    ranges = dict(hyperparameters(SPACE).space)
    assert (ranges["tp"].lower, ranges["tp"].upper) == (0, 3)
    assert set(ranges["recompute"].choices) == {"recompute=none", "recompute=full"}
    assert set(ranges) == {domain.name for domain in SPACE.free}


def test_folders_of_other_searches_are_refused(searched, tmp_path):
    folder, _ = searched
    with pytest.raises(ParameterError, match="differs in domains; name another folder"):
        tune(SPACES["wide"], CLUSTER, engine="deephyper", storage=folder)
    (tmp_path / "results.csv").write_text("p:x,objective\n1,2\n")
    with pytest.raises(ParameterError, match=r"holds results\.csv of another program"):
        tune(SPACE, CLUSTER, engine="deephyper", storage=tmp_path)
    about = json.loads((folder / "about.json").read_text())
    (tmp_path / "about.json").write_text(json.dumps(about))
    with pytest.raises(ParameterError, match=r"has no column 'm:point'"):
        tune(SPACE, CLUSTER, engine="deephyper", storage=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match="is a file; name a folder"):
        tune(SPACE, CLUSTER, engine="deephyper", storage=tmp_path / "file")


def test_without_deephyper_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(tune_deephyper.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ParameterError, match=r"pip install 'labkit\[deephyper\]'"):
        tune(SPACE, CLUSTER, engine="deephyper")
