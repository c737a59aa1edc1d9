import dataclasses

import numpy as np
import psutil
import pytest

from labkit.clot import deck
from labkit.clot.engine import Engine
from labkit.clot.flows import Channel, Quiescent, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField, Interface, Plasma
from labkit.clot.lees_edwards import wrapped
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.simulation import EngineError
from labkit.clot.suspension import Placed, Suspension, plasma_box
from labkit.errors import ParameterError

PLAN = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.001)
TOO_LARGE = StepPlan.single(0.1)
SMALL = Platelet.oblate(1.2, 0.6)
FRICTIONLESS = ForceField(plasma=Plasma(gamma=1e-12), interface=Interface(gamma=1e-12))


def one_platelet(center=(2.6, 2.6, 2.6), normal=(0.3, 1.0, 0.2)):
    return Suspension.build([5.2, 5.2, 5.2], [Placed(SMALL, center, normal)])


def two_platelets(distance=2.05):
    placed = [Placed(SMALL, [2.6, 2.6, z], [0.0, 0.0, 1.0]) for z in (1.0, 1.0 + distance)]
    return Suspension.build([5.2, 5.2, 5.2], placed)


def differences(first, second):
    return [np.abs(getattr(first, n) - getattr(second, n)).max() for n in ("x", "v", "image")]


@pytest.mark.parametrize("noise", [False, True], ids=["at zero temperature", "with noise"])
@pytest.mark.parametrize("flow", [Quiescent(), Shear(0.8)], ids=["at rest", "over a box flip"])
def test_a_restored_state_repeats_bit_for_bit(flow, noise):
    suspension = one_platelet()
    with Engine(suspension, ForceField(), flow, seed=3) as engine:
        engine.relax(time=0.2)
        start = engine.snapshot()
        engine.run(PLAN, 0.6, noise=noise)
        first = engine.snapshot()
        engine.restore(start)
        engine.run(PLAN, 0.6, noise=noise)
        assert differences(first, engine.snapshot()) == [0, 0, 0]
        assert engine.time == pytest.approx(0.8)
    with Engine(suspension, ForceField(), flow, seed=3, snapshot=start) as another:
        another.run(PLAN, 0.6, noise=noise)
        last = another.snapshot()
        assert differences(first, last) == [0, 0, 0]
    if flow.rate:
        assert start.tilt > 0 > last.tilt


def test_every_segment_has_noise_of_its_own():
    with Engine(plasma_box([4, 4, 4]), ForceField(), Quiescent()) as engine:
        start = engine.snapshot()
        engine.run(PLAN, 0.02)
        first = engine.snapshot()
        engine.restore(dataclasses.replace(start, n_segments=start.n_segments + 1))
        engine.run(PLAN, 0.02)
        changed = np.abs(engine.snapshot().v - first.v)
    assert np.median(changed) > 0.01


def test_unwrapped_positions_follow_the_velocities_over_borders_and_flips():
    h = StepPlan.single(0.02)
    with Engine(plasma_box([4, 5, 4]), ForceField(kT=1.0), Shear(1.0)) as engine:
        tilts = []
        for _ in range(10):
            before = engine.snapshot()
            engine.run(h, 0.1)
            after = engine.snapshot()
            moved = after.unwrapped() - before.unwrapped()
            stream = 0.1 * np.outer(before.unwrapped()[:, 1], [1.0, 0, 0])
            assert np.abs(moved - stream).max() < 1.0
            assert np.all((after.x[:, 1:] >= 0) & (after.x[:, 1:] <= after.box[1:]))
            tilts.append(after.tilt)
    assert min(np.diff(tilts)) < -3, "the box flipped on the way"


def test_no_particle_keeps_the_speed_of_the_border_that_it_crossed():
    """It would be 5 here, sixteen times the thermal speed."""
    with Engine(plasma_box([4, 5, 4]), ForceField(), Shear(1.0)) as engine:
        engine.run(StepPlan.single(0.02), 1.0)
        fastest, tilts = 0.0, []
        for _ in range(60):
            engine.run(StepPlan.single(0.02), 0.04)
            state = engine.snapshot()
            own = state.v - np.outer(state.x[:, 1], [1.0, 0, 0])
            fastest = max(fastest, np.linalg.norm(own, axis=1).max())
            tilts.append(state.tilt)
    assert fastest < 6 * np.sqrt(0.1)
    assert max(np.abs(tilts)) <= 2.0 + 1e-9


