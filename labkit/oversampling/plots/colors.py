"""Colors that mean the same in every figure of the study."""

from __future__ import annotations

from labkit.viz.style import OKABE_ITO

GRAY = "#8c8c8c"
"""What a figure compares against: the original data, no resampling."""

HONEST_COLOR = OKABE_ITO["blue"]
LEAKY_COLOR = OKABE_ITO["vermillion"]
MINORITY_COLOR = OKABE_ITO["vermillion"]

SERIES = tuple(OKABE_ITO[name] for name in ("blue", "orange", "green", "purple", "sky blue"))
"""Order in which models and samplers take colors."""


def series_colors(names: list[str]) -> dict[str, str]:
    """One color a name, in order; repeated when there are more names than colors."""
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate(names)}
