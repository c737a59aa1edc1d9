"""Figures of the hotspots study; every function returns its axes."""

from labkit.hotspots.plots import colors
from labkit.hotspots.plots.contacts import contact_heatmap, contact_timeline, occupancy_map
from labkit.hotspots.plots.latent import (
    clustering_agreement,
    latent_scatter,
    loss_curves,
    reconstruction_gallery,
)
from labkit.hotspots.plots.ranking import (
    baseline_plot,
    growth_plot,
    pca_against_cvae,
    rank_plot,
    seed_agreement_matrix,
)
from labkit.hotspots.plots.validation import planted_plot, sar_plot

__all__ = [
    "baseline_plot",
    "clustering_agreement",
    "colors",
    "contact_heatmap",
    "contact_timeline",
    "growth_plot",
    "latent_scatter",
    "loss_curves",
    "occupancy_map",
    "pca_against_cvae",
    "planted_plot",
    "rank_plot",
    "reconstruction_gallery",
    "sar_plot",
    "seed_agreement_matrix",
]
