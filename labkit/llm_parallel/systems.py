"""Machines by name, each number with where it was published.

Bandwidths are of one direction; a "device" is what has a rank, so an MI250X or a Max 1550 is two of
them. Numbers of data sheets are facts and are never fitted; the efficiencies that are reached of
them are one set for each kind of device, `A100` for all three A100 machines.

``local-cpu`` is made from the machine that it runs on, see `local_cpu`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.system import Efficiency, Link, SystemConfig

A100 = Efficiency()
"""One set for Selene, vTrain's and Jean Zay's machine; see the comments of `Efficiency`.

Set by hand with NCCL's table and the published steps of Narayanan et al. and Korthikanti et al. at
hand. Nothing was fitted to vTrain's measured steps, but the distance from them was seen while the
form of the model was chosen.
"""
MI250X = Efficiency(gemm=0.467)
"""`gemm` alone is fitted, to the 22B run of Dash et al. (38.38 % of the peak); the rest as A100."""
H100 = Efficiency(gemm=0.72)
"""Its power cap leaves an H100 less of its peak in large products than an A100: about 0.7."""
MAX_1550 = Efficiency(gemm=0.233)
"""`gemm` alone is fitted, to the best 175B run of arXiv:2605.07726: 57 Tflop/s a tile, 450 W."""
CPU = Efficiency(
    gemm=0.5, memory=0.5, launch_s=2e-5, intra_link=0.5, intra_latency_s=1e-4, congestion=1e-4
)
"""Orders of magnitude; runs measured here tell more."""

_A100_SHEET = "NVIDIA A100 80GB data sheet (SXM)"
_FRONTIER_GUIDE = "OLCF, Frontier User Guide"
_LUMI = "LUMI documentation, LUMI-G"
_H100_SHEET = "NVIDIA H100 data sheet (SXM)"
_MAX_BRIEF = "Intel Data Center GPU Max Series product brief"


def _a100(name: str, cards: int, card_gbit: float, devices: int, **sources: str) -> SystemConfig:
    return SystemConfig(
        name=name,
        device="A100-SXM4-80GB",
        peak_flops=312e12,
        peak_flops_fp32=19.5e12,
        compute_units=108,
        hbm_bytes=80e9,
        hbm_bandwidth=2039e9,
        node_size=8,
        links=(Link(8, 300e9),),
        nic_bandwidth=card_gbit * 1e9 / 8,
        nics_per_node=cards,
        max_devices=devices,
        efficiency=A100,
        sources=MappingProxyType(
            {
                "peak_flops": f"{_A100_SHEET}: 312 TFLOP/s bfloat16, dense",
                "peak_flops_fp32": f"{_A100_SHEET}: 19.5 TFLOP/s; TF32 is off by default",
                "compute_units": "NVIDIA A100 architecture white paper: 108 multiprocessors",
                "hbm_bytes": f"{_A100_SHEET}: 80 GB",
                "hbm_bandwidth": f"{_A100_SHEET}: 2039 GB/s",
                "node_size": "HGX A100: 8 devices",
                "links": f"{_A100_SHEET}: NVLink 600 GB/s, both directions together",
                "efficiency": "labkit: see Efficiency; the same for all A100 machines",
                **sources,
            }
        ),
    )


def _frontier(name: str, nodes: int, guide: str) -> SystemConfig:
    return SystemConfig(
        name=name,
        device="MI250X GCD",
        peak_flops=191.5e12,
        peak_flops_fp32=47.9e12,
        compute_units=110,
        hbm_bytes=64 * 2**30,
        hbm_bandwidth=1.6e12,
        node_size=8,
        links=(Link(2, 200e9), Link(8, 50e9)),
        nic_bandwidth=25e9,
        nics_per_node=4,
        max_devices=8 * nodes,
        efficiency=MI250X,
        sources=MappingProxyType(
            {
                "peak_flops": "AMD MI250X data sheet: 383 TFLOP/s half precision, 2 GCDs",
                "peak_flops_fp32": "AMD MI250X data sheet: 95.7 TFLOP/s single matrix, 2 GCDs",
                "compute_units": "AMD MI250X data sheet: 220 compute units, 2 GCDs",
                "hbm_bytes": f"{guide}: 64 GB a GCD; AMD data sheet: 128 GB HBM2e, binary",
                "hbm_bandwidth": f"{guide}: 1.6 TB/s a GCD",
                "node_size": f"{guide}: 4 MI250X of 2 GCDs",
                "links": f"{guide}: 200 GB/s inside a package, 50 to 100 GB/s between packages",
                "nic_bandwidth": f"{guide}: 200 Gb/s a card",
                "nics_per_node": f"{guide}: 4 Slingshot cards",
                "max_devices": f"{guide}: {nodes} nodes",
                "efficiency": "labkit: gemm from the 22B run of Dash et al., arXiv:2312.12705",
            }
        ),
    )


def _h100() -> SystemConfig:
    return SystemConfig(
        name="dgx-h100",
        device="H100-SXM5-80GB",
        peak_flops=989.4e12,
        peak_flops_fp32=66.9e12,
        compute_units=132,
        hbm_bytes=80e9,
        hbm_bandwidth=3.35e12,
        node_size=8,
        links=(Link(8, 450e9),),
        nic_bandwidth=50e9,
        nics_per_node=8,
        max_devices=32768,
        efficiency=H100,
        sources=MappingProxyType(
            {
                "peak_flops": f"{_H100_SHEET}: 989.4 TFLOP/s bfloat16, dense",
                "peak_flops_fp32": f"{_H100_SHEET}: 66.9 TFLOP/s",
                "compute_units": f"{_H100_SHEET}: 132 multiprocessors",
                "hbm_bytes": f"{_H100_SHEET}: 80 GB",
                "hbm_bandwidth": f"{_H100_SHEET}: 3.35 TB/s",
                "node_size": "NVIDIA DGX H100 data sheet: 8 devices",
                "links": f"{_H100_SHEET}: NVLink 900 GB/s, both directions together",
                "nic_bandwidth": "NVIDIA DGX H100 data sheet: 400 Gb/s a card",
                "nics_per_node": "NVIDIA DGX H100 data sheet: 8 ConnectX-7 for compute",
                "max_devices": "a round number: no machine in particular",
                "efficiency": "labkit: nominal; not compared with runs on H100",
            }
        ),
    )


def _supermuc() -> SystemConfig:
    return SystemConfig(
        name="supermuc-ng2",
        device="Max 1550 tile",
        peak_flops=419.4e12,
        peak_flops_fp32=26.2e12,
        compute_units=64,
        hbm_bytes=64e9,
        hbm_bandwidth=1638e9,
        node_size=8,
        links=(Link(2, 230e9), Link(8, 53e9)),
        nic_bandwidth=25e9,
        nics_per_node=2,
        max_devices=1920,
        efficiency=MAX_1550,
        sources=MappingProxyType(
            {
                "peak_flops": f"{_MAX_BRIEF}: 128 Xe cores of 4096 bfloat16 operations a clock "
                "at 1.6 GHz, 2 tiles; the machine's power cap is not in it",
                "peak_flops_fp32": f"{_MAX_BRIEF}: 52.4 TFLOP/s, 2 tiles",
                "compute_units": f"{_MAX_BRIEF}: 128 Xe cores, 2 tiles",
                "hbm_bytes": f"{_MAX_BRIEF}: 128 GB, 2 tiles",
                "hbm_bandwidth": f"{_MAX_BRIEF}: 3276.8 GB/s, 2 tiles",
                "node_size": "LRZ, SuperMUC-NG Phase 2 hardware: 4 Max 1550 of 2 tiles",
                "links": "nominal: 230 GB/s between tiles, two Xe Links of 26.5 GB/s between cards",
                "nic_bandwidth": "LRZ, SuperMUC-NG Phase 2 hardware: HDR InfiniBand, 200 Gb/s",
                "nics_per_node": "arXiv:2605.07726: 400 Gb/s a node",
                "max_devices": "LRZ, SuperMUC-NG Phase 2 hardware: 240 nodes",
                "efficiency": "labkit: gemm from the best 175B run of arXiv:2605.07726",
            }
        ),
    )


@lru_cache(maxsize=1)
def local_cpu() -> SystemConfig:
    """Return the machine that this runs on: one rank a core, gloo between them.

    Peak and bandwidth are nominal, from the number and the clock of the cores; runs measured
    here and `labkit.llm_parallel.calibrate` tell what is reached.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    clock, memory = _clock_hz(), _memory_bytes()
    peak = clock * 32.0
    where = "this machine"
    return SystemConfig(
        name="local-cpu",
        device="CPU core",
        peak_flops=peak,
        peak_flops_fp32=peak,
        compute_units=1,
        hbm_bytes=memory / cores,
        hbm_bandwidth=10e9,
        node_size=cores,
        links=(Link(cores, 2e9),) if cores > 1 else (),
        nic_bandwidth=0.0,
        nics_per_node=0,
        max_devices=cores,
        efficiency=CPU,
        sources=MappingProxyType(
            {
                "peak_flops": f"{where}: {clock / 1e9:.2f} GHz, 32 float32 operations a clock",
                "peak_flops_fp32": f"{where}: as above",
                "compute_units": "a core",
                "hbm_bytes": f"{where}: memory shared by {cores} cores",
                "hbm_bandwidth": "nominal: a core of a server reads about 10 GB/s",
                "node_size": f"{where}: {cores} cores",
                "links": "nominal: gloo through shared memory, about 2 GB/s",
                "nic_bandwidth": "none: one machine",
                "nics_per_node": "none: one machine",
                "max_devices": f"{where}: {cores} cores",
                "efficiency": "labkit: general priors; calibrate with runs of your own",
            }
        ),
    )


