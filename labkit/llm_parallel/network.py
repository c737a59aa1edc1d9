r"""How long devices take to exchange data: rings over nested links and shared network cards.

Ranks are numbered along the first axis of ``rank_order``. A group of an axis has ``size`` members
that are ``stride`` ranks apart, which tells how many of them share a node::

    g = min(size, max(node_size / stride, 1))

A ring inside a node runs at the bandwidth of the smallest link that joins its span. A ring over
nodes is as fast as the slower of the link inside and of its share of the network cards. All
``node_size / g`` rings of a node talk at once, so a ring owns g shares of all cards::

    B = min(B_intra, g * nics * B_nic / node_size / crowd)        crowd = 1 + c n

where n nodes run the same collective at once and c is ``Efficiency.congestion``: all inter-node
collectives slow down by the same law. Point-to-point messages of a pipeline are spread over the
step, so their crowd is 1. Times of the ring algorithm [1]_, with a latency alpha a doubling, as
NCCL's trees have::

    all-reduce                     2 (size - 1) / size * bytes / B + alpha log2(size)
    all-gather, reduce-scatter       (size - 1) / size * bytes / B + alpha log2(size)
    point to point                                       bytes / B + alpha

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

import numpy as np

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.columns import ParallelColumns, code
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.system import Efficiency, SystemConfig

AXES = ("tp", "cp", "pp", "dp", "gradients", "ends")
"""Axes of devices; ``gradients`` is dp and cp together, ``ends`` the first and last stage."""
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "p2p")
_PIPELINE_FIRST = code("rank_order", "tp-cp-pp-dp")


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
    return np.minimum(size, np.maximum(system.node_size // np.asarray(stride), 1.0))


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
    shares = efficiency or system.efficiency
    inside = _link_bandwidth(system, size, stride) * shares.intra_link
    if system.max_devices <= system.node_size:
        return inside
    cards = members_per_node(system, size, stride) * _device_share(system)
    outside = np.minimum(inside, cards * (shares.inter_link / _crowd(nodes, shares)))
    return np.where(_leaves_node(system, size, stride), outside, inside)


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
    shares = efficiency or system.efficiency
    size, stride = np.asarray(size, dtype=float), np.asarray(stride, dtype=float)
    outside = _leaves_node(system, size, stride)
    latency = np.where(outside, shares.inter_latency_s, shares.intra_latency_s)
    if kind == "p2p":
        seconds = n_bytes / _message_bandwidth(system, stride, outside, shares) + latency
        return np.where(size > 1, seconds, 0.0)
    passes = 2.0 if kind == "all_reduce" else 1.0
    bandwidth = ring_bandwidth(system, size, stride, nodes=nodes, efficiency=shares)
    travelled = passes * (size - 1) / size * n_bytes
    return travelled / bandwidth + latency * np.log2(size)


def _crowd(nodes: float | np.ndarray, shares: Efficiency) -> float | np.ndarray:
    return 1.0 + shares.congestion * nodes


def _device_share(system: SystemConfig) -> float:
    """Bytes a second of the network cards, for each device of a node."""
    return system.nic_bandwidth * system.nics_per_node / system.node_size


def _leaves_node(
    system: SystemConfig, size: float | np.ndarray, stride: float | np.ndarray
) -> np.ndarray:
    return np.greater(size, 1) & np.greater(np.multiply(size, stride), system.node_size)


def _link_bandwidth(
    system: SystemConfig, size: float | np.ndarray, stride: float | np.ndarray
) -> np.ndarray:
    """Of the smallest link that joins a group, or of the whole node."""
    span = np.multiply(size, stride)
    bandwidth = np.full(np.shape(span), system.links[-1].bandwidth if system.links else np.inf)
    for link in reversed(system.links[:-1]):
        bandwidth = np.where(span <= link.size, link.bandwidth, bandwidth)
    return bandwidth


def _message_bandwidth(
    system: SystemConfig, stride: np.ndarray, outside: np.ndarray, shares: Efficiency
) -> np.ndarray:
    """Of a message to the next stage, over the slowest hop of the pipeline.

    Where neighbors share a node, only the last ``stride`` devices of it talk to the next node.
    """
    inside = _link_bandwidth(system, 2.0, stride) * shares.intra_link
    if system.max_devices <= system.node_size:
        return inside
    talkers = np.minimum(stride, system.node_size)
    cards = system.nic_bandwidth * np.minimum(system.nics_per_node / talkers, 1.0)
    return np.where(outside, np.minimum(inside, cards * shares.inter_link), inside)
