"""Colors and markers that mean the same in every figure of the study."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.viz.style import OKABE_ITO

GRAY = "#8c8c8c"
"""What is undetermined, or compared against."""

VERDICT_COLORS = {
    "dynamic": OKABE_ITO["vermillion"],
    "anchor": OKABE_ITO["blue"],
    "undetermined": GRAY,
}
"""Dynamic atoms change their contacts, anchors keep them."""

SERIES = tuple(
    OKABE_ITO[name] for name in ("blue", "orange", "green", "purple", "sky blue", "black")
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def series_style(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """One color and marker a name, in order; the two never repeat together below 24 names."""
    return {
        name: (SERIES[i % len(SERIES)], MARKERS[(i + i // 24) % len(MARKERS)])
        for i, name in enumerate(names)
    }
