import os
import subprocess

import pytest

from labkit.distributed.slurm import SlurmRequest, launch_slurm, sbatch_text, srun_line
from labkit.errors import LabkitError, ParameterError

REQUEST = SlurmRequest(
    nodes=4,
    processes_per_node=8,
    time="00:30:00",
    partition="gpu",
    account="chem-1",
    cpus_per_task=56,
    gpus_per_node=8,
    job_name="train",
    sbatch_arguments=["--constraint=a100&nvme"],
)
FAKE_SCONTROL = """\
#!/bin/bash
if [ "$2" = hostnames ]; then printf 'n%s\\n' 7 8; else echo "NodeName=$3 Arch=x86_64
   NodeAddr=10.0.0.${3#n} NodeHostName=$3"; fi
"""


def test_the_script_of_a_job_is_this():
    text = sbatch_text(
        "train",
        ["--job", "runs/job 1.json"],
        request=REQUEST,
        environment={"NCCL_DEBUG": "WARN", "NOTE": "it's"},
        port=29500,
    )
    lines = text.splitlines()
    assert lines[:-4] == [
        "#!/bin/bash",
        "#SBATCH --job-name=train",
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=56",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --time=00:30:00",
        "#SBATCH --partition=gpu",
        "#SBATCH --account=chem-1",
        '#SBATCH --output="slurm-%j.out"',
        "#SBATCH --constraint=a100&nvme",
        "export NCCL_DEBUG=WARN",
        "export NOTE='it'\"'\"'s'",
    ]
    assert lines[-2] == "port=29500"
    assert lines[-1] == (
        "srun --nodes=4 --ntasks=4 --ntasks-per-node=1 --kill-on-bad-exit=1 torchrun --nnodes=4 "
        '--nproc-per-node=8 --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d '
        "--rdzv-endpoint=\"$head:$port\" -m train --job 'runs/job 1.json'"
    )


def test_the_script_meets_at_the_address_of_the_first_node(tmp_path):
    """Run by bash, with an scontrol that answers like Slurm's; srun says its words."""
    (tmp_path / "scontrol").write_text(FAKE_SCONTROL)
    (tmp_path / "srun").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    for program in ("scontrol", "srun"):
        (tmp_path / program).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "n[7-8]",
    }
    text = sbatch_text("train", ["a b"], request=SlurmRequest(nodes=2, processes_per_node=4))
    done = subprocess.run(
        ["bash", "-eu", "-c", text], env=environment, capture_output=True, text=True, check=True
    )
    words = done.stdout.splitlines()
    assert "--rdzv-endpoint=10.0.0.7:23456" in words, "port 20000 + 123456 mod 20000"
    assert "--rdzv-id=123456" in words
    assert words[-3:] == ["-m", "train", "a b"]


@pytest.mark.parametrize("port", [None, 29500])
def test_bash_accepts_the_script(port):
    text = sbatch_text("train", ["--x", "$(rm)", "'"], request=REQUEST, port=port)
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_torchrun_can_be_that_of_an_interpreter():
    line = srun_line(
        "train", nodes=1, processes_per_node=2, torchrun=("/usr/my python", "-m", "torch.run")
    )
    assert "--kill-on-bad-exit=1 '/usr/my python' -m torch.run --nnodes=1" in line


def test_requests_that_slurm_could_not_read_are_refused_by_name():
    with pytest.raises(ParameterError, match="nodes=0: use a whole number of 1 or more"):
        SlurmRequest(nodes=0)
    with pytest.raises(ParameterError, match=r"gpus_per_node=1.5: use a whole number"):
        SlurmRequest(gpus_per_node=1.5)
    with pytest.raises(ParameterError, match="partition='gpu fast': use letters, digits"):
        SlurmRequest(partition="gpu fast")
    with pytest.raises(ParameterError, match=r"time='1h\\nrm': use letters, digits"):
        SlurmRequest(time="1h\nrm")


def test_without_slurm_the_user_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(LabkitError, match="no sbatch on this machine; use a Slurm cluster or"):
        launch_slurm("train", request=SlurmRequest(), timeout_s=1, log_folder=tmp_path)
