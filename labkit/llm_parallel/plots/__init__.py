"""Figures of the study; every function returns its axes or its figure."""

from labkit.llm_parallel.plots.laws import laws_figure, scaling_figure
from labkit.llm_parallel.plots.memory import memory_by_stage
from labkit.llm_parallel.plots.pipeline import gantt
from labkit.llm_parallel.plots.roofline import roofline
from labkit.llm_parallel.plots.runs import collectives_figure, loss_overlay
from labkit.llm_parallel.plots.search import (
    pareto_front,
    search_map,
    sensitivity_bars,
    tuning_trace,
)
from labkit.llm_parallel.plots.steps import step_anatomy
from labkit.llm_parallel.plots.validation import calibration_figure, parity

__all__ = [
    "calibration_figure",
    "collectives_figure",
    "gantt",
    "laws_figure",
    "loss_overlay",
    "memory_by_stage",
    "pareto_front",
    "parity",
    "roofline",
    "scaling_figure",
    "search_map",
    "sensitivity_bars",
    "step_anatomy",
    "tuning_trace",
]