_MAKERS: dict[str, Callable[[], SystemConfig]] = {
    "frontier": partial(_frontier, "frontier", 9856, _FRONTIER_GUIDE),
    "lumi": partial(_frontier, "lumi", 2978, _LUMI),
    "selene-a100": partial(
        _a100,
        "selene-a100",
        8,
        200,
        4480,
        nic_bandwidth="Narayanan et al., SC'21, section 5: HDR InfiniBand, 200 Gb/s",
        nics_per_node="Narayanan et al., SC'21, section 5: 8 cards for the application",
        max_devices="top500.org: Selene, 560 nodes",
    ),
    "vtrain-a100": partial(
        _a100,
        "vtrain-a100",
        4,
        200,
        512,
        nic_bandwidth="vTrain's configuration files: 800 Gb/s a node",
        nics_per_node="vTrain, MICRO'24: 4 cards of 200 Gb/s",
        max_devices="vTrain, MICRO'24: 512 devices",
    ),
    "jean-zay-a100": partial(
        _a100,
        "jean-zay-a100",
        4,
        100,
        416,
        nic_bandwidth="BLOOM model card: Omni-Path, 100 Gb/s",
        nics_per_node="BLOOM model card: 4 Omni-Path links a node",
        max_devices="BLOOM model card: 48 nodes and 4 spare ones",
    ),
    "dgx-h100": _h100,
    "supermuc-ng2": _supermuc,
    "local-cpu": local_cpu,
}


