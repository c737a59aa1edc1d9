import runpy
from pathlib import Path

import numpy as np
import psutil
import pytest

from labkit.distributed.slurm import SlurmRequest, launch_slurm
from labkit.errors import LabkitError
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.measure import measure
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.runtime.job import Job
from labkit.llm_parallel.runtime.single import single_process

helpers = runpy.run_path(str(Path(__file__).parent / "conftest.py"))
slurm_says, wait_until = helpers["slurm_says"], helpers["wait_until"]

pytestmark = [pytest.mark.slurm, pytest.mark.slow]  # torch starts four times on two cores

TWO_NODES = SlurmRequest(nodes=2, processes_per_node=1)
DIES = """
import os, pathlib, sys, time
rank, folder = os.environ["RANK"], pathlib.Path(sys.argv[1])
print("on", os.environ["SLURMD_NODENAME"], flush=True)
(folder / f"{rank}.pid").write_text(str(os.getpid()))
while not (folder / "0.pid").exists() or not (folder / "1.pid").exists():
    time.sleep(0.05)
if rank == "1":
    os.kill(os.getpid(), 9)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def outside_of_a_job(monkeypatch):
    """The tests may themselves run inside a job; theirs are queued all the same."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def test_two_nodes_train_to_the_losses_of_one_process(slurm, tmp_path):
    """In 64 bits; rounding differs by about 1e-15, a wrong gradient by more than 1e-4."""
    model = model_preset("gpt-tiny")
    batch = {"global_batch_size": 4, "param_dtype": "float64", "grad_dtype": "float64"}
    strategy = ParallelConfig(pp=2, **batch)
    run = measure(
        model, strategy, steps=3, launcher="slurm", request=TWO_NODES, device="cpu", out=tmp_path
    )
    alone = single_process(Job(model=model, parallel=ParallelConfig(**batch), steps=3))
    assert len(run.losses) == 3
    np.testing.assert_allclose(run.losses, alone, rtol=0, atol=1e-10)
    (folder,) = tmp_path.iterdir()
    agents = list((folder / "logs").glob("agent-*.json"))
    assert len(agents) == 2, "one torchrun a node"


def test_a_rank_that_dies_on_a_node_ends_the_job(slurm, tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    done = launch_slurm(
        "dies",
        [str(tmp_path)],
        request=TWO_NODES,
        timeout_s=100,
        log_folder=tmp_path / "logs",
        environment={"PYTHONPATH": str(tmp_path)},
    )
    assert done.reason == "crashed"
    assert done.message.startswith("rank 1 was ended by signal 9 (SIGKILL)")
    assert sorted(done.tails) == ["on n1", "on n2"]
    pids = [int((tmp_path / f"{rank}.pid").read_text()) for rank in (0, 1)]
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    wait_until(lambda: slurm_says("squeue", "-h") == "")


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        ({"partition": "nowhere"}, "sbatch refused the job: .*Invalid partition"),
        ({"nodes": 3}, r"Slurm cannot start the job \(PartitionConfig\); ask for fewer nodes"),
    ],
)
def test_what_slurm_will_never_run_is_told_soon(slurm, tmp_path, wanted, refusal):
    with pytest.raises(LabkitError, match=refusal):
        launch_slurm("x", request=SlurmRequest(**wanted), timeout_s=60, log_folder=tmp_path)
    assert slurm_says("squeue", "-h") == ""
