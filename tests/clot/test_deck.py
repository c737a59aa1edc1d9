import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labkit.clot import deck
from labkit.clot.averages import read_files
from labkit.clot.datafile import BondTypes, data_file, wall_particles
from labkit.clot.engine import Engine
from labkit.clot.flows import Channel, Quiescent, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField, Plasma, Receptors
from labkit.clot.lees_edwards import first_snapshot
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.suspension import Placed, Suspension, plasma_box
from labkit.errors import ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.001)
SMALL = Platelet.oblate(1.2, 0.6)
MPI = Path(sys.executable).parent
LMP = {"lmp": [MPI / "lmp"], "mpirun lmp": [MPI / "mpirun", "-n", "2", MPI / "lmp"]}


def suspension():
    return Suspension.build([5.2, 5.2, 5.2], [Placed(SMALL, [2.6, 2.6, 2.6], [0.3, 1.0, 0.2])])


def run_lmp(command, path):
    clean = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    return subprocess.run(
        [*command, "-in", path.name, "-log", "none"],
        check=False,
        cwd=path.parent,
        env=clean,
        capture_output=True,
        text=True,
    )


def sections(text):
    """Return the rows of each section of a data file."""
    blocks = text.split("\n\n")[1:]
    names = [block.split(" #")[0] for block in blocks[0::2]]
    rows = [np.array([row.split() for row in b.splitlines()], float) for b in blocks[1::2]]
    return dict(zip(names, rows, strict=True))


def test_every_spring_has_its_own_rest_length_and_stiffness():
    built, forcefield = suspension(), ForceField()
    start = first_snapshot(built, forcefield, Quiescent())
    table = sections(data_file(built, start, forcefield, Quiescent()))
    kinds = table["Bonds"][:, 1].astype(int) - 1
    stiffness, length = table["Bond Coeffs"][kinds, 1:].T
    membrane = forcefield.membrane
    assert length == pytest.approx(built.rest_lengths, abs=1e-9)
    assert np.array_equal(stiffness, np.where(built.is_strut, membrane.K_strut, membrane.K_edge))
    assert np.array_equal(table["Bonds"][:, 2:].astype(int) - 1, built.bonds)


def test_the_data_file_holds_the_state_exactly():
    built, flow = suspension(), Shear(0.3)
    start = first_snapshot(built, ForceField(), flow, seed=4)
    table = sections(data_file(built, start, ForceField(), flow))
    assert np.array_equal(table["Atoms"][:, 3:6], start.x)
    assert np.array_equal(table["Atoms"][:, 6:], start.image)
    assert np.array_equal(table["Velocities"][:, 1:], start.v)
    assert np.array_equal(table["Atoms"][:, 1], built.molecule)


def test_equal_platelets_share_their_bond_types():
    box = [5.2, 5.2, 10.4]
    two = Suspension.build(box, [Placed(SMALL, [2.6, 2.6, z], [0.1, 1, z]) for z in (2.6, 7.8)])
    assert len(BondTypes.of(two).rest_lengths) <= len(SMALL.bonds)


def test_walls_lie_outside_the_channel_at_the_density_of_the_plasma():
    box = np.array([5.0, 8.0, 6.0])
    y = wall_particles(box, 3.0)[:, 1]
    assert np.all((y <= 0) | (y >= 8))
    assert len(y) == pytest.approx(2 * 3.0 * 5 * 6, abs=2)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_the_interface_bath_is_heated_by_the_ratio_of_the_steps(power):
    forcefield = ForceField(kT=0.25, plasma=Plasma(power=power))
    bath = "dpd/tstat" if power == 1 else "dpd/ext/tstat"

    def temperatures(**options):
        words = deck.plan_commands(PLAN, forcefield, platelets=True, **options)[0].split()
        at = words.index(bath)
        plasma = words.index("dpd" if power == 1 else "dpd/ext")
        return [float(words[plasma + 1]), float(words[at + 1]), float(words[at + 2])]

    assert temperatures() == [0.25, 1.0, 1.0]
    assert temperatures(correct_noise=False) == [0.25, 0.25, 0.25]
    assert temperatures(noise=False) == [0, 0, 0]


