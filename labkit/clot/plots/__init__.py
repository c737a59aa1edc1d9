"""Figures of the study; every function returns its axes or its figure."""

from labkit.clot.plots.accuracy import pareto_front, property_errors_figure
from labkit.clot.plots.flow import tumbling_figure, velocity_profile
from labkit.clot.plots.levels import level_costs, temperature_lesson
from labkit.clot.plots.platelets import platelets_figure
from labkit.clot.plots.receptors import receptor_potential
from labkit.clot.plots.scaling import scaling_figure
from labkit.clot.plots.tolerance import label_trace
from labkit.clot.plots.trace import (
    contacts_in_time,
    regimes,
    step_trace,
    temperatures_in_time,
)

__all__ = [
    "contacts_in_time",
    "label_trace",
    "level_costs",
    "pareto_front",
    "platelets_figure",
    "property_errors_figure",
    "receptor_potential",
    "regimes",
    "scaling_figure",
    "step_trace",
    "temperature_lesson",
    "temperatures_in_time",
    "tumbling_figure",
    "velocity_profile",
]
