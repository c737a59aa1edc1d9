from functools import partial

import numpy as np
import psutil
import pytest

from labkit.distributed.slurm import SlurmRequest
from labkit.errors import MissingDataError, ParameterError
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.measure import MAX_LOCAL_PROCESSES, measure
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.outcome import FAILURES, Failure, Run
from labkit.llm_parallel.rules import check
from labkit.llm_parallel.runs import runs_from_outcomes
from labkit.llm_parallel.runtime.job import Job, require_runnable
from labkit.llm_parallel.runtime.single import single_process

TINY = model_preset("gpt-tiny")
EXACT = {"global_batch_size": 4, "param_dtype": "float64", "grad_dtype": "float64"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A real run of two processes, and the folder with what it left."""
    folder = tmp_path_factory.mktemp("measured")
    strategy = ParallelConfig(tp=2, **EXACT)
    return measure(TINY, strategy, steps=5, warmup=2, device="cpu", out=folder), folder


def test_a_measured_run_has_the_losses_of_one_process(measured):
    """In 64 bits; rounding differs by about 1e-15, a wrong gradient by more than 1e-4."""
    run, _ = measured
    alone = single_process(Job(model=TINY, parallel=ParallelConfig(**EXACT), steps=5))
    assert isinstance(run, Run)
    np.testing.assert_allclose(run.losses, alone, rtol=0, atol=1e-10)


def test_the_time_of_a_run_is_the_median_of_its_later_steps(measured):
    run, _ = measured
    assert len(run.steps) == 5
    assert run.seconds == np.median(run.steps[2:])
    assert run.details["seconds_low"] <= run.seconds <= run.details["seconds_high"]


def test_the_memory_of_a_run_is_that_of_a_process(measured):
    run, _ = measured
    assert 0 < run.memory_bytes < psutil.virtual_memory().total


def test_a_folder_keeps_the_job_the_result_and_what_ranks_printed(measured):
    _, folder = measured
    (kept,) = folder.iterdir()
    assert kept.name.startswith("TP2-PP1-DP1-b1-ZeRO-1-")
    assert {"job.json", "result.json", "logs"} <= {path.name for path in kept.iterdir()}
    assert {"rank-0.log", "rank-1.log"} <= {path.name for path in (kept / "logs").iterdir()}


def test_measured_runs_feed_the_calibration_and_failures_are_left_out(measured):
    run, _ = measured
    failure = measure(TINY, ParallelConfig(tp=3))
    runs = runs_from_outcomes(TINY, [failure, run])
    assert list(runs.seconds) == [run.seconds]
    assert list(runs.parallel.tp) == [2]


@pytest.mark.parametrize(
    ("choices", "refused_by"),
    [
        ({"tp": 3}, check),
        ({"pp": 4}, check),
        ({"virtual_pp": 2}, check),
        ({"cp": 2}, require_runnable),
        ({"pp": 2, "zero_stage": 3}, require_runnable),
        ({"param_dtype": "float16"}, require_runnable),
    ],
)
def test_an_illegal_strategy_is_a_failure_with_the_message_of_its_rule(choices, refused_by):
    strategy = ParallelConfig(**choices)
    with pytest.raises(ParameterError) as refusal:
        refused_by(TINY, strategy)
    outcome = measure(TINY, strategy)
    assert outcome == Failure(strategy=strategy, reason="illegal", message=str(refusal.value))


def test_what_this_machine_cannot_hold_is_not_started():
    objective = partial(measure, model_preset("gpt-1t"), device="cpu")
    outcome = objective(ParallelConfig())
    assert outcome.reason == "out of memory"
    assert outcome.message.startswith("not started: by the cost model it needs ")


def test_a_run_past_its_time_is_a_failure():
    outcome = measure(TINY, ParallelConfig(), timeout_s=0.5, device="cpu")
    assert (outcome.reason, outcome.message) == (
        "time limit",
        "time limit of 0.5 s passed; all ranks were ended",
    )
    assert outcome.reason in FAILURES


def test_what_is_wrong_besides_the_strategy_is_an_error_by_name(tmp_path):
    refused = partial(measure, TINY, ParallelConfig())
    with pytest.raises(ParameterError, match="steps=0: use a whole number of 1 or more"):
        refused(steps=0)
    with pytest.raises(ParameterError, match="steps=2: the first 2 do not count; use more"):
        refused(steps=2, warmup=2)
    with pytest.raises(ParameterError, match="launcher='ssh' is not allowed"):
        refused(launcher="ssh")
    with pytest.raises(ParameterError, match="timeout_s=0: use a number of seconds above 0"):
        refused(timeout_s=0)
    with pytest.raises(ParameterError, match="device='tpu' is not allowed"):
        refused(device="tpu")
    with pytest.raises(MissingDataError, match="no file"):
        refused(data=str(tmp_path / "nothing.txt"))
    with pytest.raises(ParameterError, match=r"nodes \* processes_per_node = 2 \* 1 is not the 1"):
        refused(launcher="slurm", request=SlurmRequest(nodes=2))
    many = ParallelConfig(dp=2 * MAX_LOCAL_PROCESSES, global_batch_size=2 * MAX_LOCAL_PROCESSES)
    with pytest.raises(ParameterError, match=r"needs 128 processes; this machine starts 64"):
        measure(TINY, many)
