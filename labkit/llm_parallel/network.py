r"""How long devices take to exchange data: rings over nested links and shared network cards.

Ranks are numbered along the first axis of ``rank_order``. A group of an axis has ``size`` members
that are ``stride`` ranks apart, which tells how many of them share a node::

    g = min(size, max(node_size / stride, 1))

A ring inside a node runs at the bandwidth of the smallest link that joins its span. A ring over
nodes is as fast as the slower of the link inside and of its share of the network cards. All
``node_size / g`` rings of a node talk at once, so a ring owns g shares of all cards::

    B = min(B_intra, g * nics * B_nic / node_size / crowd)        crowd = 1 + c sqrt(n)

where n nodes run the same collective at once and c is ``Efficiency.congestion``: flows of other
rings meet in the switches between nodes, and all inter-node collectives slow down by this one law.
The messages of a pipeline are spread over the step, so their crowd is 1. Times of the ring
algorithm [1]_, of ``size - 1`` steps, an all-reduce twice as many::

    all-reduce                  2 (size - 1) (bytes / size / B + alpha)
    all-gather, reduce-scatter    (size - 1) (bytes / size / B + alpha)
    point to point                            bytes / B + alpha

None is shorter than the launch of a kernel.

======  ==============================  ===============
symbol  variable                        unit
======  ==============================  ===============
B       ``ring_bandwidth(...)``         bytes / second
g       ``members_per_node(...)``       devices
n       ``nodes``                       nodes
alpha   ``Efficiency.*_latency_s``      seconds
======  ==============================  ===============

References
----------
.. [1] Thakur, Rabenseifner, Gropp, Int. J. High Perform. Comput. Appl. 19 (2005) 49-66.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ModelColumns, ParallelColumns, code
from labkit.llm_parallel.config import ModelConfig, ParallelConfig
from labkit.llm_parallel.parameters import is_first, is_last, layers_of_stage
from labkit.llm_parallel.system import Efficiency, SystemConfig

AXES = ("tp", "cp", "pp", "dp", "gradients", "ends")
"""Axes of devices; ``gradients`` is dp and cp together, ``ends`` the first and last stage."""
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "p2p")
_PIPELINE_FIRST = code("rank_order", "tp-cp-pp-dp")
_FULL = code("recompute", "full")
_LAYERNORM = code("normalization", "layernorm")
_LEARNED = code("position", "learned")
_ZBV = code("schedule", "zbv")


def group_members(
    parallel: ParallelConfig | ParallelColumns, axis: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many devices a group of an axis has, and how many ranks they are apart.

    Parameters
    ----------
    parallel : ParallelConfig or ParallelColumns of n strategies
    axis : str
        One of `AXES`.

    Returns
    -------
    size, stride : ndarray of float64, shape (n,)

    Raises
    ------
    ParameterError
        The axis is unknown.

    Examples
    --------
    >>> group_members(ParallelConfig(tp=4, pp=16, dp=2, global_batch_size=2), "dp")
    (array([2.]), array([4.]))
    """
    if axis not in AXES:
        raise ParameterError(not_allowed("axis", axis, AXES))
    columns = ParallelColumns.of(parallel)
    tp, cp, pp, dp = (getattr(columns, name) * 1.0 for name in ("tp", "cp", "pp", "dp"))
    if axis == "tp":
        return tp, np.ones_like(tp)
    if axis == "cp":
        return cp, tp
    pipeline_first = columns.rank_order == _PIPELINE_FIRST
    if axis == "dp":
        return dp, tp * cp * np.where(pipeline_first, pp, 1.0)
    if axis == "gradients":
        return dp * cp, tp * np.where(pipeline_first, pp, 1.0)
    hop = tp * cp * np.where(pipeline_first, 1.0, dp)
    if axis == "pp":
        return pp, hop
    return np.minimum(pp, 2.0), hop * np.maximum(pp - 1, 1)


def members_per_node(
    system: SystemConfig, size: float | np.ndarray, stride: float | np.ndarray
) -> np.ndarray:
    """Return how many members of a group share a node.

    Examples
    --------
    >>> from labkit.llm_parallel.systems import system_preset
    >>> members_per_node(system_preset("frontier"), np.array([16, 16, 2]), np.array([1, 4, 64]))
    array([8., 2., 1.])
    """
    return np.minimum(size, np.maximum(np.floor(system.node_size / np.asarray(stride)), 1.0))


