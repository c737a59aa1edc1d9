"""Figures of the spiking study; every function returns its axes."""

from labkit.spiking.plots import colors
from labkit.spiking.plots.accuracy import (
    accuracy_by_hops,
    baseline_plot,
    confusion,
    confusion_shares,
    tie_bars,
)
from labkit.spiking.plots.agreement import exactness_table, float_against_int
from labkit.spiking.plots.diffusion import diffusion_curves, weight_histogram
from labkit.spiking.plots.graph import degree_plot, topic_counts, wave
from labkit.spiking.plots.layout import Neighborhood, neighborhood
from labkit.spiking.plots.resources import resource_bar
from labkit.spiking.plots.trace import query_figure, raster, weight_traces
from labkit.spiking.plots.tuning import convergence, importance, parallel_coordinates

__all__ = [
    "Neighborhood",
    "accuracy_by_hops",
    "baseline_plot",
    "colors",
    "confusion",
    "confusion_shares",
    "convergence",
    "degree_plot",
    "diffusion_curves",
    "exactness_table",
    "float_against_int",
    "importance",
    "neighborhood",
    "parallel_coordinates",
    "query_figure",
    "raster",
    "resource_bar",
    "tie_bars",
    "topic_counts",
    "wave",
    "weight_histogram",
    "weight_traces",
]
