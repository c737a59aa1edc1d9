"""What the columns of the study's tables are called in figures, and their units."""

from __future__ import annotations

from labkit.viz.style import axis_label

QUANTITIES: dict[str, tuple[str, str]] = {
    "score": ("latent spread", "latent units"),
    "latent_spread": ("latent spread", "latent units"),
    "latent_velocity": ("latent velocity", "latent units per window"),
    "pca_spread": ("PCA spread", "contact units"),
    "cluster_entropy": ("cluster entropy", "nats"),
    "n_clusters": ("clusters visited", "count"),
    "switch_rate": ("cluster switches", "share of windows"),
    "occupancy": ("occupancy", "share of frames"),
    "mean_lifetime": ("mean contact lifetime", "frames"),
    "n_contacts": ("contacts", "mean count of residues"),
    "flicker": ("contact flicker", "changes per frame"),
    "rmsf": ("RMSF", "Å"),
    "contact_entropy": ("contact entropy", "nats"),
    "free_volume_A3": ("room to grow", "Å³"),
    "open_directions": ("open directions", "count"),
    "sasa_A2": ("accessible surface", "Å²"),
    "rank": ("rank", "1 is the most dynamic"),
    "p_top": ("chance of being near the top", "probability"),
}


def quantity(column: str) -> tuple[str, str]:
    """Name for people and unit of a column; an unknown column keeps its name."""
    return QUANTITIES.get(column, (column.replace("_", " "), ""))


def quantity_label(column: str) -> str:
    """Axis label of a column.

    Examples
    --------
    >>> quantity_label("rmsf"), quantity_label("my_score")
    ('RMSF (Å)', 'My score')
    """
    return axis_label(*quantity(column))
