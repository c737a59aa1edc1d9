import numpy as np
import pytest

from labkit.clot.flows import Channel, Quiescent, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField, Receptors
from labkit.clot.observe import (
    contact_range,
    membrane_beads,
    membrane_proximity,
    observe,
    receptor_energy,
    reference_velocity,
    unwrapped_platelets,
)
from labkit.clot.platelet import Platelet
from labkit.clot.proximity import lattice
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Placed, Suspension, plasma_box

BOX = np.array([9.0, 8.8, 8.4])
AT_REST, DEFAULTS = Quiescent(), ForceField()
TILTS = [0.0, 2.7, -4.4]


@pytest.fixture(scope="module")
def platelet():
    return Platelet.oblate(2.0, 0.7, spacing=0.7)


@pytest.fixture(scope="module")
def two(platelet):
    places = [
        Placed(platelet, (8.9, 8.7, 0.2), (1, 2, 3)),
        Placed(platelet, (4.5, 4, 4), (0, 1, 0)),
    ]
    return Suspension.build(BOX, places, density=1.0, seed=1)


def state(suspension, x, v, *, tilt=0.0, rate=0.0, time=0.0):
    """Wrap positions into the box as an engine does; a velocity changes by that of the box's end
    at each crossing of y."""
    edges = lattice(suspension.box, tilt)
    edges[1, 0] = tilt
    image = np.floor(x @ np.linalg.inv(edges)).astype(np.int32)
    v = v - np.outer(image[:, 1] * rate * suspension.box[1], [1, 0, 0])
    return Snapshot(x=x - image @ edges, v=v, image=image, box=suspension.box, tilt=tilt, time=time)


def observed(suspension, x, v, *, flow=AT_REST, forcefield=DEFAULTS, tilt=0.0):
    snapshot = state(suspension, x, v, tilt=tilt, rate=flow.rate)
    return observe(suspension, snapshot, forcefield, flow)


@pytest.mark.parametrize("tilt", TILTS)
@pytest.mark.parametrize("flow", [Quiescent(), Shear(0.3)])
def test_rigid_motion_across_the_boundary_is_found_exactly_and_is_no_heat(two, tilt, flow):
    x = two.positions.copy()
    v = np.zeros_like(x)
    drift = np.array([[0.3, -0.2, 0.1], [-0.5, 0.4, 0.2]])
    omega = np.array([[0.1, 0.5, -0.3], [-0.7, 0.2, 0.6]])
    for p in range(2):
        beads = two.beads(p)
        center = x[beads].mean(axis=0)
        v[beads] = drift[p] + np.cross(omega[p], x[beads] - center)
        v[beads, 0] += flow.rate * center[1]
    found = observed(two, x, v, flow=flow, tilt=tilt)
    np.testing.assert_allclose(found.velocity, drift, atol=1e-12)
    np.testing.assert_allclose(found.angular_velocity, omega, atol=1e-12)
    np.testing.assert_allclose(found.temperature, 0.0, atol=1e-12)
    centers = [x[two.beads(p)].mean(axis=0) for p in range(2)]
    np.testing.assert_allclose(found.center, centers, atol=1e-12)


def test_temperature_has_the_degrees_of_freedom_that_rigid_motion_leaves(two):
    """Of 500 draws of about 100 beads the mean is known to 0.4 %; the six lost are 2 %."""
    kT, rng = 0.1, np.random.default_rng(0)
    x = two.positions
    n = two.beads(0).stop
    draws = [
        observed(two, x, rng.normal(scale=np.sqrt(kT), size=x.shape)).temperature[0]
        for _ in range(500)
    ]
    error = kT * np.sqrt(2 / (3 * n - 6) / 500)
    assert np.mean(draws) == pytest.approx(kT, abs=4 * error)
    assert np.std(draws) == pytest.approx(kT * np.sqrt(2 / (3 * n - 6)), rel=0.15)


