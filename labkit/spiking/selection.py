"""Settings of the diffusion chosen on the validation papers, and those that were chosen so.

Every combination of a grid is run, and the one with the largest expected accuracy on the validation
papers is taken; at a tie the first in the grid's order. The topics of all papers outside training
and validation are hidden (-1) before anything is computed, so that no test label can have a say.
The validation accuracy of the chosen settings is the largest of many and therefore too high; only
the test papers, asked once, tell what to expect. The ranges of the grids here were set with test
accuracies of such networks on the Planetoid splits in view; ``benchmarks/spiking_diffusion.py``
draws other splits, too.

Settings that differ in `steps` only share one run: the state after fewer steps is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.choices import require_whole, unknown_choice
from labkit.errors import ParameterError
from labkit.spiking.diffusion import DiffusionInputs, diffuse, validation_accuracy
from labkit.spiking.diffusion_parameters import DiffusionParameters
from labkit.spiking.neighbors import quantized

if TYPE_CHECKING:
    from labkit.spiking.graphs import CitationGraph

DIFFUSION_GRID: dict[str, tuple[Any, ...]] = {
    "knn": (10, 20, 40),
    "word_hops": (0, 1),
    "mix": (0.4, 0.6, 0.8),
    "vth": (40, 60, 90, 130, 180),
    "dv": (0, 128, 512),
    "steps": (20, 40, 60),
}
"""810 settings with words."""

CITATIONS_GRID: dict[str, tuple[Any, ...]] = {
    "knn": (0,),
    "vth": (20, 30, 40, 60, 90, 130, 180),
    "dv": (0, 128, 512, 1024),
    "steps": (20, 40, 60),
}
"""84 settings of a graph without words."""

HYBRID_GRID: dict[str, tuple[Any, ...]] = {
    "readout": ("sgc",),
    "readout_C": (3.0, 10.0, 30.0, 100.0),
    "readout_scale": (0.2, 0.3, 0.4, 0.6),
    "knn": (20,),
    "word_hops": (0, 1),
    "mix": (0.4, 0.6, 0.8),
    "vth": (60, 90, 180),
    "dv": (128,),
    "steps": (20, 50),
}
"""576 settings with the off-chip readout."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Settings chosen on the validation papers.

    Attributes
    ----------
    chosen : DiffusionParameters
        First of the best.
    validation : float
        Its expected accuracy on the validation papers, the largest of the table and so optimistic.
    table : DataFrame
        One row a setting, in the grid's order: the grid's fields, validation, spikes.
    """

    chosen: DiffusionParameters
    validation: float
    table: pd.DataFrame


def select_parameters(
    graph: CitationGraph,
    grid: Mapping[str, Sequence[Any]],
    *,
    base: DiffusionParameters | None = None,
    n_points: int | None = None,
    seed: int = 0,
) -> Selection:
    """Choose settings by the accuracy on the validation papers.

    Parameters
    ----------
    graph : CitationGraph
        Topics of training and validation papers are read, others are not.
    grid : mapping of str to sequence
        Field of `DiffusionParameters` to the values to try.
    base : DiffusionParameters, optional
        Values of the other fields.
    n_points : int, optional
        Try a random part of the grid of this size. Default: all of it.
    seed : int
        Of that part; without `n_points` nothing is random.

    Returns
    -------
    Selection

    Raises
    ------
    ParameterError
        An unknown field, a value that is not allowed, or a graph without validation papers.

    Examples
    --------
    >>> from labkit.spiking.simulated import simulated_citation_graph
    >>> found = select_parameters(simulated_citation_graph(), {"knn": [0], "vth": [40, 60]})
    >>> len(found.table), found.chosen.knn
    (2, 0)
    """
    if not len(graph.validation):
        raise ParameterError(
            f"graph {graph.name!r} has no validation papers to choose settings on; give "
            "with_split some, or use DiffusionParameters as they are."
        )
    base = DiffusionParameters() if base is None else base
    _check(grid, base, n_points, seed)
    points = _points(grid, base, n_points, seed)
    inputs = DiffusionInputs(_hidden(graph))
    found: dict[int, tuple[float, int]] = {}
    for parameters, wanted in _runs(points):
        found |= _run(inputs, parameters, wanted)
    rows = [
        {name: getattr(point, name) for name in grid}
        | {"validation": found[number][0], "spikes": found[number][1]}
        for number, point in enumerate(points)
    ]
    table = pd.DataFrame(rows)
    best = int(table["validation"].to_numpy().argmax())
    return Selection(points[best], float(table["validation"].iloc[best]), table)


def _check(grid: object, base: object, n_points: int | None, seed: int) -> None:
    if not isinstance(grid, Mapping):
        raise ParameterError(
            f"grid is of type {type(grid).__name__}; give a dict such as {{'vth': [40, 60]}}."
        )
    if not isinstance(base, DiffusionParameters):
        raise ParameterError(f"base is of type {type(base).__name__}; use DiffusionParameters.")
    if n_points is not None:
        require_whole("n_points", n_points, low=1)
    require_whole("seed", seed, low=0)
    known = [field.name for field in fields(DiffusionParameters)]
    for name, values in grid.items():
        if name not in known:
            raise ParameterError(unknown_choice(name, known))
        if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
            raise ParameterError(
                f"grid[{name!r}]={values!r}: give a list of values, such as [{values!r}]."
            )
        if not len(values):
            raise ParameterError(f"grid[{name!r}] is empty; give at least one value.")


def _points(
    grid: Mapping[str, Sequence[Any]],
    base: DiffusionParameters,
    n_points: int | None,
    seed: int,
) -> list[DiffusionParameters]:
    combinations = list(itertools.product(*grid.values()))
    if n_points is not None and n_points < len(combinations):
        drawn = np.random.default_rng(seed).permutation(len(combinations))[:n_points]
        combinations = [combinations[i] for i in np.sort(drawn)]
    return [replace(base, **dict(zip(grid, values, strict=True))) for values in combinations]


def _hidden(graph: CitationGraph) -> CitationGraph:
    """The graph with the topics of all papers outside training and validation unknown."""
    labels = np.full_like(graph.labels, -1)
    for part in (graph.train, graph.validation):
        labels[part] = graph.labels[part]
    return graph.with_labels(labels)


def _runs(
    points: list[DiffusionParameters],
) -> list[tuple[DiffusionParameters, dict[int, list[int]]]]:
    """One run for points that differ in steps only: its settings, and step -> points."""
    together: dict[DiffusionParameters, dict[int, list[int]]] = {}
    for number, point in enumerate(points):
        wanted = together.setdefault(replace(point, steps=2), {})
        wanted.setdefault(point.steps, []).append(number)
    return [(replace(p, steps=max(wanted)), wanted) for p, wanted in together.items()]


def _run(
    inputs: DiffusionInputs, parameters: DiffusionParameters, wanted: Mapping[int, list[int]]
) -> dict[int, tuple[float, int]]:
    """Validation accuracy and spikes of every point of a run."""
    weights, bias = quantized(inputs.graph_weights(parameters)), inputs.bias(parameters)
    total, spikes = np.zeros(bias.shape, dtype=np.int64), 0
    found: dict[int, tuple[float, int]] = {}
    for number, step in enumerate(diffuse(weights, bias, parameters), start=1):
        total += step.input
        spikes += int(step.spikes.sum())
        if number in wanted:
            outcome = (validation_accuracy(inputs.graph, total), spikes)
            found |= dict.fromkeys(wanted[number], outcome)
    return found
