import subprocess

import pytest

from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.export import sbatch_script
from labkit.llm_parallel.systems import system_preset

pytestmark = [pytest.mark.slurm, pytest.mark.slow]  # a real cluster is started
MODEL = ModelConfig(num_layers=24, hidden_size=1024, num_attention_heads=16)


@pytest.mark.parametrize(
    "strategy", [ParallelConfig(tp=2, pp=4, dp=2, global_batch_size=32), ParallelConfig()]
)
def test_slurm_accepts_the_script_of_a_strategy(slurm, tmp_path, strategy):
    path = tmp_path / "job.sbatch"
    system = system_preset("selene-a100")
    # The cluster of the tests has no GPUs to ask for.
    path.write_text(sbatch_script(MODEL, strategy, system=system, time="00:10:00", gpus_per_node=0))
    done = subprocess.run(
        ["sbatch", "--test-only", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
