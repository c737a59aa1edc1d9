"""The run as a whole: its parts agree, files are written whole, and failures are results."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from labkit.llm_parallel import study
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.evidence import CALIBRATED, SHIPPED, compare_with_measured, machine
from labkit.llm_parallel.memory import memory_breakdown
from labkit.llm_parallel.real import real_run
from labkit.llm_parallel.settings import LLMParallelConfig

HEADER = "tp,pp,dp,micro_batch_size,global_batch_size,recompute,seconds\n"


@pytest.fixture(scope="module")
def config() -> LLMParallelConfig:
    return LLMParallelConfig.from_preset(
        "quick", model="gpt-22b", n_devices=64, global_batch_size=512, tp=2, pp=4, n_trials=6,
        engine="random", run_real=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(config) -> study.LLMParallelResults:
    return study.run_study(config)


def test_the_best_strategy_is_as_fast_as_the_search_says(config, results):
    best = study.best_strategy(results.found)
    time = step_time(config.model_config(), best, results.machine)
    assert time.total[0] == pytest.approx(results.found.frame.iloc[0].seconds, rel=1e-12)
    assert time.memory_bytes[0] <= study.MEMORY_SHARE * results.machine.hbm_bytes
    assert best.n_devices == config.n_devices


def test_your_strategy_is_not_faster_than_the_best(results):
    assert results.step.total[0] >= results.found.frame.iloc[0].seconds * (1 - 1e-12)


def test_headline_numbers_are_finite_and_told_apart(results):
    numbers = results.headline()
    assert numbers["model_mfu"] < numbers["model_hfu"]
    assert all(np.isfinite(v) for v in numbers.values() if isinstance(v, float))
    assert numbers["memory_gib"] * 2**30 == pytest.approx(results.memory["total"].max())


def test_failed_trials_are_kept_and_counted(results):
    trials = results.trials.trials
    failed = trials[trials["state"] == "failed"]
    assert len(trials) == 6
    assert len(failed) == results.trials.n_failed
    assert (failed["reason"] != "").all()


def test_export_writes_readable_tables_and_says_where_numbers_come_from(results, tmp_path):
    written = results.export(tmp_path / "out")
    assert all(path.is_file() for path in written)
    best = pd.read_csv(tmp_path / "out" / "best.csv")
    assert best["seconds"].is_monotonic_increasing
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["machine"]["sources"]
    assert provenance["config"]["model"] == "gpt-22b"
    again = results.export(tmp_path / "out")
    assert sorted(again) == sorted(written)


def test_export_launches_what_megatron_can_run_and_names_who_cannot(config, results, tmp_path):
    results.export(tmp_path)
    files = {path.name for path in (tmp_path / "launch").iterdir()}
    launch = json.loads((tmp_path / "provenance.json").read_text())["launch"]
    assert launch["strategy"] == study.best_for_megatron(config, results.found).label()
    assert {"megatron.txt", "job.sbatch"} <= files
    assert files.isdisjoint(launch["refused"])
    assert len(files) + len(launch["refused"]) == 4


def test_the_best_for_megatron_is_one_that_megatron_can_say(config, results):
    chosen = study.best_for_megatron(config, results.found)
    assert chosen.schedule in ("1f1b", "interleaved_1f1b")


def test_no_strategy_fits_a_tiny_machine_and_that_is_a_result(config):
    small = config.system_config().replace(hbm_bytes=1e9)
    found = study.find_best(config, small)
    assert found.n_feasible == 0
    assert study.best_strategy(found) is None
    assert study.best_for_megatron(config, found) is None
    assert found.counts["out of memory"] > 0


def test_published_runs_are_predicted_better_than_by_a_constant(config):
    errors = compare_with_measured(config).errors.set_index(["set", "method"])["mape"]
    for name in ("Megatron Table 1", "Korthikanti"):
        for method in (SHIPPED, CALIBRATED):
            assert errors[name, method] < 0.06
            assert errors[name, method] < errors[name, "constant"]


def test_own_runs_calibrate_the_machine(config, tmp_path):
    slower = config.system_config()
    slower = slower.replace(efficiency=slower.efficiency.replace(gemm=0.3))
    strategies = [
        config.strategy().replace(tp=tp, pp=pp, dp=64 // (tp * pp))
        for tp in (1, 2, 4, 8) for pp in (2, 4, 8)
    ]  # fmt: skip
    seconds = step_time(config.model_config(), strategies, slower).total
    lines = [
        f"{s.tp},{s.pp},{s.dp},1,512,full,{t:.6f}\n"
        for s, t in zip(strategies, seconds, strict=True)
    ]
    file = tmp_path / "runs.csv"
    file.write_text(HEADER + "".join(lines))
    own = replace(config, runs_csv=str(file))
    errors = compare_with_measured(own).errors.set_index("method")["mape"]
    assert errors[CALIBRATED] < 0.3 * errors[SHIPPED]
    predicted = step_time(config.model_config(), strategies, machine(own)).total
    np.testing.assert_allclose(predicted, seconds, rtol=0.05)


def test_one_own_run_is_no_reason_to_split_it(config, tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text(HEADER + "2,4,8,1,512,full,20.0\n")
    evidence = compare_with_measured(replace(config, runs_csv=str(file)))
    assert evidence.predictions(CALIBRATED).empty
    assert len(evidence.predictions(SHIPPED)) == 1


def test_published_utilizations_stand_beside_those_of_the_model():
    table = study.headlines()
    assert table["hfu_published"].tolist() == pytest.approx([0.3838, 0.3614, 0.3196])
    np.testing.assert_allclose(table["mfu_published"], 0.75 * table["hfu_published"])
    np.testing.assert_allclose(table["hfu_model"], table["hfu_published"], rtol=0.08)


def test_scaling_of_another_machine_is_that_of_your_strategy(config):
    other = replace(config, system="dgx-h100")
    frame = study.scaling(other, other.system_config())
    assert set(frame["model"]) == {"gpt-22b"}
    assert set(frame["kind"]) == {"weak", "strong"}
    assert frame["n_devices"].max() == other.n_devices


def test_facts_of_model_and_machine_have_their_sources(config):
    table = study.cards(config, config.system_config())
    assert (table["source"].str.len() > 3).all()


def test_a_real_run_is_left_out_on_request(config):
    outcome = real_run(config)
    assert outcome.outcome is None
    assert "run_real=True" in str(outcome)


@pytest.mark.parametrize("change", [{}, {"real_tp": 1, "real_pp": 2}])
def test_real_training_equals_one_process(config, change):
    outcome = real_run(replace(config, run_real=True, real_steps=3, **change))
    assert outcome.losses is not None, str(outcome)
    assert outcome.difference <= 1e-10
    assert outcome.losses["single"].nunique() == 3
    assert {fit.kind for fit in outcome.links} == {"all_reduce", "reduce_scatter"}


def test_memory_of_your_strategy_is_that_of_its_fullest_stage(config, results):
    table = memory_breakdown(config.model_config(), config.strategy())
    assert table["total"].max() == pytest.approx(results.step.memory_bytes[0])


def test_importing_the_study_leaves_torch_and_scipys_statistics_out():
    """Both would take memory that the processes of the real run need on a small machine."""
    code = "import sys, labkit.llm_parallel.study; print({'torch', 'scipy.stats'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
