import numpy as np
import pytest

from labkit.clot.platelet import Platelet
from labkit.clot.state import Snapshot
from labkit.clot.suspension import Placed, Suspension


@pytest.fixture(scope="session")
def small_platelet():
    return Platelet.oblate(2.0, 0.7, spacing=0.7)


@pytest.fixture(scope="session")
def stack(small_platelet):
    """Two flat platelets, one above the other along y, 0.55 rc apart, and one far off."""
    places = [(3, 0.2, 3), (3, 2.15, 3), (7, 6.0, 7)]
    placed = [Placed(small_platelet, center, (0, 1, 0)) for center in places]
    return Suspension.build((9.0, 9.0, 9.0), placed, density=0.2)


@pytest.fixture(scope="session")
def snapshot_of():
    """Wrap positions into a box without tilt, as an engine does."""

    def wrapped(suspension, x=None, *, time=0.0):
        x = suspension.positions if x is None else x
        image = np.floor(x / suspension.box).astype(np.int32)
        return Snapshot(
            x=x - image * suspension.box,
            v=np.zeros_like(x),
            image=image,
            box=suspension.box,
            time=time,
        )

    return wrapped
