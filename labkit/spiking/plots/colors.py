"""Colors and markers that mean the same in every figure of the study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from labkit.viz.style import OKABE_ITO, PALETTE

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

GRAY = "#8c8c8c"
"""What is compared against: defaults, dead trials, papers without a label."""
INK = "#222222"
UNREACHED = "#ffffff"
"""Fill of a paper that never spiked."""

POPULATION_NAMES = {
    "other": "unlabeled papers",
    "train": "labeled papers",
    "topic": "topics",
    "feature": "words",
}
POPULATION_COLORS = {
    "other": OKABE_ITO["blue"],
    "train": OKABE_ITO["orange"],
    "topic": OKABE_ITO["green"],
    "feature": OKABE_ITO["purple"],
}
"""Paler on the band behind a population's spikes."""

OWN, PUBLISHED = OKABE_ITO["blue"], OKABE_ITO["vermillion"]
"""What was measured here, and what a paper states."""

DASHES = ("-", "--", "-.", ":")


def topic_styles(n_topics: int) -> list[tuple[str, str]]:
    """Color and line style of each topic; a color that comes again has another line style."""
    return [
        (PALETTE[k % len(PALETTE)], DASHES[k // len(PALETTE) % len(DASHES)])
        for k in range(n_topics)
    ]


def topic_names(topics: Sequence[str], n_topics: int) -> list[str]:
    """Names of the topics as words, "topic 0" and so on where none are given."""
    if not len(topics):
        return [f"topic {k}" for k in range(n_topics)]
    return [str(name).replace("_", " ") for name in topics]


def pale(color: str, share: float = 0.12) -> tuple[float, float, float]:
    """Color mixed with white, of which it keeps a `share`."""
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (1 - share * (1 - channel) for channel in channels)
    return red, green, blue


def step_colors(n_steps: int) -> ListedColormap:
    """One color a step, from dark (first) to light (last): ordered in gray print too."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    ramp = matplotlib.colormaps["cividis"]
    return ListedColormap(ramp(np.linspace(0.0, 0.97, max(n_steps, 1))), name="labkit-steps")
