"""Interactive views of the study; each shows its first state when executed headless."""

from labkit.clot.widgets.explorers import (
    NoiseExplorer,
    ReceptorExplorer,
    ToleranceExplorer,
    noise_explorer,
    receptor_explorer,
    shear_explorer,
    tolerance_explorer,
)
from labkit.clot.widgets.runner import SegmentRunner, segment_runner

__all__ = [
    "NoiseExplorer",
    "ReceptorExplorer",
    "SegmentRunner",
    "ToleranceExplorer",
    "noise_explorer",
    "receptor_explorer",
    "segment_runner",
    "shear_explorer",
    "tolerance_explorer",
]