@pytest.mark.parametrize("tilt", TILTS)
def test_nothing_depends_on_where_the_box_is_cut(two, tilt):
    rng = np.random.default_rng(2)
    v = rng.normal(size=two.positions.shape)
    flow = Shear(0.2)
    v[:, 0] += flow.rate * two.positions[:, 1]
    at_home = observed(two, two.positions, v, flow=flow, tilt=tilt)
    for shift in ([3.0, 0, 0], [0, 5.1, 0], [0, 0, -2.0], [-7.0, 11.0, 3.0]):
        faster = v + np.array([flow.rate * shift[1], 0, 0])
        moved = observed(two, two.positions + shift, faster, flow=flow, tilt=tilt)
        np.testing.assert_allclose(moved.center, at_home.center + shift, atol=1e-9)
        for name in (
            "velocity",
            "angular_velocity",
            "gyration",
            "temperature",
            "stretch_max",
            "contacts",
            "gap",
            "bond_energy",
            "receptor_energy",
            "fluid_temperature",
        ):
            np.testing.assert_allclose(
                getattr(moved, name), getattr(at_home, name), atol=1e-9, err_msg=name
            )


def test_axis_and_gyration_are_those_of_the_spheroid(two, platelet):
    found = observed(two, two.positions, np.zeros_like(two.positions))
    normal = np.array([1, 2, 3]) / np.sqrt(14)
    assert abs(found.axis[0] @ normal) == pytest.approx(1, abs=1e-3)
    assert abs(found.axis[1, 1]) == pytest.approx(1, abs=1e-3)
    membrane = platelet.positions[: platelet.n_membrane]
    moments = np.sort(np.linalg.eigvalsh(np.cov(membrane.T, bias=True)))
    np.testing.assert_allclose(found.gyration, [moments, moments], rtol=1e-9)


def test_uniform_swelling_stretches_every_spring_alike(two):
    rest = observed(two, two.positions, np.zeros_like(two.positions))
    x = two.positions.copy()
    for p in range(2):
        beads = two.beads(p)
        center = x[beads].mean(axis=0)
        x[beads] = center + 1.1 * (x[beads] - center)
    swollen = observed(two, x, np.zeros_like(x))
    d = two.positions[two.bonds[:, 0]] - two.positions[two.bonds[:, 1]]
    at_rest = np.linalg.norm(d, axis=1)
    np.testing.assert_allclose(at_rest, two.rest_lengths, rtol=1e-9)
    np.testing.assert_allclose(rest.bond_energy, 0, atol=1e-15)
    np.testing.assert_allclose(swollen.stretch_mean, 0.1, rtol=1e-9)
    np.testing.assert_allclose(swollen.stretch_max, 0.1, rtol=1e-9)
    constants = ForceField().membrane
    stiffness = np.where(two.is_strut, constants.K_strut, constants.K_edge)
    energy = (stiffness * (0.1 * two.rest_lengths) ** 2).sum() / two.n_beads
    np.testing.assert_allclose(swollen.bond_energy.mean(), energy, rtol=1e-9)


@pytest.mark.parametrize("tilt", TILTS)
def test_contacts_gap_and_receptor_energy_are_those_of_all_pairs_of_beads(two, tilt):
    forcefield = ForceField(receptors=Receptors(D=3.0, alpha=2.0, r0=1.0, cutoff=2.5))
    x = two.positions.copy()
    x[two.beads(1)] += x[two.beads(0)].mean(axis=0) - x[two.beads(1)].mean(axis=0) + [0, 2.2, 1.5]
    found = observed(two, x, np.zeros_like(x), forcefield=forcefield, tilt=tilt)
    a, b = x[two.membrane(0)], x[two.membrane(1)]
    steps = np.arange(-1, 2)
    shifts = np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T @ lattice(BOX, tilt)
    r = np.linalg.norm(a[:, None, None] - b[None, :, None] - shifts, axis=-1)
    assert found.contacts.tolist() == [(r < 2.5).sum()] * 2
    assert (r < 2.5).sum() > 10
    np.testing.assert_allclose(found.gap, r.min(), rtol=1e-9)
    near = r[r < 2.5]
    energy = 3.0 * (np.exp(-4.0 * (near - 1.0)) - 2 * np.exp(-2.0 * (near - 1.0)))
    np.testing.assert_allclose(found.receptor_energy.sum() * two.beads(0).stop, energy.sum())


def test_receptor_energy_has_its_depth_at_its_minimum_and_ends_at_its_cutoff():
    receptors = Receptors(D=7.0, alpha=5.0, r0=0.8, cutoff=1.6)
    r = np.array([0.8, 0.8 + np.log(2) / 5.0, 1.6, 2.0])
    np.testing.assert_allclose(receptor_energy(receptors, r), [-7.0, 7 * (0.25 - 1), 0, 0])


