"""A machine as the cost model sees it: data-sheet numbers, and how much of them is reached.

The numbers of a data sheet are facts with a source and are never fitted; `Efficiency` holds the
few scalars that are not, each with a prior, and one set serves all models and strategies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from labkit.choices import require_whole, unknown_choice
from labkit.errors import ParameterError

OF_THE_PEAK = ("gemm", "attention", "memory", "dp_overlap")
"""Shares of which more than 1 has no meaning."""
_DIVISORS = ("gemm", "attention", "memory", "intra_link", "inter_link")
_HUGE = 1e100


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_positive(name: str, value: Any) -> None:
    if not _is_number(value) or not 0 < value < math.inf:
        raise ParameterError(f"{name}={value!r}: use a number above 0.")


def _scalar(default: float, low: float, high: float, sigma: float, meaning: str) -> Any:
    """Return a field of `Efficiency`: prior median, bounds, prior sigma of its log, meaning."""
    metadata = {"low": low, "high": high, "sigma": sigma, "meaning": meaning}
    return field(default=default, metadata=MappingProxyType(metadata))


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """Scalars that data sheets do not tell; shares are of the number in `SystemConfig`.

    The metadata of each field hold its prior: log-normal about the default with ``sigma``, within
    ``low`` and ``high``.
    """

    # Large products of cuBLAS reach 0.8 to 0.9 of an A100's peak; `layers` counts tiles and waves
    # apart.
    gemm: float = _scalar(0.82, 0.2, 1.0, 0.15, "share of the peak in large matrix products")
    # Dao, arXiv:2307.08691, figure 4: about 0.4 to 0.6 of the peak on A100 with a causal mask.
    attention: float = _scalar(0.50, 0.1, 1.0, 0.3, "share of `gemm` in fused attention")
    gemm_half_depth: float = _scalar(64.0, 1.0, 2000.0, 1.0, "inner size at which half is reached")
    # Copies reach 0.85 to 0.9 of HBM; frameworks pass over memory more often than `layers` counts.
    memory: float = _scalar(0.70, 0.3, 1.0, 0.15, "share of the memory bandwidth")
    # PyTorch issues an operator in about 10 us from Python, and two to three for a counted kernel.
    launch_s: float = _scalar(2.5e-5, 5e-7, 3e-4, 0.7, "seconds that the shortest kernel takes")
    # NCCL all-reduce of 1 GiB on 8 A100 (vTrain's tables): 229 GB/s of 300 GB/s; of 1 MiB: 93 us.
    intra_link: float = _scalar(0.76, 0.2, 1.0, 0.15, "share of the links inside a node")
    inter_link: float = _scalar(0.80, 0.1, 1.0, 0.25, "share of the network cards")
    intra_latency_s: float = _scalar(7e-6, 5e-7, 3e-4, 0.7, "seconds a ring step in a node")
    inter_latency_s: float = _scalar(1.5e-5, 1e-6, 1e-3, 0.7, "seconds a ring step between nodes")
    # A quarter is lost when 64 nodes talk at once, half at 1024: the order of what large machines
    # report; no table of it was at hand.
    congestion: float = _scalar(0.04, 1e-4, 1.0, 1.0, "loss of network bandwidth, by root of nodes")
    dp_overlap: float = _scalar(0.5, 0.01, 1.0, 0.4, "share of gradient traffic that can hide")
    step_overhead_s: float = _scalar(5e-3, 1e-5, 1.0, 1.0, "seconds a step beside all of this")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value: Any = getattr(self, item.name)
            divides = item.name in _DIVISORS
            if not _is_number(value) or not (0 < value if divides else 0 <= value) or value > _HUGE:
                least = "above 0" if divides else "of 0 or more"
                raise ParameterError(f"{item.name}={value!r}: use a number {least}.")
            if item.name in OF_THE_PEAK and value > 1:
                raise ParameterError(f"{item.name}={value!r}: use a share of 1 or less.")

    def replace(self, **changes: float) -> Efficiency:
        """Return a copy with other values; unknown names are refused."""
        known = [item.name for item in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ParameterError(unknown_choice(name, known))
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Link:
    """Fast links inside a node, of groups of devices next to each other.

    Attributes
    ----------
    size : int
        Devices that the link joins.
    bandwidth : float
        Bytes a second and direction, of one device.
    """

    size: int
    bandwidth: float


@dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """One machine.

    Attributes
    ----------
    name, device : str
    peak_flops : float
        Of one device with 16-bit numbers and dense matrices, in operations a second.
    peak_flops_fp32 : float
        With 32-bit numbers.
    compute_units : int
        Streaming multiprocessors, compute units or cores that share the tiles of a product.
    hbm_bytes, hbm_bandwidth : float
        Memory of a device in bytes, and bytes a second.
    node_size : int
        Devices of a node.
    links : tuple of Link
        Inside a node, the smallest group first; the last joins the whole node.
    nic_bandwidth : float
        Bytes a second and direction of one network card.
    nics_per_node : int
    max_devices : int
        Devices of the machine.
    efficiency : Efficiency
    sources : mapping of str to str
        Field to where its number was published or measured.
    """

    name: str
    device: str
    peak_flops: float
    peak_flops_fp32: float
    compute_units: int
    hbm_bytes: float
    hbm_bandwidth: float
    node_size: int
    links: tuple[Link, ...]
    nic_bandwidth: float
    nics_per_node: int
    max_devices: int
    efficiency: Efficiency = Efficiency()
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("compute_units", "node_size", "max_devices"):
            require_whole(name, getattr(self, name), low=1)
        require_whole("nics_per_node", self.nics_per_node, low=0)
        positive = ("peak_flops", "peak_flops_fp32", "hbm_bytes", "hbm_bandwidth")
        for name in positive:
            _require_positive(name, getattr(self, name))
        if not isinstance(self.efficiency, Efficiency):
            raise ParameterError(f"efficiency={self.efficiency!r}: use an Efficiency.")
        links: Any = self.links
        if not isinstance(links, tuple) or not all(isinstance(link, Link) for link in links):
            raise ParameterError(f"links={self.links!r}: use a tuple of Link(size, bandwidth).")
        for link in self.links:
            require_whole("links: size", link.size, low=2)
            _require_positive("links: bandwidth", link.bandwidth)
        if not _is_number(self.nic_bandwidth) or not 0 <= self.nic_bandwidth < math.inf:
            raise ParameterError(
                f"nic_bandwidth={self.nic_bandwidth!r}: use a number of 0 or more."
            )
        beyond_a_node = self.max_devices > self.node_size
        if beyond_a_node and not (self.nic_bandwidth > 0 and self.nics_per_node > 0):
            raise ParameterError(
                f"nic_bandwidth={self.nic_bandwidth!r}, nics_per_node={self.nics_per_node}: "
                f"{self.name} has more than one node, so both must be above 0."
            )
        if self.node_size > 1 and (not self.links or self.links[-1].size != self.node_size):
            raise ParameterError(
                f"links={self.links!r}: the last must join the {self.node_size} devices of a node."
            )

    def replace(self, **changes: Any) -> SystemConfig:
        """Return a copy with other values; unknown names are refused."""
        known = [item.name for item in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ParameterError(unknown_choice(name, known))
        return dataclasses.replace(self, **changes)

    def peak_flops_of(self, dtype_bytes: np.ndarray) -> np.ndarray:
        """Return the peak for numbers of 2, 4 or 8 bytes; 8 bytes count half of 4."""
        slow = self.peak_flops_fp32 * 4 / np.maximum(dtype_bytes, 4)
        return np.where(dtype_bytes <= 2, self.peak_flops, slow)
