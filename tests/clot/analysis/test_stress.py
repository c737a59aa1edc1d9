import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from labkit.clot.analysis.stress import enclosed_volume, membrane_stress, von_mises
from labkit.clot.forcefield import ForceField, Membrane

FORCEFIELD = ForceField(membrane=Membrane(K_edge=300.0, K_strut=40.0))


def bond_energy(suspension, x, platelet):
    i, j = suspension.bonds.T
    mine = suspension.molecule[i] == platelet + 1
    extension = np.linalg.norm(x[i] - x[j], axis=1) - suspension.rest_lengths
    stiffness = np.where(suspension.is_strut, 40.0, 300.0)
    return (stiffness * extension**2)[mine].sum()


def shaken(suspension, scale=0.03):
    x = suspension.positions.copy()
    x[: suspension.n_beads] += np.random.default_rng(0).normal(
        scale=scale, size=(suspension.n_beads, 3)
    )
    return x


def test_a_platelet_at_rest_has_no_stress(stack, snapshot_of):
    stress = membrane_stress(stack, snapshot_of(stack), FORCEFIELD)
    np.testing.assert_allclose(stress.bead, 0, atol=1e-10)


def test_stress_is_the_change_of_energy_with_strain(stack, snapshot_of):
    """V sigma_ab = dE / d eps_ab under x -> x + eps x, an independent route by differences. Bonds
    have both ends on one platelet; cytoplasm has none, so that all of them end in the membrane."""
    x = shaken(stack)
    stress = membrane_stress(stack, snapshot_of(stack, x), FORCEFIELD)
    for platelet in range(stack.n_platelets):
        derivative = np.empty((3, 3))
        for a in range(3):
            for b in range(3):
                ends = []
                for step in (1e-5, -1e-5):
                    strained = x.copy()
                    strained[:, a] += step * x[:, b]
                    ends.append(bond_energy(stack, strained, platelet))
                derivative[a, b] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(
            stress.platelet[platelet] * stress.volume[platelet], derivative, rtol=1e-5, atol=1e-4
        )


def test_stress_turns_with_the_platelet_and_its_size_does_not(stack, snapshot_of):
    x = shaken(stack)
    before = membrane_stress(stack, snapshot_of(stack, x), FORCEFIELD)
    turn = Rotation.from_rotvec([0.4, -1.0, 0.2]).as_matrix()
    turned = x.copy()
    for p in range(stack.n_platelets):
        beads = stack.beads(p)
        center = x[beads].mean(axis=0)
        turned[beads] = (x[beads] - center) @ turn.T + center
    after = membrane_stress(stack, snapshot_of(stack, turned), FORCEFIELD)
    np.testing.assert_allclose(after.bead, turn @ before.bead @ turn.T, atol=1e-8)
    np.testing.assert_allclose(after.von_mises, before.von_mises, rtol=1e-8)
    np.testing.assert_allclose(after.volume, before.volume)


def test_swelling_puts_the_membrane_under_tension(stack, snapshot_of):
    x = stack.positions.copy()
    for p in range(stack.n_platelets):
        center = x[stack.beads(p)].mean(axis=0)
        x[stack.beads(p)] = center + 1.02 * (x[stack.beads(p)] - center)
    stress = membrane_stress(stack, snapshot_of(stack, x), FORCEFIELD)
    assert np.linalg.eigvalsh(stress.platelet).min() > 0


def test_platelet_stress_is_the_mean_over_its_beads(stack, snapshot_of):
    stress = membrane_stress(stack, snapshot_of(stack, shaken(stack)), FORCEFIELD)
    n = len(stress.bead) // stack.n_platelets
    np.testing.assert_allclose(stress.bead[n : 2 * n].mean(axis=0), stress.platelet[1])


def test_volume_is_that_of_the_platelet_wherever_the_box_cuts_it(
    stack, small_platelet, snapshot_of
):
    for shift in ([0, 0, 0], [1.0, 7.5, -3.0]):
        snapshot = snapshot_of(stack, stack.positions + shift)
        volume = membrane_stress(stack, snapshot, FORCEFIELD).volume
        np.testing.assert_allclose(volume, small_platelet.volume, rtol=1e-9)
    np.testing.assert_allclose(
        enclosed_volume(stack, 2 * stack.positions[: stack.n_beads]), 8 * volume
    )


@pytest.mark.parametrize(
    ("stress", "size"),
    [
        (np.diag([3.0, 0, 0]), 3.0),
        (np.diag([-2.0, -2.0, -2.0]), 0.0),
        (np.array([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]]), np.sqrt(3)),
        (np.diag([1.0, 1.0, 0.0]), 1.0),
    ],
)
def test_von_mises_stress_of_textbook_states(stress, size):
    assert von_mises(stress) == pytest.approx(size)