def test_shear_profile_is_linear_and_the_fluid_keeps_its_temperature():
    rate = 0.3
    with Engine(plasma_box([5, 6, 5]), ForceField(), Shear(rate)) as engine:
        engine.run(StepPlan.single(0.02), 4)
        segment = engine.run(StepPlan.single(0.02), 8, bins=4)
    y, density, velocity, temperature = segment.profile.T
    assert velocity == pytest.approx(rate * y, abs=0.15)
    assert np.polyfit(y, velocity, 1)[0] == pytest.approx(rate, rel=0.15)
    assert density == pytest.approx(np.full(4, 3.0), rel=0.03)
    assert temperature.mean() == pytest.approx(0.1, rel=0.06)
    assert -segment.stress[3] / rate == pytest.approx(2.2, rel=0.3), "viscosity of this fluid"


def test_opposite_forces_drive_opposite_streams():
    with Engine(plasma_box([5, 8, 5]), ForceField(), ReversePoiseuille(0.2)) as engine:
        engine.run(StepPlan.single(0.02), 6)
        low, high = engine.run(StepPlan.single(0.02), 6, bins=2).profile[:, 2]
    assert low > 0.1
    assert low == pytest.approx(-high, rel=0.05)


def test_a_channel_holds_its_fluid_and_stops_it_at_the_walls():
    with Engine(plasma_box([5, 8, 5]), ForceField(), Channel(0.05)) as engine:
        engine.run(StepPlan.single(0.02), 20)
        segment = engine.run(StepPlan.single(0.02), 10, bins=16)
        y = engine.snapshot().x[:, 1]
    velocity = segment.profile[:, 2]
    assert y.min() > -0.2
    assert y.max() < 8.2
    assert segment.profile[:, 1] == pytest.approx(np.full(16, 3.0), rel=0.15)
    assert max(velocity[0], velocity[-1]) < 0.25 * velocity.max()
    assert segment.stress is None


def test_a_platelet_flows_in_a_channel():
    with Engine(one_platelet(), ForceField(), Channel(0.05)) as engine:
        engine.relax(time=0.4)
        engine.run(PLAN, 1.0)
        assert engine.observe().center[0, 0] > 2.6


def test_momentum_is_conserved_with_noise_and_four_levels():
    with Engine(one_platelet(), ForceField(), Quiescent()) as engine:
        engine.run(PLAN, 0.4)
        assert np.abs(engine.snapshot().v.sum(axis=0)).max() < 1e-9


def test_levels_of_the_same_step_are_ordinary_time_stepping(monkeypatch):
    single = StepPlan.single(0.001)
    with Engine(two_platelets(), FRICTIONLESS, Quiescent()) as engine:
        start = engine.snapshot()
        engine.run(single, 0.05, noise=False)
        verlet = engine.snapshot()
        monkeypatch.setattr(
            deck, "run_style", lambda plan: "run_style respa 4 1 1 1 bond 1 hybrid 4 3 3 2 2"
        )
        engine.restore(start)
        engine.run(single, 0.05, noise=False)
        assert differences(verlet, engine.snapshot())[:2] == pytest.approx([0, 0], abs=1e-10)


def bond_forces(suspension, forcefield, separation):
    force = np.zeros(separation.shape[1:])
    i, j = suspension.bonds.T
    d = separation[i, j]
    r = np.linalg.norm(d, axis=1)
    stiffness = np.where(
        suspension.is_strut, forcefield.membrane.K_strut, forcefield.membrane.K_edge
    )
    pull = (-2 * stiffness * (r - suspension.rest_lengths) / r)[:, None] * d
    np.add.at(force, i, pull)
    np.add.at(force, j, -pull)
    return force


def pair_forces(suspension, forcefield, separation):
    r = np.linalg.norm(separation, axis=2)
    np.fill_diagonal(r, np.inf)
    kind, molecule = suspension.types, suspension.molecule
    plasma = kind == 1
    both, mixed = np.outer(plasma, plasma), plasma[:, None] ^ plasma[None, :]
    cytoplasm = ~both & ~mixed & ((kind[:, None] == 3) | (kind[None, :] == 3))
    between = np.outer(kind == 2, kind == 2) & (molecule[:, None] != molecule[None, :])

    def morse(m):
        e = np.exp(-m.alpha * (np.where(np.isfinite(r), r, 99.0) - m.r0))
        return np.where(r < m.cutoff, 2 * m.D * m.alpha * (e**2 - e), 0.0)

    wall = forcefield.interface
    six = (wall.sigma / r) ** 6
    repulsion = np.where(r < wall.cutoff, 24 * wall.epsilon * (2 * six**2 - six) / r, 0.0)
    receptors = forcefield.receptors
    size = (
        both * np.where(r < 1, forcefield.plasma.a * (1 - r), 0.0)
        + mixed * repulsion
        + cytoplasm * morse(forcefield.cytoplasm)
        + between * (repulsion if receptors is None else morse(receptors))
    )
    return (size / r)[:, :, None] * separation