class _Systems(Mapping[str, SystemConfig]):
    """Name to machine; made when first asked for, so that importing measures nothing."""

    def __getitem__(self, name: str) -> SystemConfig:
        return _made(name)

    def __iter__(self) -> Any:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)


@cache
def _made(name: str) -> SystemConfig:
    return _MAKERS[name]()


SYSTEMS: Mapping[str, SystemConfig] = _Systems()
"""Name to machine."""


def system_preset(name: str, **changes: Any) -> SystemConfig:
    """Return a machine by name, with other values where they are given.

    Raises
    ------
    ParameterError
        The name or a field is unknown.

    Examples
    --------
    >>> system_preset("frontier").node_size
    8
    >>> system_preset("frontier", hbm_bytes=32e9).hbm_bytes
    32000000000.0
    """
    if name not in SYSTEMS:
        raise ParameterError(not_allowed("system", name, SYSTEMS))
    return SYSTEMS[name].replace(**changes) if changes else SYSTEMS[name]


def _clock_hz() -> float:
    """Clock of the processor; 2.5 GHz where the machine does not tell."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("cpu MHz"):
                return float(line.split(":")[1]) * 1e6
    return 2.5e9


def _memory_bytes() -> float:
    """Main memory; 8 GB where the machine does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 8e9
