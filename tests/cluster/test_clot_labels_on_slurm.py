import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest

from labkit.clot.label_jobs import make_labels, prepare, slurm_array
from labkit.clot.labels import LabelSettings, LabelTable, Trajectory
from labkit.clot.plans import StepPlan

wait_until = runpy.run_path(str(Path(__file__).parent / "conftest.py"))["wait_until"]

pytestmark = [pytest.mark.slurm, pytest.mark.slow]  # a real cluster is started

PLANS = (StepPlan.single(0.005), StepPlan.single(0.01))
SETTINGS = LabelSettings(
    plans=PLANS, reference=PLANS[0].refined(4), window=0.02, segment=0.02, snapshots=2
)
TRAJECTORIES = [
    Trajectory(scene="tumbling", seed=seed, changes={"platelet_a": 1.2, "box": [5.1, 5.1, 5.1]})
    for seed in range(3)
]


def test_an_array_of_jobs_makes_the_labels_of_one_process(slurm, tmp_path):
    """Two jobs, one on each node, for three trajectories."""
    folder = prepare(TRAJECTORIES, SETTINGS, folder=tmp_path / "array")
    script = tmp_path / "labels.sbatch"
    script.write_text(slurm_array(folder, tasks=2))
    done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(list(folder.glob("*.labels.npz"))) == 3, every=0.5)
    made, alone = LabelTable.load(folder), make_labels(TRAJECTORIES, SETTINGS, folder=tmp_path)
    for one, other in zip(made.trajectories, alone.trajectories, strict=True):
        np.testing.assert_array_equal(one.errors, other.errors)