@pytest.mark.parametrize("sticky", [True, False], ids=["receptors", "no receptors"])
def test_forces_are_those_of_the_force_field_summed_over_all_pairs(sticky):
    forcefield = dataclasses.replace(FRICTIONLESS, **({} if sticky else {"receptors": None}))
    suspension, h = two_platelets(2.05 if sticky else 1.8), 1e-6
    with Engine(suspension, forcefield, Quiescent(), seed=5) as engine:
        engine.relax(time=0.05)
        before = engine.snapshot()
        engine.run(StepPlan.single(h), 2 * h, noise=False)
        acceleration = (engine.snapshot().v - before.v) / (2 * h)
    x = before.x + h * before.v
    separation = x[:, None] - x[None, :]
    separation -= before.box * np.round(separation / before.box)
    pairs = pair_forces(suspension, forcefield, separation)
    expected = pairs.sum(axis=1)
    assert np.any(pairs[suspension.membrane(0), suspension.membrane(1)]), "membranes feel it"
    expected += bond_forces(suspension, forcefield, separation)
    assert acceleration == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())


def cloud():
    """Beads without springs, whose only thermostat is the plasma around them."""
    box = plasma_box([6, 6, 6], density=3.0)
    n = box.n_particles // 4
    beads = np.arange(box.n_particles) < n
    return dataclasses.replace(box, types=np.where(beads, 2, 1), molecule=np.where(beads, 1, 0))


@pytest.mark.parametrize("rule", [True, False], ids=["rule", "no rule"])
def test_the_noise_rule_gives_inner_levels_their_temperature(rule):
    suspension, forcefield = cloud(), ForceField()
    forcefield = dataclasses.replace(forcefield, interface=Interface(gamma=20.0))
    plan = StepPlan(fluid=0.02, interface=0.005, nonbonded=0.005, bonded=0.005)
    samples = []
    with Engine(suspension, forcefield, Quiescent(), seed=1) as engine:
        engine._noise_rule = rule
        engine.relax(time=0.2)
        for number in range(24):
            engine.run(plan, 0.2)
            if number >= 8:
                samples.append(np.mean(engine.snapshot().v ** 2 * (suspension.types == 2)[:, None]))
    temperature = np.mean(samples) * suspension.n_particles / suspension.n_beads
    assert (abs(temperature / 0.1 - 1) < 0.05) == rule
    assert rule or temperature < 0.08


@pytest.mark.parametrize("flow", [Quiescent(), Shear(0.2)], ids=["at rest", "in shear"])
def test_the_pressure_tensor_is_the_same_with_one_level_and_with_four(flow):
    h = 1e-5
    plans = [
        StepPlan.single(h),
        StepPlan(fluid=h, interface=h / 2, nonbonded=h / 4, bonded=h / 8),
    ]
    with Engine(one_platelet(), ForceField(), flow) as engine:
        engine.relax(time=0.2)
        start, stress = engine.snapshot(), []
        for plan in plans:
            engine.restore(start)
            stress.append(engine.run(plan, h, noise=False, bins=1).stress)
    assert stress[1] == pytest.approx(stress[0], rel=1e-4, abs=1e-4)


def raised(snapshot, flow, height):
    """Return the same state seen from coordinates whose origin is lower."""
    x, v = snapshot.x.copy(), snapshot.v.copy()
    x[:, 1] += height
    v[:, 0] += flow.rate * height
    x, v, image = wrapped(x, v, snapshot.image, snapshot.box, tilt=snapshot.tilt, rate=flow.rate)
    return dataclasses.replace(snapshot, x=x, v=v, image=image)


def test_a_platelet_across_the_border_of_a_sheared_box_moves_like_any_other():
    flow, suspension, time = Shear(0.5), one_platelet(), 0.4
    with Engine(suspension, ForceField(), flow, seed=1) as engine:
        engine.relax(time=0.2)
        middle = engine.snapshot()
        across = raised(middle, flow, 2.6)
        ends = []
        for start in (middle, across):
            engine.restore(start)
            engine.run(PLAN, time, noise=False)
            ends.append(engine.snapshot())
    beads = slice(0, suspension.n_beads)
    assert set(np.unique(across.image[beads, 1])) == {0, 1}
    moved = [
        end.unwrapped()[beads] - start.unwrapped()[beads]
        for start, end in zip((middle, across), ends, strict=True)
    ]
    carried = [flow.rate * 2.6 * time, 0, 0]
    jump = flow.rate * suspension.box[1] * PLAN.fluid
    assert np.abs(moved[1] - carried - moved[0]).max() < 0.02 * jump


