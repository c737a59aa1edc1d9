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


def light(color: str) -> bool:
    """Whether dark text is easier to read on a color than white.

    Examples
    --------
    >>> light("#bfdff3"), light("#0072B2")
    (True, False)
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


def pale(color: str, share: float = 0.35) -> str:
    """Color mixed with white, of which it keeps a `share`.

    Examples
    --------
    >>> pale("#000000", 0.5)
    '#808080'
    """
    channels = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - channel)):02x}" for channel in channels)