def test_platelets_without_receptors_count_contacts_but_have_no_energy(two):
    x = two.positions.copy()
    x[two.beads(1)] += x[two.beads(0)].mean(axis=0) - x[two.beads(1)].mean(axis=0) + [0, 2.2, 1.5]
    free = ForceField(receptors=None)
    found = observed(two, x, np.zeros_like(x), forcefield=free)
    assert contact_range(free) == Receptors().cutoff
    assert found.contacts[0] == observed(two, x, np.zeros_like(x)).contacts[0] > 0
    assert found.receptor_energy.tolist() == [0, 0]


def test_close_beads_are_numbered_as_membrane_beads(two):
    snapshot = state(two, two.positions, np.zeros_like(two.positions))
    near = membrane_proximity(two, snapshot, Quiescent(), cutoff=4.0)
    beads = membrane_beads(two)
    assert set(two.types[beads]) == {2}
    assert set(two.molecule[beads[near.first]]) == {1}
    assert set(two.molecule[beads[near.second]]) == {2}
    whole = unwrapped_platelets(two, snapshot)
    np.testing.assert_allclose(whole, two.positions[: two.n_beads], atol=1e-12)


@pytest.mark.parametrize("flow", [Quiescent(), Shear(0.4)])
def test_fluid_temperature_does_not_see_the_flow(flow):
    fluid = plasma_box([12, 12, 12], density=3.0, seed=0)
    v = np.random.default_rng(0).normal(scale=np.sqrt(0.1), size=fluid.positions.shape)
    v[:, 0] += flow.rate * fluid.positions[:, 1]
    found = observed(fluid, fluid.positions, v, flow=flow, tilt=3.0)
    assert found.fluid_temperature == pytest.approx(0.1, rel=4 * np.sqrt(2 / v.size))


@pytest.mark.parametrize("flow", [ReversePoiseuille(0.1), Channel(0.1)])
def test_a_driven_fluid_is_measured_across_its_flow(flow):
    fluid = plasma_box([12, 12, 12], density=3.0, seed=0)
    v = np.random.default_rng(0).normal(scale=np.sqrt(0.1), size=fluid.positions.shape)
    v[:, 0] += 5 * np.sin(2 * np.pi * fluid.positions[:, 1] / 12)
    found = observed(fluid, fluid.positions, v, flow=flow)
    assert found.fluid_temperature == pytest.approx(0.1, rel=4 * np.sqrt(3 / v.size))


@pytest.mark.parametrize("flow", [ReversePoiseuille(0.1), Channel(0.1)])
def test_a_platelet_that_swims_with_a_driven_stream_has_no_velocity(two, flow):
    """The stream has a straight profile around it, so its mean over a slab is that at its center,
    but for the plasma's finite number: about 150 particles, spread over 2 rc of the slope 0.1."""
    center = two.positions[two.beads(1)].mean(axis=0)
    v = np.zeros_like(two.positions)
    v[:, 0] = 1.0 + 0.1 * (two.positions[:, 1] - center[1])
    v[two.beads(1)] = [1.0, 0.3, 0.0]
    found = observed(two, two.positions, v, flow=flow)
    np.testing.assert_allclose(found.velocity[1], [0, 0.3, 0], atol=4 * 0.1 * 0.6 / np.sqrt(150))


def test_shear_jumps_by_the_speed_of_the_box_where_it_is_cut():
    flow = Shear(0.2)
    ends = np.array([[1.0, 0.0, 2.0], [1.0, BOX[1], 2.0]])
    u = reference_velocity(flow, ends, BOX, 1.0)
    np.testing.assert_allclose(u[1] - u[0], [0.2 * BOX[1], 0, 0])
    for other in (Quiescent(), ReversePoiseuille(1.0), Channel(1.0)):
        assert not reference_velocity(other, ends, BOX).any()


def test_plasma_alone_has_no_platelets_to_observe():
    fluid = plasma_box([5, 5, 5], density=3.0)
    found = observed(fluid, fluid.positions, np.zeros_like(fluid.positions))
    assert found.center.shape == found.axis.shape == (0, 3)
    assert found.gap.shape == found.temperature.shape == (0,)
    assert found.fluid_temperature == 0