def test_relaxation_ends_at_the_temperature_of_the_bath_with_springs_at_rest():
    with Engine(one_platelet(), ForceField(), Quiescent()) as engine:
        engine.relax(time=1.0)
        engine.run(PLAN, 1.0)
        seen = engine.observe()
    assert 0.05 < seen.temperature[0] < 0.16
    assert seen.stretch_mean[0] < 0.03


@pytest.mark.parametrize("flow", [Quiescent(), Shear(0.3)], ids=["at rest", "in shear"])
def test_a_plan_that_blows_up_is_named_and_the_state_can_be_restored(flow):
    with Engine(one_platelet(), ForceField(), flow) as engine:
        engine.relax(time=0.2)
        start = engine.snapshot()
        engine.run(PLAN, 0.2)
        expected = engine.snapshot()
        engine.restore(start)
        with pytest.raises(EngineError, match=r"plan 0.1 / 0.1 / 0.1 / 0.1 blew up between t=0.2"):
            engine.run(TOO_LARGE, 20)
        with pytest.raises(EngineError, match="restore a snapshot"):
            engine.snapshot()
        engine.restore(start)
        engine.run(PLAN, 0.2)
        assert differences(expected, engine.snapshot()) == [0, 0, 0]
        assert [segment.plan for segment in engine.segments] == [PLAN, PLAN]


def test_plasma_alone_that_blows_up_is_an_engine_error():
    engine = Engine(plasma_box([4, 4, 4]), ForceField(), Quiescent())
    with engine, pytest.raises(EngineError, match="use smaller steps"):
        engine.run(StepPlan.single(1.0), 50)


def test_an_interrupted_run_leaves_no_half_state_and_can_be_restored(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with Engine(plasma_box([4, 4, 4]), ForceField(), Shear(0.3), seed=1) as engine:
        start = engine.snapshot()
        engine.run(PLAN, 0.1)
        whole = engine.snapshot()
        engine.restore(start)
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "_require_sound", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.run(PLAN, 0.1)
        with pytest.raises(EngineError, match="restore a snapshot"):
            engine.snapshot()
        engine.restore(start)
        engine.run(PLAN, 0.1)
        assert np.array_equal(engine.snapshot().x, whole.x)


def test_closed_engines_leave_no_memory_behind():
    suspension, process = one_platelet(), psutil.Process()
    used = []
    for _ in range(6):
        with Engine(suspension, ForceField(), Quiescent()) as engine:
            engine.run(PLAN, 0.02)
        used.append(process.memory_info().rss)
    assert used[-1] - used[1] < 20e6


def test_segments_record_what_was_computed():
    with Engine(one_platelet(), ForceField(), Quiescent()) as engine:
        segment = engine.run(PLAN, 0.2)
    assert segment.evaluations == {"fluid": 10, "interface": 40, "nonbonded": 40, "bonded": 200}
    assert 0 < segment.setup_seconds < segment.wall_seconds
    assert segment.time == pytest.approx(engine.time)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: dataclasses.replace(s, x=s.x[1:]), "use a snapshot of the same suspension"),
        (lambda s: dataclasses.replace(s, box=s.box * 2), "use a snapshot of the same suspension"),
        (lambda s: dataclasses.replace(s, v=s.v[1:]), r"v of shape \(191, 3\)"),
        (lambda s: dataclasses.replace(s, image=s.image[:, 1:]), r"image of shape \(192, 2\)"),
        (lambda s: dataclasses.replace(s, x=s.x * np.nan), "no finite numbers"),
        (lambda s: dataclasses.replace(s, tilt=1.0), "tilt=1, which only Shear can continue"),
        (lambda s: dataclasses.replace(s, tilt=1e9), "no more than the box's length, 4"),
        (lambda s: dataclasses.replace(s, time=np.nan), "time=nan; use a finite time"),
        (lambda s: dataclasses.replace(s, n_segments=-1), "snapshot.n_segments=-1"),
    ],
)
def test_a_snapshot_of_something_else_is_refused(change, message):
    engine = Engine(plasma_box([4, 4, 4]), ForceField(), Quiescent())
    with engine, pytest.raises(ParameterError, match=message):
        engine.restore(change(engine.snapshot()))


def test_a_platelet_in_the_wall_of_a_channel_is_refused():
    with pytest.raises(ParameterError, match="place platelets between them"):
        Engine(one_platelet(center=(2.6, 0.1, 2.6)), ForceField(), Channel(0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"time": 0.03}, "time=0.03"), ({"time": 0.2, "bins": 0}, "bins=0")],
)
def test_a_run_that_cannot_be_is_refused_before_it_starts(options, message):
    with Engine(plasma_box([4, 4, 4]), ForceField(), Quiescent()) as engine:
        with pytest.raises(ParameterError, match=message):
            engine.run(PLAN, **options)
        assert engine.snapshot().time == 0
