"""Colors that mean the same in every figure of the study.

Parts of a step come in families: blue computes, orange to red communicates, gray waits. Parts of
the memory likewise: blue and green belong to the parameters, orange to the activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from labkit.viz.style import OKABE_ITO

GRAY = "#8c8c8c"
"""What is compared against, and what is illegal."""
INK = "#222222"
MODEL, PUBLISHED = OKABE_ITO["blue"], OKABE_ITO["vermillion"]
"""What the model says, and what a paper states."""
MEASURED = OKABE_ITO["black"]
"""What was measured on this machine, or on another one by others."""
FAILED = OKABE_ITO["vermillion"]
BEST = OKABE_ITO["orange"]

PARTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "forward": ("forward", "#0072B2"),
        "backward": ("backward", "#56B4E9"),
        "recompute": ("recompute", "#bfdff3"),
        "tensor_parallel": ("tensor-parallel traffic", "#D55E00"),
        "context_parallel": ("context-parallel traffic", "#CC79A7"),
        "pipeline_p2p": ("pipeline traffic", "#E69F00"),
        "data_parallel": ("data-parallel traffic, exposed", "#f2cb80"),
        "bubble": ("pipeline bubble", "#c8c8c8"),
        "optimizer": ("optimizer", "#009E73"),
        "overhead": ("overhead", "#6b6b6b"),
    }
)
"""Part of a step, in the order drawn, to its name for a reader and its color."""

COMPONENTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "weights": ("weights", "#0072B2"),
        "gradients": ("gradients", "#56B4E9"),
        "optimizer": ("optimizer state", "#009E73"),
        "activations": ("activations", "#E69F00"),
        "recompute": ("recomputed layer", "#f2cb80"),
        "logits": ("logits", "#CC79A7"),
        "buffers": ("buffers", "#8c8c8c"),
    }
)
"""Component of the memory, from the foot of a bar to its top, to its name and its color."""