@dataclass(frozen=True)
class Ring:
    """Groups of one axis, with what their collectives reach; arrays of shape ``(n,)``.

    Attributes
    ----------
    size : ndarray
        Members.
    bandwidth : ndarray
        Bytes a second and direction of one member.
    latency_s : ndarray
        Seconds of a step of the ring.
    launch_s : float
        Seconds of the shortest collective.
    """

    size: np.ndarray
    bandwidth: np.ndarray
    latency_s: np.ndarray
    launch_s: float

    @classmethod
    def of(
        cls,
        system: SystemConfig,
        size: float | np.ndarray,
        stride: float | np.ndarray,
        *,
        nodes: float | np.ndarray = 0.0,
        efficiency: Efficiency | None = None,
    ) -> Ring:
        """Return the ring of a group; parameters as in `collective_seconds`."""
        shares = efficiency or system.efficiency
        size, stride = np.asarray(size, dtype=float), np.asarray(stride, dtype=float)
        span = size * stride
        inside = _link_bandwidth(system, span) * shares.intra_link
        if system.max_devices <= system.node_size:
            latency = np.full(np.shape(span), shares.intra_latency_s)
            return cls(size, inside, latency, shares.launch_s)
        share = _cards(system) * shares.inter_link / (1.0 + shares.congestion * np.sqrt(nodes))
        across = np.minimum(inside, members_per_node(system, size, stride) * share)
        leaves = span > system.node_size
        return cls(
            size=size,
            bandwidth=np.where(leaves, across, inside),
            latency_s=np.where(leaves, shares.inter_latency_s, shares.intra_latency_s),
            launch_s=shares.launch_s,
        )

    def one_way(self, n_bytes: float | np.ndarray) -> np.ndarray:
        """Return the seconds of an all-gather or a reduce-scatter."""
        return self._launched(self._steps(n_bytes))

    def all_reduce(self, n_bytes: float | np.ndarray) -> np.ndarray:
        """Return the seconds of an all-reduce: both ways, one after the other."""
        return self._launched(2.0 * self._steps(n_bytes))

    def _steps(self, n_bytes: float | np.ndarray) -> np.ndarray:
        return (self.size - 1.0) * (n_bytes / (self.size * self.bandwidth) + self.latency_s)

    def _launched(self, seconds: np.ndarray) -> np.ndarray:
        return np.maximum(seconds, (self.size > 1) * self.launch_s)


