"""The command that trains: its result, its refusals, and its end when a rank dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.runtime.job import Job
from labkit.llm_parallel.runtime.processes import BACKENDS, Process, joined
from labkit.llm_parallel.runtime.single import single_process
from labkit.llm_parallel.runtime.train import main

TRAIN = "labkit.llm_parallel.runtime.train"
MODEL = model_preset("gpt-tiny", seq_length=16)
LIMIT_SECONDS = 200


def _job(folder, **changes):
    values = {
        "model": MODEL,
        "parallel": ParallelConfig(pp=2, global_batch_size=4),
        "device": "cpu",
        "out": str(folder / "out"),
        **changes,
    }
    return Job(**values)


def test_two_ranks_leave_one_result_and_a_log_each(tmp_path, torchrun, labkit_data):
    """In 16-bit numbers, the default, and so only nearly equal to one process."""
    text = labkit_data / "llm_parallel" / "text" / "tinyshakespeare.txt"
    job = _job(tmp_path, data=str(text), steps=4, count_collectives=True)
    ranks = torchrun(2, "-m", TRAIN, "--job", str(job.write(tmp_path / "job.json")))
    output, _ = ranks.communicate(timeout=LIMIT_SECONDS)
    assert ranks.returncode == 0, output[-4000:]
    result = json.loads(job.result_path.read_text())
    assert Job.from_mapping(result["job"]) == job
    assert result["losses"] == pytest.approx(single_process(job), rel=2**-8), "of 8 bits"
    assert len(result["seconds"]) == 4
    assert min(result["seconds"]) > 0
    assert result["n_processes"] == len(result["peak_memory_bytes"]) == 2
    assert min(result["peak_memory_bytes"]) > 50e6, "torch alone takes more"
    assert result["versions"]["torch"] == torch.__version__
    assert (result["device"], result["backend"]) == ("cpu", "gloo")
    assert result["collectives"][0]["pp"] == {"send": 4, "receive": 4}
    for rank in range(2):
        log = (tmp_path / "out" / f"rank-{rank}.log").read_text()
        assert "step 3: loss" in log
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        *("rank-0.log", "rank-1.log", "result.json")
    ]


def test_the_death_of_a_rank_ends_the_others(tmp_path, torchrun):
    job = _job(tmp_path, steps=10**6)
    ranks = torchrun(2, "-m", TRAIN, "--job", str(job.write(tmp_path / "job.json")))
    log = tmp_path / "out" / "rank-1.log"
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (log.exists() and "step 1" in log.read_text()):
        assert ranks.poll() is None, ranks.communicate()[0][-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = {w.environ()["RANK"]: w for w in psutil.Process(ranks.pid).children()}
    workers["1"].send_signal(signal.SIGKILL)
    output, _ = ranks.communicate(timeout=LIMIT_SECONDS)
    assert ranks.returncode != 0
    assert "SIGKILL" in output
    assert not any(worker.is_running() for worker in workers.values())
    assert not job.result_path.exists()


def test_the_error_of_a_rank_is_its_end_and_in_its_log(tmp_path):
    """Its weights need more bytes than a process can address."""
    huge = MODEL.replace(vocab_size=10**9, hidden_size=10**6)
    job = _job(tmp_path, model=huge, parallel=ParallelConfig(param_dtype="float32"))
    done = subprocess.run(
        [sys.executable, "-m", TRAIN, "--job", str(job.write(tmp_path / "job.json"))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 1
    log = (tmp_path / "out" / "rank-0.log").read_text()
    assert "rank 0 of 1 failed" in log
    for text in (done.stderr, log):
        assert "can't allocate memory" in text
    assert not job.result_path.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"model": "gpt-tiny", "parallel": {"tp": 3}}', "tp=3 does not divide"),
        (
            '{"model": "gpt-tiny", "parallel": {"tp": 2}}',
            "but there are 1 processes; start with torchrun --nproc_per_node=2",
        ),
        ('{"model": "gpt-tiny", "parallel": {}, "data": "/nowhere"}', "data='/nowhere'"),
        ('{"model": "gpt-tiny", "parallel": {}, "device": "cuda"}', "no GPU is to be had"),
        ("{", "is no JSON"),
    ],
)
def test_a_job_that_cannot_run_ends_with_one_line_and_code_2(text, said, tmp_path, capsys):
    if '"cuda"' in text and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["--job", str(path)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not torch.distributed.is_initialized()


def test_only_the_first_process_complains(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        main(["--job", str(tmp_path / "none.json")])
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_messages_of_a_group_are_sent_by_one_thread():
    """Two of them at a time break the memory of the process (torch 2.13)."""

    def named():
        names = [task.read_text() for task in Path("/proc/self/task").glob("*/comm")]
        return sum(name.startswith("pt_gloo_runloop") for name in names)

    def threads_of_gloo(at_least):
        """A thread names itself some time after it was started."""
        deadline = time.monotonic() + 20
        while named() < at_least and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        return named()

    with joined(Process(rank=0, n_processes=1, local_rank=0), torch.device("cpu")):
        alone = threads_of_gloo(1)
        torch.distributed.new_group([0])
        both = threads_of_gloo(2)
    assert not torch.distributed.is_initialized()
    assert (alone, both) == (1, 2)


def test_every_process_of_a_machine_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    places = [Process(rank=6 + i, n_processes=16, local_rank=i) for i in range(3)]
    assert [str(place.device("auto")) for place in places[:2]] == ["cuda:0", "cuda:1"]
    assert BACKENDS["cuda"] == "nccl"
    with pytest.raises(ValueError, match="process 2 of this machine has no GPU of its own"):
        places[2].device("cuda")
    assert str(places[2].device("cpu")) == "cpu"
