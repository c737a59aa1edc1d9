import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from labkit.clot.label_jobs import main, make_labels, prepare, prepared, slurm_array
from labkit.clot.labels import LabelSettings, Trajectory
from labkit.clot.plans import StepPlan
from labkit.distributed.slurm import SlurmRequest
from labkit.errors import LabkitError, ParameterError

FINE = StepPlan(fluid=0.01, interface=0.005, nonbonded=0.005, bonded=0.0025)
COARSE = StepPlan(fluid=0.02, interface=0.01, nonbonded=0.01, bonded=0.005)
SMALL = {"platelet_a": 1.2, "box": [5.1, 5.1, 5.1]}


def settings(**changes):
    given = {
        "plans": (FINE, COARSE),
        "reference": FINE.refined(4),
        "window": 0.04,
        "segment": 0.04,
        "snapshots": 3,
    }
    return LabelSettings(**{**given, **changes})


def trajectory(seed):
    return Trajectory(scene="tumbling", seed=seed, changes=SMALL)


def same_labels(one, other):
    return all(
        np.array_equal(mine.errors, theirs.errors, equal_nan=True)
        and np.array_equal(mine.ran_on, theirs.ran_on)
        and np.array_equal(mine.observations[-1].gyration, theirs.observations[-1].gyration)
        for mine, theirs in zip(one.trajectories, other.trajectories, strict=True)
    )


def test_labels_of_two_processes_are_those_of_one(tmp_path):
    trajectories = [trajectory(0), trajectory(1)]
    done = []
    alone = make_labels(
        trajectories,
        settings(),
        folder=tmp_path / "one",
        progress=lambda n, of, name: done.append((n, of, name)),
    )
    both = make_labels(trajectories, settings(), folder=tmp_path / "two", processes=2)
    assert same_labels(alone, both)
    assert not np.array_equal(alone.trajectories[0].errors, alone.trajectories[1].errors)
    assert [each[:2] for each in done] == [(1, 2), (2, 2)]
    assert not list((tmp_path / "two").glob("*.part.npz"))
    assert not list((tmp_path / "two").glob("worker-*"))


def test_the_coarse_plan_is_wrong_by_more_than_the_fine_one(tmp_path):
    table = make_labels([trajectory(0)], settings(), folder=tmp_path)
    (labels,) = table.trajectories
    assert (labels.errors[:, 1] > labels.errors[:, 0]).all()
    assert labels.reference_error < labels.errors.min()
    assert labels.ran_on[0] == -1
    assert set(labels.ran_on[1:]) <= {0, 1}
    np.testing.assert_allclose(np.diff([o.time for o in labels.observations]), 0.04)


def test_seeds_of_numpy_are_seeds(tmp_path):
    folder = prepare([trajectory(seed) for seed in np.arange(2)], settings(), folder=tmp_path)
    assert [each.seed for each in prepared(folder)[0]] == [0, 1]


def test_a_damaged_part_is_named(tmp_path):
    (tmp_path / f"{trajectory(0).name}.part.npz").write_bytes(b"half of")
    with pytest.raises(ParameterError, match=r"part\.npz cannot be read .* remove it"):
        make_labels([trajectory(0)], settings(), folder=tmp_path)


def test_a_killed_process_loses_nothing(tmp_path):
    many = settings(snapshots=20, label_every=2)
    whole = make_labels([trajectory(5)], many, folder=tmp_path / "whole")
    folder = prepare([trajectory(5)], many, folder=tmp_path / "killed")
    command = [sys.executable, "-m", "labkit.clot.labels", "--folder", str(folder), "--task", "0"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(folder.glob("*.part.npz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(folder.glob("*.part.npz"))) == 1, "killed on its way"
    assert same_labels(make_labels([trajectory(5)], many, folder=folder), whole)


def test_labels_that_are_complete_are_not_made_again(tmp_path):
    make_labels([trajectory(0)], settings(), folder=tmp_path)
    (path,) = tmp_path.glob("*.labels.npz")
    before = path.stat().st_mtime_ns
    make_labels([trajectory(0)], settings(), folder=tmp_path)
    assert path.stat().st_mtime_ns == before


def test_a_folder_remembers_what_is_to_be_labeled(tmp_path):
    folder = prepare([trajectory(0), trajectory(1)], settings(), folder=tmp_path)
    assert prepared(folder) == ([trajectory(0), trajectory(1)], settings())
    with pytest.raises(ParameterError, match=r"other settings \(snapshots\)"):
        prepare([trajectory(0)], settings(snapshots=4), folder=tmp_path)
    with pytest.raises(ParameterError, match="each different"):
        prepare([trajectory(0), trajectory(0)], settings(), folder=tmp_path)
    with pytest.raises(ParameterError, match="holds no settings"):
        prepared(tmp_path / "elsewhere")


def test_the_error_of_a_worker_is_told_in_its_own_words(tmp_path):
    wrong = Trajectory(scene="tumbling", changes={"platelet_a": -1.0})
    with pytest.raises(LabkitError, match=r"ended early: platelet_a=-1.0 is not allowed"):
        make_labels([wrong], settings(), folder=tmp_path, processes=2)


def test_the_command_line_prepares_with_the_ladder_of_the_scene(tmp_path, capsys):
    asked = ["--scene", "tumbling", "--rates", "0.1", "0.2", "--seeds", "0", "1"]
    assert main(["--folder", str(tmp_path), *asked, "--slurm", "4"]) == 0
    assert "#SBATCH --array=0-3" in capsys.readouterr().out
    trajectories, chosen = prepared(tmp_path)
    assert [each.changes["shear_rate"] for each in trajectories] == [0.1, 0.1, 0.2, 0.2]
    assert len(chosen.plans) >= 5
    assert chosen.reference == chosen.plans[0].refined(4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "holds no settings of labels"),
        (["--scene", "clod"], "Did you mean 'clot'?"),
        (["--scene", "tumbling", "--task", "2", "--tasks", "2"], "task=2: use a whole number"),
        (["--scene", "tumbling", "--window", "0.013"], "whole multiple of the fluid step"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(tmp_path, capsys, arguments, said):
    assert main(["--folder", str(tmp_path), *arguments]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith("error: ")
    assert said in told[0]


def test_the_batch_script_is_an_array_whose_jobs_share_the_trajectories(tmp_path):
    request = SlurmRequest(job_name="labels", time="01:00:00", partition="short", cpus_per_task=1)
    text = slurm_array(tmp_path, tasks=6, request=request)
    command = f"{sys.executable} -m labkit.clot.labels"
    assert text.splitlines() == [
        "#!/bin/bash",
        "#SBATCH --job-name=labels",
        "#SBATCH --array=0-5",
        "#SBATCH --ntasks=1",
        "#SBATCH --cpus-per-task=1",
        "#SBATCH --time=01:00:00",
        "#SBATCH --partition=short",
        f'#SBATCH --output="{tmp_path}/slurm-%A_%a.out"',
        "export OMP_NUM_THREADS=1",
        f'{command} --folder {tmp_path} --task "$SLURM_ARRAY_TASK_ID" --tasks 6',
    ]


def test_settings_are_json_that_a_person_can_read(tmp_path):
    folder = prepare([trajectory(0)], settings(), folder=tmp_path)
    record = json.loads((folder / "settings.json").read_text())
    assert record["settings"]["window"] == 0.04
    assert record["trajectories"] == [{"scene": "tumbling", "seed": 0, "changes": SMALL}]