def ring_bandwidth(
    system: SystemConfig,
    size: float | np.ndarray,
    stride: float | np.ndarray,
    *,
    nodes: float | np.ndarray = 0.0,
    efficiency: Efficiency | None = None,
) -> np.ndarray:
    """Return the bandwidth of a ring, in bytes a second and direction of one device.

    Parameters
    ----------
    system : SystemConfig
    size, stride : float or ndarray of shape (n,)
        Members of a group, and how many ranks they are apart.
    nodes : float or ndarray of shape (n,)
        Nodes that run the same collective at once; 0 for a quiet network.
    efficiency : Efficiency, optional
        In place of the system's own.

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    return Ring.of(system, size, stride, nodes=nodes, efficiency=efficiency).bandwidth


def collective_seconds(
    kind: str,
    n_bytes: float | np.ndarray,
    size: float | np.ndarray,
    stride: float | np.ndarray,
    system: SystemConfig,
    *,
    nodes: float | np.ndarray = 0.0,
    efficiency: Efficiency | None = None,
) -> np.ndarray:
    """Return the seconds of one collective of one group.

    Parameters
    ----------
    kind : str
        One of `COLLECTIVES`.
    n_bytes : float or ndarray of shape (n,)
        What is reduced; what each member has after a gather or before a scatter; the message.
    size, stride : float or ndarray of shape (n,)
        Members of the group, and how many ranks they are apart.
    system : SystemConfig
    nodes : float or ndarray of shape (n,)
        Nodes that run the same collective at once; 0 for a quiet network.
    efficiency : Efficiency, optional
        In place of the system's own.

    Returns
    -------
    ndarray of float64, shape (n,)
        0 for a group of one.

    Raises
    ------
    ParameterError
        The kind is unknown.
    """
    if kind not in COLLECTIVES:
        raise ParameterError(not_allowed("kind", kind, COLLECTIVES))
    if kind == "p2p":
        return message_seconds(n_bytes, size, stride, system, efficiency=efficiency)
    ring = Ring.of(system, size, stride, nodes=nodes, efficiency=efficiency)
    return ring.all_reduce(n_bytes) if kind == "all_reduce" else ring.one_way(n_bytes)


def message_seconds(
    n_bytes: float | np.ndarray,
    size: float | np.ndarray,
    stride: float | np.ndarray,
    system: SystemConfig,
    *,
    efficiency: Efficiency | None = None,
) -> np.ndarray:
    """Return the seconds of a message to the next member of a group, over its slowest hop.

    Where neighbors share a node, only the last ``stride`` devices of it talk to the next node; one
    device uses one card at most. Parameters as in `collective_seconds`.
    """
    shares = efficiency or system.efficiency
    size, stride = np.asarray(size, dtype=float), np.asarray(stride, dtype=float)
    bandwidth = _link_bandwidth(system, 2.0 * stride) * shares.intra_link
    latency: float | np.ndarray = shares.intra_latency_s
    if system.max_devices > system.node_size:
        leaves = size * stride > system.node_size
        talkers = np.minimum(stride, system.node_size)
        cards = system.nic_bandwidth * np.minimum(system.nics_per_node / talkers, 1.0)
        across = np.minimum(bandwidth, cards * shares.inter_link)
        bandwidth = np.where(leaves, across, bandwidth)
        latency = np.where(leaves, shares.inter_latency_s, latency)
    return (size > 1) * np.maximum(n_bytes / bandwidth + latency, shares.launch_s)


def collective_counts(
    model: ModelConfig | ModelColumns,
    parallel: ParallelConfig | ParallelColumns,
    *,
    stage: int | np.ndarray = 0,
) -> dict[str, dict[str, np.ndarray]]:
    """Return how often one rank exchanges data in a step, as `labkit.llm_parallel.runtime` does.

    A layer and micro-batch has 2 all-reduces a pass over the tensor-parallel group; with sequence
    parallelism as many reduce-scatters and all-gathers, and 2 more all-gathers in the backward
    pass, where only slices were kept. Gradients of weights that saw slices are summed once a step.
    Replicas exchange by groups of parameters: each layer, and what else a part of the model holds.

    Parameters
    ----------
    model : ModelConfig or ModelColumns
    parallel : ParallelConfig or ParallelColumns of n strategies
    stage : int or ndarray of shape (n,)
        Place of the rank in the pipeline, from 0.

    Returns
    -------
    dict of str to dict of str to ndarray of float64, shape (n,)
        By axis (``tp``, ``dp``, ``pp``), then by kind in `COLLECTIVES`; messages are those sent
        and those received.

    Examples
    --------
    >>> model = ModelConfig(num_layers=2, hidden_size=64, num_attention_heads=4)
    >>> counts = collective_counts(model, ParallelConfig(tp=2, global_batch_size=2))
    >>> counts["tp"]["all_reduce"]
    array([26.])
    """
    columns, strategies = ModelColumns.of(model), ParallelColumns.of(parallel)
    first, last = is_first(stage) * 1.0, is_last(strategies, stage) * 1.0
    layers = layers_of_stage(columns, strategies, stage)
    return {
        "tp": _tensor_counts(columns, strategies, layers, first, last),
        "dp": _replica_counts(strategies, layers, first, last),
        "pp": _pipeline_counts(columns, strategies, stage, first, last),
    }


def _tensor_counts(
    model: ModelColumns,
    parallel: ParallelColumns,
    layers: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> dict[str, np.ndarray]:
    m, split = parallel.num_microbatches * (parallel.tp > 1) * 1.0, parallel.sequence_parallel
    passes = layers * (4.0 + 2.0 * (parallel.recompute == _FULL)) + first + last
    vectors = np.where(model.normalization == _LAYERNORM, 2.0, 1.0)
    sliced = (2.0 * layers + last) * vectors + first * (model.position == _LEARNED)
    return {
        "all_reduce": m * (~split * passes + 3.0 * last) + split * (parallel.tp > 1) * sliced,
        "all_gather": m * split * (passes + 2.0 * layers + last),
        "reduce_scatter": m * split * passes,
    }


def _replica_counts(
    parallel: ParallelColumns, layers: np.ndarray, first: np.ndarray, last: np.ndarray
) -> dict[str, np.ndarray]:
    one_part = parallel.pp * parallel.virtual_pp == 1
    groups = (parallel.dp > 1) * (layers + np.where(one_part, 1.0, first + last))
    zero, m = parallel.zero_stage, parallel.num_microbatches * 1.0
    return {
        "all_reduce": groups * (zero == 0),
        "all_gather": groups * np.where(zero == 3, 2.0 * m, 1.0 * (zero >= 1)),
        "reduce_scatter": groups * np.where(zero >= 2, m, 1.0 * (zero >= 1)),
    }


def _pipeline_counts(
    model: ModelColumns,
    parallel: ParallelColumns,
    stage: int | np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> dict[str, np.ndarray]:
    """Each boundary of a chunk sends one way and receives the other, but not in the turn of a V."""
    folded = parallel.schedule == _ZBV
    turn = 2.0 * (folded & np.equal(stage, parallel.pp - 1))
    boundaries = np.where(parallel.pp > 1, 2.0 * parallel.virtual_pp - first - last - turn, 0.0)
    tied = model.tie_embeddings & (parallel.pp > 1) & ~folded
    return {
        "p2p": 2.0 * parallel.num_microbatches * boundaries,
        "all_reduce": tied * (first + last),
    }


def _cards(system: SystemConfig) -> float:
    """Bytes a second of the network cards, for each device of a node."""
    return system.nic_bandwidth * system.nics_per_node / system.node_size


def _link_bandwidth(system: SystemConfig, span: np.ndarray) -> np.ndarray:
    """Of the smallest link that joins so many neighbors, or of the whole node."""
    whole = system.links[-1].bandwidth if system.links else system.hbm_bandwidth
    bandwidth = np.full(np.shape(span), whole)
    for link in reversed(system.links[:-1]):
        bandwidth = np.where(span <= link.size, link.bandwidth, bandwidth)
    return bandwidth
