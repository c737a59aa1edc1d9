import numpy as np
import pytest

from labkit.clot.flows import Shear
from labkit.clot.forcefield import ForceField
from labkit.clot.lees_edwards import first_snapshot, free_height, lead, wrapped
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet
from labkit.clot.suspension import Placed, Suspension, plasma_box

BOX = np.array([5.0, 6.0, 7.0])
SMALL = Platelet.oblate(1.2, 0.6)


def unwrapped(x, image, tilt):
    return x + image * BOX + np.outer(image[:, 1] * tilt, [1.0, 0, 0])


@pytest.mark.parametrize("tilt", [-2.0, 0.0, 1.3])
def test_particles_are_put_back_by_whole_periods_with_the_velocity_of_their_image(tilt):
    generator = np.random.default_rng(0)
    x, v = generator.uniform(-20, 20, (200, 3)), generator.normal(size=(200, 3))
    none = np.zeros((200, 3), dtype=np.int32)
    inside, velocity, image = wrapped(x, v, none, BOX, tilt=tilt, rate=0.4)
    assert unwrapped(inside, image, tilt) == pytest.approx(x)
    assert velocity[:, 0] == pytest.approx(v[:, 0] - 0.4 * BOX[1] * image[:, 1])
    along_edges = inside - np.outer(inside[:, 1] / BOX[1] * tilt, [1.0, 0, 0])
    assert np.all((along_edges > -1e-9) & (along_edges < BOX + 1e-9))
    again = wrapped(inside, velocity, image, BOX, tilt=tilt, rate=0.4)
    for first, second in zip((inside, velocity, image), again, strict=True):
        assert np.array_equal(first, second)


def test_walls_let_nothing_through():
    x = np.array([[1.0, -0.01, 8.0]])
    inside, _, image = wrapped(x, x, np.zeros((1, 3), dtype=np.int32), BOX, walls=True)
    assert inside.tolist() == [[1.0, -0.01, 1.0]]
    assert image.tolist() == [[0, 0, 1]]


def test_the_border_is_put_where_no_platelet_is():
    box = [5.2, 12.0, 5.2]
    placed = [Placed(SMALL, [2.6, y, 2.6], [0, 1, 0]) for y in (0.0, 2.0)]
    suspension = Suspension.build(box, placed)
    start = first_snapshot(suspension, ForceField(), Shear(0.2))
    height = free_height(suspension, start.unwrapped()[:, 1], 12.0, n_heights=24) / 2
    assert 3.5 < height < 10.5
    assert free_height(plasma_box(box), np.zeros(3), 12.0, n_heights=24) == 0


def test_the_lead_is_a_whole_step_for_one_level_and_half_of_it_for_many():
    shift = 0.3 * 10.0 * 0.02
    assert lead(StepPlan.single(0.02), rate=0.3, height=10.0) == pytest.approx(shift)
    many = StepPlan(fluid=0.02, interface=0.02, nonbonded=0.02, bonded=0.0002)
    assert lead(many, rate=0.3, height=10.0) == pytest.approx(shift / 2, rel=0.02)


def test_the_first_state_rests_in_the_flow_without_momentum():
    rate, suspension = 0.5, plasma_box([6, 6, 6])
    state = first_snapshot(suspension, ForceField(kT=0.4), Shear(rate), seed=2)
    own = state.v - rate * np.outer(state.x[:, 1], [1.0, 0, 0])
    assert np.abs(own.sum(axis=0)).max() < 1e-10
    assert own.var() == pytest.approx(0.4, rel=0.1)
