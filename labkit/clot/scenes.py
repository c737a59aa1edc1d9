"""Ready systems: plasma alone, a tumbling platelet, two that collide, and a clot.

=========== ==================================================================== ==============
scene       what is in it                                                        flow
=========== ==================================================================== ==============
plasma      no platelet                                                          shear
tumbling    one platelet, its short axis `tilt` away from the gradient           shear
collision   two platelets that shear drives onto each other, and that stick      shear
clot        platelets near each other that shear makes aggregate                 shear
=========== ==================================================================== ==============

u_x = rate y. A short axis along y is in the slow phase of tumbling, one along x in the fast one.

Plasma keeps about 0.7 rc off a membrane, so the gap of two platelets is free of plasma once it is
below about 1.3 rc, and the plasma around then presses them together: receptors bind across such a
gap, not at a touch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from labkit.choices import not_allowed, require_whole, unknown_choice
from labkit.clot.flows import Flow, Quiescent, ReversePoiseuille, Shear
from labkit.clot.forcefield import ForceField, Plasma, Receptors, require_positive
from labkit.clot.plans import StepPlan
from labkit.clot.platelet import Platelet, check_shape
from labkit.clot.simulation import Simulation
from labkit.clot.state import Snapshot
from labkit.clot.suspension import (
    Array,
    Indices,
    Placed,
    Suspension,
    folded,
    overlap,
    plasma_box,
    require_box,
)
from labkit.errors import ParameterError

ROOM = 1.03
"""Edge of the smallest box in units of two platelet diameters 4 a, for the membrane's relief."""
SHEAR_RATE = 0.2
"""Of all scenes [1/time]."""
MOST_PLATELETS = 250
"""As many as in the published simulation."""
_FACE_CENTERED = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
_UPRIGHT = np.array([0.0, 1.0, 0.0])
_APART = 1.4
"""Least distance of two platelets' beads in the clot at the start, beyond the receptors [rc]."""
_JITTER, _TILT, _MOST_TRIES = 0.2, 0.15, 30
"""How far platelets are moved [rc] and tilted off their sites, and how often that is tried."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What can be changed in a scene; None means "as the scene has it".

    Attributes
    ----------
    shear_rate : float
        0 for a fluid at rest [1/time].
    force : float
        Drives a reverse Poiseuille flow instead of shear; of scene plasma only.
    box : sequence of 3 floats
        Edges [rc].
    n_platelets : int
        Of scene clot only.
    platelet_a, platelet_c : float
        Semi-axes [rc].
    spacing : float
        Of the beads on a membrane [rc].
    tilt : float
        Angle of the short axis from y towards x [rad]; of scene tumbling only.
    receptor_D, receptor_alpha : float
        Depth [energy] and inverse width [1/rc] of the receptors' potential.
    plasma_a, plasma_gamma, density, kT : float
        Repulsion, friction and number density of the plasma, and the temperature.
    """

    shear_rate: float | None = None
    force: float | None = None
    box: tuple[float, float, float] | None = None
    n_platelets: int | None = None
    platelet_a: float | None = None
    platelet_c: float | None = None
    spacing: float | None = None
    tilt: float | None = None
    receptor_D: float | None = None
    receptor_alpha: float | None = None
    plasma_a: float | None = None
    plasma_gamma: float | None = None
    density: float | None = None
    kT: float | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A system that is ready to run.

    Attributes
    ----------
    name : str
    suspension : Suspension
    flow : Flow
    forcefield : ForceField
    description : str
        One sentence for a figure's caption.
    """

    name: str
    suspension: Suspension
    flow: Flow
    forcefield: ForceField
    description: str


_SHARED = ("shear_rate", "box", "plasma_a", "plasma_gamma", "density", "kT")
_SHAPE = ("platelet_a", "platelet_c", "spacing")
_STICKY = ("receptor_D", "receptor_alpha")
_CHANGES: Mapping[str, tuple[str, ...]] = {
    "plasma": (*_SHARED, "force"),
    "tumbling": (*_SHARED, *_SHAPE, "tilt"),
    "collision": (*_SHARED, *_SHAPE, *_STICKY),
    "clot": (*_SHARED, *_SHAPE, *_STICKY, "n_platelets"),
}


def scene(name: str, *, seed: int = 0, **changes: Any) -> Scene:
    """Return a system that is ready to run.

    Parameters
    ----------
    name : str
        "plasma", "tumbling", "collision" or "clot".
    seed : int
        Of the plasma's positions and, in scene clot, of the platelets'.
    **changes
        Fields of `Choices`; None leaves a default.

    Raises
    ------
    ParameterError
        A name is unknown, or a value is not allowed; named as given.

    Examples
    --------
    >>> tumbling = scene("tumbling", shear_rate=0.1)
    >>> tumbling.suspension.n_platelets, tumbling.flow.rate
    (1, 0.1)
    """
    if name not in _CHANGES:
        raise ParameterError(not_allowed("scene", name, _CHANGES))
    require_whole("seed", seed, low=0)
    for given, value in changes.items():
        if value is not None and given not in _CHANGES[name]:
            raise ParameterError(unknown_choice(given, _CHANGES[name]))
    choices = Choices(**{k: v for k, v in changes.items() if k in _CHANGES[name]})
    forcefield = _forcefield(name, choices)
    suspension, description = _BUILDERS[name](choices, forcefield, seed)
    return Scene(name, suspension, _flow(choices), forcefield, description)


def equilibrate(
    engine: Simulation, *, plan: StepPlan, time: float = 1.0, relaxation: float | None = None
) -> Snapshot:
    """Bring a fresh engine to its temperature and flow, and return the state.

    Elastic heat and the overlaps of the plasma's random start are taken out by the engine's own
    `relax` where it has one; then the flow and the layer of plasma around the platelets settle in
    a run on the plan.

    Parameters
    ----------
    engine : Simulation
    plan : StepPlan
    time : float
        Of the run, rounded up to whole fluid steps [time].
    relaxation : float, optional
        Time of the engine's relaxation; None leaves it to the engine [time].
    """
    relax: Callable[..., object] | None = getattr(engine, "relax", None)
    if relax is not None:
        relax(**({} if relaxation is None else {"time": relaxation}))
    engine.run(plan, math.ceil(time / plan.fluid - 1e-9) * plan.fluid)
    return engine.snapshot()


def _plasma(choices: Choices, forcefield: ForceField, seed: int) -> tuple[Suspension, str]:
    box = _box(choices, (8.0, 10.0, 8.0))
    suspension = plasma_box(box, density=forcefield.plasma.density, seed=seed)
    return suspension, f"{suspension.n_particles} particles of plasma."


def _tumbling(choices: Choices, forcefield: ForceField, seed: int) -> tuple[Suspension, str]:
    platelet = _platelet(choices)
    tilt: Any = 0.35 if choices.tilt is None else choices.tilt
    if isinstance(tilt, bool) or not isinstance(tilt, int | float) or not abs(tilt) <= math.pi:
        raise ParameterError(f"tilt={tilt!r} is not allowed; use an angle from -pi to pi.")
    box = _box(choices, _smallest_box(platelet, _axes(choices)[0]))
    placed = Placed(platelet, box / 2, (math.sin(tilt), math.cos(tilt), 0.0))
    suspension = _build(box, [placed], forcefield, seed)
    return suspension, f"A platelet that tumbles in {_plasma_of(suspension)}."


def _collision(choices: Choices, forcefield: ForceField, seed: int) -> tuple[Suspension, str]:
    platelet = _platelet(choices)
    a, c = _axes(choices)
    box = _box(choices, _smallest_box(platelet, _axes(choices)[0]))
    apart = np.array([-1.35 * a, c + 0.75, 0.0])
    placed = [Placed(platelet, box / 2 + side * apart, (0.6, 1.0, 0.0)) for side in (1, -1)]
    suspension = _build(box, placed, forcefield, seed)
    return suspension, f"Two platelets that meet in {_plasma_of(suspension)}."


def _clot(choices: Choices, forcefield: ForceField, seed: int) -> tuple[Suspension, str]:
    n = 8 if choices.n_platelets is None else choices.n_platelets
    require_whole("n_platelets", n, low=2, high=MOST_PLATELETS)
    platelet = _platelet(choices)
    rng = np.random.default_rng(seed)
    cell = _cell(platelet, _axes(choices)[0])
    box = _box(choices, _cells_of(n) * cell)
    sites = _lattice(np.maximum(np.floor(box / cell + 1e-9).astype(int), 1), box)
    if n > len(sites):
        raise ParameterError(
            f"n_platelets={n} is not allowed in a box of {box[0]:g} x {box[1]:g} x {box[2]:g} rc, "
            f"which has room for {len(sites)}; use fewer or a larger box."
        )
    placed = _heap(platelet, rng.permutation(sites)[:n], box, rng)
    suspension = _build(box, placed, forcefield, seed)
    return suspension, f"{n} platelets that aggregate in {_plasma_of(suspension)}."


_BUILDERS: Mapping[str, Callable[[Choices, ForceField, int], tuple[Suspension, str]]] = {
    "plasma": _plasma,
    "tumbling": _tumbling,
    "collision": _collision,
    "clot": _clot,
}


def _axes(choices: Choices) -> tuple[float, float]:
    a = 2.0 if choices.platelet_a is None else choices.platelet_a
    c = 0.6 if choices.platelet_c is None else choices.platelet_c
    return a, c


def _platelet(choices: Choices) -> Platelet:
    a, c = _axes(choices)
    spacing = 0.6 if choices.spacing is None else choices.spacing
    check_shape(a, c, spacing=spacing, prefix="platelet_")
    return Platelet.oblate(a, c, spacing=spacing)


def _forcefield(name: str, choices: Choices) -> ForceField:
    def changed(default: Any, **values: float | None) -> Any:
        return dataclasses.replace(default, **{k: v for k, v in values.items() if v is not None})

    for item in ("plasma_a", "plasma_gamma", "density", "kT", *_STICKY):
        if getattr(choices, item) is not None:
            require_positive(item, getattr(choices, item))
    plasma = changed(
        Plasma(), a=choices.plasma_a, gamma=choices.plasma_gamma, density=choices.density
    )
    sticky = changed(Receptors(), D=choices.receptor_D, alpha=choices.receptor_alpha)
    receptors = sticky if name in ("collision", "clot") else None
    return changed(ForceField(plasma=plasma, receptors=receptors), kT=choices.kT)


def _flow(choices: Choices) -> Flow:
    if choices.force is not None:
        if choices.shear_rate is not None:
            raise ParameterError("force and shear_rate are two flows; give one of them.")
        require_positive("force", choices.force)
        return ReversePoiseuille(choices.force)
    rate = SHEAR_RATE if choices.shear_rate is None else choices.shear_rate
    if rate == 0 and not isinstance(rate, bool):
        return Quiescent()
    require_positive("shear_rate", rate)
    return Shear(rate)


def _box(choices: Choices, usual: ArrayLike) -> Array:
    return require_box(usual if choices.box is None else choices.box)


def _smallest_box(platelet: Platelet, a: float) -> Array:
    return np.full(3, 4 * max(a * ROOM, platelet.radius))


def _cell(platelet: Platelet, a: float) -> Array:
    """Return the cell of a face-centered lattice of upright platelets that are apart, (3,) [rc]."""
    across = max(
        4 * max(a * ROOM, platelet.radius),
        math.sqrt(2) * (2 * platelet.radius + _APART + _JITTER),
    )
    height = 2 * max(a * ROOM, platelet.radius)
    upright = Placed(platelet, (0.0, 0.0, 0.0), _UPRIGHT)
    # A spiral of beads is not symmetric: each of the neighbors above is another one.
    while not all(
        _fits(
            Placed(platelet, (x * across / 2, height / 2, z * across / 2), _UPRIGHT),
            [upright],
            np.full(3, 4 * (across + height)),
        )
        for x, z in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ):
        height *= 1.05
    return np.array([across, height, across])


def _cells_of(n: int) -> Indices:
    """Return how many lattice cells along x, y, z hold n platelets with few sites left empty."""
    fitting = []
    for x, z in itertools.product(range(1, math.ceil(n ** (1 / 3)) + 1), repeat=2):
        y = max(2, math.ceil(n / (4 * x * z)))
        edges = (x, y / 2, z)
        if max(edges) <= 2 * min(edges):
            fitting.append((4 * x * y * z, max(edges), x, y, z))
    return np.array(min(fitting)[2:])


def _lattice(cells: Indices, box: Array) -> Array:
    """Return the sites of a face-centered lattice with half a site free around it, (n, 3) [rc]."""
    corners = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), axis=-1).reshape(-1, 3)
    sites = corners[:, None, :] + _FACE_CENTERED
    return (sites.reshape(-1, 3) + 0.25) * box / cells


def _heap(platelet: Platelet, sites: Array, box: Array, rng: np.random.Generator) -> list[Placed]:
    """Return platelets around the sites, short axes near y, none within reach of another."""
    placed = [Placed(platelet, site, _UPRIGHT) for site in sites]
    if not all(_fits(one, placed[:i], box) for i, one in enumerate(placed)):
        raise ParameterError(
            f"box=({box[0]:g}, {box[1]:g}, {box[2]:g}) is not allowed with {len(sites)} platelets; "
            f"use a larger one, so that they start {_APART:g} rc apart."
        )
    for i, site in enumerate(sites):
        others = placed[:i] + placed[i + 1 :]
        for _ in range(_MOST_TRIES):
            shift = rng.uniform(-_JITTER, _JITTER, size=3)
            moved = Placed(platelet, site + shift, _UPRIGHT + _TILT * rng.normal(size=3))
            if _fits(moved, others, box):
                placed[i] = moved
                break
    return placed


def _fits(tried: Placed, placed: list[Placed], box: Array) -> bool:
    reach = 2 * tried.platelet.radius + _APART
    near = [other for other in placed if _distance(tried, other, box) < reach]
    if not near:
        return True
    others = np.concatenate([other.positions for other in near])
    distance, _ = cKDTree(folded(others, box), boxsize=box).query(folded(tried.positions, box))
    return distance.min() > _APART and not any(overlap(tried, other, box) for other in near)


def _distance(first: Placed, second: Placed, box: Array) -> float:
    offset = np.asarray(second.center) - np.asarray(first.center)
    return float(np.linalg.norm(offset - np.round(offset / box) * box))


def _build(box: Array, placed: list[Placed], forcefield: ForceField, seed: int) -> Suspension:
    return Suspension.build(box, placed, density=forcefield.plasma.density, seed=seed)


def _plasma_of(suspension: Suspension) -> str:
    return f"{suspension.n_particles - suspension.n_beads} particles of plasma"