@pytest.mark.parametrize(
    ("steps", "style"),
    [
        ((0.02, 0.02, 0.02, 0.02), "verlet"),
        ((0.02, 0.01, 0.005, 0.001), "respa 4 5 2 2 bond 1 hybrid 4 3 3 2 2"),
        ((0.02, 0.02, 0.005, 0.005), "respa 2 4 bond 1 hybrid 2 2 2 1 1"),
        ((0.02, 0.02, 0.02, 0.005), "respa 2 4 bond 1 hybrid 2 2 2 2 2"),
    ],
)
def test_levels_with_the_same_step_are_one(steps, style):
    plan = StepPlan(**dict(zip(("fluid", "interface", "nonbonded", "bonded"), steps, strict=True)))
    assert deck.run_style(plan) == f"run_style {style}"


def test_seeds_of_segments_differ_and_are_allowed_by_lammps():
    seeds = {deck.noise_seed(seed, n) for seed in range(3) for n in range(100)}
    assert len(seeds) == 300
    assert min(seeds) > 0
    assert max(seeds) < 900_000_000


@pytest.mark.parametrize(
    ("flow", "receptors"),
    [
        (Quiescent(), None),
        (Shear(0.2), Receptors()),
        (ReversePoiseuille(0.05), Receptors()),
        (Channel(0.05), None),
    ],
)
def test_decks_of_all_flows_run_in_lmp(tmp_path, flow, receptors):
    path = deck.write_input(
        *(tmp_path / "in.clot", suspension(), ForceField(receptors=receptors), flow, PLAN),
        time=0.1,
        bins=4,
    )
    done = run_lmp(LMP["lmp"], path)
    assert done.returncode == 0, done.stdout + done.stderr
    profile, stress = read_files(path, flow, [5.2, 5.2, 5.2])
    assert profile.shape == (4, 4)
    assert (stress is None) == isinstance(flow, Channel)
    assert "without KOKKOS" in path.read_text()


@pytest.mark.parametrize("command", LMP)
def test_a_deck_gives_the_temperature_and_the_viscosity_of_python(tmp_path, command):
    """Both are averages over 8 time units of 450 particles, whose errors are 2 % and 10 %."""
    fluid, flow, plan = plasma_box([5, 6, 5]), Shear(1.0), StepPlan.single(0.04)
    forcefield = ForceField(kT=1.0, plasma=Plasma(a=25.0, gamma=4.5))
    path = deck.write_input(tmp_path / "in.plasma", fluid, forcefield, flow, plan, time=8, bins=1)
    done = run_lmp(LMP[command], path)
    assert done.returncode == 0, done.stdout + done.stderr
    profile, stress = read_files(path, flow, fluid.box)
    with Engine(fluid, forcefield, flow, seed=1) as engine:
        engine.run(plan, 8)
        segment = engine.run(plan, 8, bins=1)
    assert profile[0, 3] == pytest.approx(segment.profile[0, 3], rel=0.08)
    assert stress[3] == pytest.approx(segment.stress[3], rel=0.4)
    assert -stress[3] == pytest.approx(0.85, rel=0.3), "long runs: 0.82 to 0.87, five ways"


@pytest.mark.parametrize("name", ["my deck", "deck$x", "deck&", "#deck", "folder"])
def test_a_deck_needs_a_name_that_lammps_can_read(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ParameterError, match="without spaces"):
        deck.write_input(
            *(tmp_path / name, plasma_box([4, 4, 4]), ForceField(), Quiescent(), PLAN), time=1
        )


def test_a_deck_does_not_start_from_the_state_of_something_else(tmp_path):
    fluid, other = plasma_box([4, 4, 4]), plasma_box([4, 4, 5])
    state = first_snapshot(other, ForceField(), Quiescent())
    with pytest.raises(ParameterError, match="use a snapshot of the same suspension"):
        deck.write_input(
            *(tmp_path / "in.clot", fluid, ForceField(), Quiescent(), PLAN), time=1, snapshot=state
        )
    assert list(tmp_path.iterdir()) == []
