"""Colors and names that mean the same in every figure of the study."""

from __future__ import annotations

from collections.abc import Sequence

from labkit.viz.style import OKABE_ITO, axis_label

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

QUANTITIES: dict[str, tuple[str, str]] = {
    "score": ("latent spread", "latent units"),
    "latent_spread": ("latent spread", "latent units"),
    "latent_velocity": ("latent velocity", "latent units per stride"),
    "pca_spread": ("PCA spread", "contact units"),
    "cluster_entropy": ("cluster entropy", "nats"),
    "n_clusters": ("clusters visited", "count"),
    "switch_rate": ("cluster switches", "per window"),
    "occupancy": ("strongest contact", "share of frames"),
    "mean_lifetime": ("mean contact lifetime", "frames"),
    "n_contacts": ("residues in contact", "mean count"),
    "flicker": ("contact flicker", "changes per frame"),
    "rmsf": ("RMSF", "Å"),
    "contact_entropy": ("contact entropy", "nats"),
    "free_volume_A3": ("room to grow", "Å³"),
    "open_directions": ("open directions", "count"),
    "sasa_A2": ("accessible surface", "Å²"),
}
"""What each column of a score table is called in a figure, and its unit."""


def quantity(column: str) -> tuple[str, str]:
    """Name for people and unit of a score column; an unknown column keeps its name."""
    return QUANTITIES.get(column, (column.replace("_", " "), ""))


def quantity_label(column: str) -> str:
    """Axis label of a score column.

    Examples
    --------
    >>> quantity_label("rmsf"), quantity_label("my_score")
    ('RMSF (Å)', 'My score')
    """
    return axis_label(*quantity(column))


def series_style(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """One color and marker a name, in order; the two never repeat together below 24 names."""
    return {
        name: (SERIES[i % len(SERIES)], MARKERS[(i + i // 24) % len(MARKERS)])
        for i, name in enumerate(names)
    }
