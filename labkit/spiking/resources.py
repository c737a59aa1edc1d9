r"""What a spiking network needs on a Loihi 2 chip: neurons, synapses, memory, cores and energy.

Counted from the network alone, for projections :math:`p` and neurons :math:`N`::

    synapses          sum_p S_p          S_p every pair of a dense projection, entries of a sparse
    weight memory     sum_p S_p b_p      b_p bits of a weight
    delay memory      sum_p S_p 6        delay_dense projections only
    learning state    sum_p 7 (n_pre + n_post)   one trace of 7 bits for each end, learned ones only
    neuron state      N (24 + 24)        current and voltage; refractory neurons also their counter

Estimated, since the chip's compiler is not public::

    index memory      sum_p S_p ceil(log2 n_post)   the target of each entry of a sparse projection
    cores by memory   ceil(all of the above / memory of a core)
    energy            synaptic operations x energy of one, given by the caller

A synapse lies in the core of the neuron that it ends at, so the synapses of one neuron must fit
into one core. Numbers of cores are lower bounds: a real mapping leaves gaps. Nothing here was
measured on a chip.

References
----------
.. [1] Intel Labs, Taking Neuromorphic Computing to the Next Level with Loihi 2, technology brief,
   2021: 128 neuron cores, up to 1 million neurons and 120 million synapses a chip, up to 8192
   neurons a core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil, isfinite
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import STATE_BITS
from labkit.spiking.network import Network
from labkit.spiking.plasticity import TRACE_BITS
from labkit.spiking.projections import MAX_DELAY, Population, Projection

DELAY_BITS = MAX_DELAY.bit_length()
COUNTED, ESTIMATE = "counted", "estimate"


@dataclass(frozen=True, kw_only=True)
class Loihi2Limits:
    """What one chip holds.

    Parameters
    ----------
    neuron_cores : int
        Cores of a chip [1]_.
    neurons_per_chip, synapses_per_chip : int
        Most neurons and synapses of a chip [1]_.
    neurons_per_core : int
        Most neurons of a core [1]_.
    core_memory_bytes : int
        Memory of a core for synapses and states: 192 KiB, an estimate.

    References
    ----------
    .. [1] Intel Labs, Loihi 2 technology brief, 2021.
    """

    neuron_cores: int = 128
    neurons_per_chip: int = 1_000_000
    synapses_per_chip: int = 120_000_000
    neurons_per_core: int = 8192
    core_memory_bytes: int = 192 * 1024

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value < 1:
                raise ParameterError(f"{limit.name}={value} holds nothing; give 1 or more.")


@dataclass(frozen=True, eq=False)
class ResourceReport:
    """Needs of a network beside what a chip holds.

    Attributes
    ----------
    frame : DataFrame
        One row per quantity: quantity, value, unit, limit (NaN where there is none), fits (missing
        where there is no limit), basis ("counted" or "estimate").
    projections : DataFrame
        One row per projection: projection, pre, post, kind, synapses, nonzero, learned,
        weight_bytes, delay_bytes, index_bytes, state_bytes.
    limits : Loihi2Limits
        What it was compared with.
    """

    frame: pd.DataFrame
    projections: pd.DataFrame
    limits: Loihi2Limits

    @property
    def fits(self) -> bool:
        """Whether the network fits on one chip as far as this report can tell."""
        return bool(self.frame["fits"].dropna().all())

    def value(self, quantity: str) -> float:
        """Value of one row of `frame`."""
        rows = self.frame.loc[self.frame["quantity"] == quantity, "value"]
        if rows.empty:
            known = ", ".join(self.frame["quantity"])
            raise ParameterError(f"quantity={quantity!r} is not in the report; there are {known}.")
        return float(rows.iloc[0])


def estimate(
    network: Network,
    recording: Any = None,
    *,
    limits: Loihi2Limits | None = None,
    picojoule_per_synop: float | None = None,
) -> ResourceReport:
    """Compare what a network needs with what a Loihi 2 chip holds.

    Parameters
    ----------
    network : Network
        The network to place.
    recording : Recording or EpisodeRecording or QueryTrace, optional
        A run of it: anything with a number ``synaptic_operations``.
    limits : Loihi2Limits, optional
        What the chip holds; published numbers when omitted.
    picojoule_per_synop : float, optional
        Energy of one synaptic operation; there is no default, as none is published for this use.
        Needs `recording`. Energy of neurons, of spikes between cores and at rest is left out.

    Returns
    -------
    ResourceReport

    Raises
    ------
    ParameterError
        The energy is negative or lacks a recording, or the recording counts no operations or is of
        another network.

    Examples
    --------
    >>> from labkit.spiking.fixedpoint import LIFParameters
    >>> lif = LIFParameters(vth=10)
    >>> pair = Network(
    ...     (Population("a", 3, lif), Population("b", 2, lif)),
    ...     (Projection("ab", "a", "b", np.ones((2, 3), dtype=int)),),
    ... )
    >>> report = estimate(pair)
    >>> report.value("synapses"), report.value("weight memory"), report.fits
    (6.0, 6.0, True)
    """
    limits = limits or Loihi2Limits()
    projections = _projection_frame(network.projections)
    rows = _counted_rows(network, projections, limits) + _core_rows(network, projections, limits)
    rows += _activity_rows(recording, picojoule_per_synop)
    _check_recording(network, recording)
    frame = pd.DataFrame(rows, columns=["quantity", "value", "unit", "limit", "basis"]).astype(
        {"value": float, "limit": float}
    )
    fits = pd.array(frame["value"] <= frame["limit"], dtype="boolean")
    fits[frame["limit"].isna().to_numpy()] = pd.NA
    frame.insert(4, "fits", fits)
    return ResourceReport(frame, projections, limits)


_Row = tuple[str, float, str, float, str]


def _counted_rows(network: Network, projections: pd.DataFrame, limits: Loihi2Limits) -> list[_Row]:
    none = float("nan")
    learned = projections.loc[projections["learned"], "synapses"].sum()
    synapses = projections["synapses"].sum()
    return [
        ("neurons", network.n_neurons, "neurons", limits.neurons_per_chip, COUNTED),
        ("synapses", synapses, "synapses", limits.synapses_per_chip, COUNTED),
        ("learned synapses", learned, "synapses", none, COUNTED),
        ("weight memory", projections["weight_bytes"].sum(), "bytes", none, COUNTED),
        ("delay memory", projections["delay_bytes"].sum(), "bytes", none, COUNTED),
        ("learning state", projections["state_bytes"].sum(), "bytes", none, COUNTED),
        ("neuron state", sum(map(_neuron_bytes, network.populations)), "bytes", none, COUNTED),
        ("index memory", projections["index_bytes"].sum(), "bytes", none, ESTIMATE),
    ]


def _core_rows(network: Network, projections: pd.DataFrame, limits: Loihi2Limits) -> list[_Row]:
    parts = ["weight_bytes", "delay_bytes", "index_bytes", "state_bytes"]
    memory = projections[parts].to_numpy().sum() + sum(map(_neuron_bytes, network.populations))
    by_neurons = ceil(network.n_neurons / limits.neurons_per_core)
    by_memory = ceil(memory / limits.core_memory_bytes)
    cores = max(by_neurons, by_memory)
    chips = max(
        ceil(cores / limits.neuron_cores),
        ceil(network.n_neurons / limits.neurons_per_chip),
        ceil(network.n_synapses / limits.synapses_per_chip),
    )
    largest = max(_largest_fan_in_bytes(network, pop.name) for pop in network.populations)
    return [
        ("memory", memory, "bytes", limits.neuron_cores * limits.core_memory_bytes, ESTIMATE),
        ("memory of one neuron", largest, "bytes", limits.core_memory_bytes, ESTIMATE),
        ("cores by neurons", by_neurons, "cores", limits.neuron_cores, COUNTED),
        ("cores by memory", by_memory, "cores", limits.neuron_cores, ESTIMATE),
        ("chips", chips, "chips", 1, ESTIMATE),
    ]


def _activity_rows(recording: Any, picojoule_per_synop: float | None) -> list[_Row]:
    none = float("nan")
    if recording is None:
        if picojoule_per_synop is not None:
            raise ParameterError(
                f"picojoule_per_synop={picojoule_per_synop!r} needs the synaptic operations of a "
                "run; give recording as well."
            )
        return []
    operations = getattr(recording, "synaptic_operations", None)
    if operations is None:
        raise ParameterError(
            f"recording is a {type(recording).__name__} without synaptic_operations; give what "
            "simulate(), simulate_episodes() or SGNN.trace() returned."
        )
    rows: list[_Row] = [("synaptic operations", operations, "operations", none, COUNTED)]
    if picojoule_per_synop is not None:
        _check_energy(picojoule_per_synop)
        rows.append(
            ("energy of synapses", operations * picojoule_per_synop * 1e-12, "J", none, ESTIMATE)
        )
    return rows


def _check_energy(picojoule: Any) -> None:
    number = isinstance(picojoule, Real) and not isinstance(picojoule, bool)
    if not (number and isfinite(picojoule) and picojoule >= 0):
        raise ParameterError(
            f"picojoule_per_synop={picojoule!r} is no energy; give a number of 0 or more."
        )


def _check_recording(network: Network, recording: Any) -> None:
    """Refuse a run whose populations or learned projections are not those of the network."""
    neurons = {population.name: (population.n,) for population in network.populations}
    synapses = {p.name: (p.n_post, p.n_pre) for p in network.learning}
    for field in ("spikes", "s_out", "u", "v"):
        _check_shapes(field, getattr(recording, field, None), neurons)
    _check_shapes("spike_counts", getattr(recording, "spike_counts", None), dict.fromkeys(neurons))
    _check_shapes("final_weights", getattr(recording, "final_weights", None), synapses)


def _check_shapes(
    field: str, recorded: Any, expected: Mapping[str, tuple[int, ...] | None]
) -> None:
    """Compare the names of what was recorded, if any, and the last axes of each array."""
    if not isinstance(recorded, Mapping) or not recorded:
        return
    if set(recorded) != set(expected):
        raise ParameterError(
            f"recording is of another network: its {field} are of {', '.join(recorded)}, the "
            f"network has {', '.join(expected) or 'none'}. Give a run of this network."
        )
    for name, shape in expected.items():
        found = np.shape(recorded[name])
        if shape is not None and found[-len(shape) :] != shape:
            raise ParameterError(
                f"recording is of another network: {field} of {name!r} have shape {found}, which "
                f"does not end in {shape}. Give a run of this network."
            )


def _projection_frame(projections: Sequence[Projection]) -> pd.DataFrame:
    rows = [
        {
            "projection": projection.name,
            "pre": projection.pre,
            "post": projection.post,
            "kind": projection.kind,
            "synapses": projection.n_synapses,
            "nonzero": _nonzero(projection),
            "learned": projection.learns,
            "weight_bytes": projection.n_synapses * projection.num_weight_bits / 8,
            "delay_bytes": projection.n_synapses * _delay_bits(projection) / 8,
            "index_bytes": projection.n_synapses * _index_bits(projection) / 8,
            "state_bytes": _trace_bits(projection) * (projection.n_pre + projection.n_post) / 8,
        }
        for projection in projections
    ]
    columns = ["projection", "pre", "post", "kind", "synapses", "nonzero", "learned"]
    columns += ["weight_bytes", "delay_bytes", "index_bytes", "state_bytes"]
    return pd.DataFrame(rows, columns=columns).astype({"learned": bool})


def _nonzero(projection: Projection) -> int:
    weights = projection.weights
    return int(np.count_nonzero(weights.data if projection.kind == "sparse" else weights))


def _delay_bits(projection: Projection) -> int:
    return DELAY_BITS if projection.kind == "delay_dense" else 0


def _index_bits(projection: Projection) -> int:
    return (projection.n_post - 1).bit_length() if projection.kind == "sparse" else 0


def _trace_bits(projection: Projection) -> int:
    return TRACE_BITS if projection.learns else 0


def _neuron_bytes(population: Population) -> float:
    """Current and voltage, and a counter of the refractory steps where there are any."""
    counter = int(np.max(population.lif.refractory)).bit_length()
    return population.n * (2 * STATE_BITS + counter) / 8


def _largest_fan_in_bytes(network: Network, name: str) -> float:
    """Memory of the synapses that end at one neuron of a population, for the largest such."""
    bits = np.zeros(network.population(name).n)
    for projection in network.projections:
        if projection.post == name:
            each = projection.num_weight_bits + _delay_bits(projection) + _index_bits(projection)
            bits += each * _fan_in(projection)
    return float(bits.max() / 8)


def _fan_in(projection: Projection) -> np.ndarray:
    """Synapses that end at each neuron, shape (n_post,)."""
    if projection.kind == "sparse":
        return np.diff(projection.weights.indptr)
    return np.full(projection.n_post, projection.n_pre)
