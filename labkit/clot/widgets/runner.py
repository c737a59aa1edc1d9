"""A button that runs a real simulation, one segment a click, and goes back where it blows up."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib import pyplot as plt

from labkit.clot import plots
from labkit.clot.control.guard import Guard
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.plots.marks import duration
from labkit.clot.simulation import EngineError, Simulation
from labkit.clot.view import film, flat_drawing
from labkit.clot.widgets.pictures import hide, picture, show
from labkit.errors import LabkitError, ParameterError
from labkit.viz.style import MPLSTYLE


def segment_runner(
    start: Callable[[], Simulation], plans: Sequence[StepPlan], *, segment: float = 0.5
) -> SegmentRunner:
    """Button that runs one more segment of a simulation on a plan of choice.

    Parameters
    ----------
    start : callable
        Returns a running simulation, such as ``lambda: Engine(...)``; called at the first click.
    plans : sequence of StepPlan
    segment : float
        Length of a segment [time].

    Returns
    -------
    SegmentRunner
    """
    if not plans:
        raise ParameterError("plans is empty; give at least one StepPlan.")
    for plan in plans:
        plan.n_fluid_steps(segment)
    return SegmentRunner(start, plans, segment)


class SegmentRunner(widgets.VBox):  # type: ignore[misc]
    """See `segment_runner`.

    Attributes
    ----------
    plan : Dropdown
    run, restart : Button
    words : HTML
        What the last segment took; or why it blew up.
    platelets : HTML
        The platelets in their box.
    picture : Image
        Temperatures so far.
    history : list of Observation
    simulation : Simulation, optional
        None before the first click.
    """

    def __init__(
        self, start: Callable[[], Simulation], plans: Sequence[StepPlan], segment: float
    ) -> None:
        self.start, self.segment = start, segment
        self.simulation: Simulation | None = None
        self.history: list[Observation] = []
        options = [(str(plan), plan) for plan in plans]
        self.plan = widgets.Dropdown(options=options, description="steps")
        self.run = widgets.Button(description="run segment", button_style="primary")
        self.restart = widgets.Button(description="restart")
        self.run.on_click(lambda _button: self.go_on())
        self.restart.on_click(lambda _button: self.close_simulation())
        self.words = widgets.HTML().add_class("labkit-segment-words")
        self.platelets = widgets.HTML().add_class("labkit-segment-platelets")
        self.picture = picture("labkit-segment-picture")
        box = widgets.HBox([self.plan, self.run, self.restart], layout={"flex_flow": "row wrap"})
        pictures = widgets.HBox([self.platelets, self.picture], layout={"flex_flow": "row wrap"})
        super().__init__([box, self.words, pictures])
        self.add_class("labkit-segment-runner")
        self.close_simulation()

    def go_on(self) -> None:
        """Run one segment and draw what happened so far."""
        self.run.disabled = True
        try:
            self._one_segment()
        except LabkitError as failed:
            self.words.value = f"<b>rolled back</b>: {html.escape(str(failed))}"
        finally:
            self.run.disabled = False

    def close_simulation(self) -> None:
        """Free the simulation; the next click starts a new one."""
        if self.simulation is not None:
            self.simulation.close()
        self.simulation, self.history = None, []
        hide(self.picture)
        self.platelets.value = ""
        self.words.value = "press <b>run segment</b> to start a simulation"

    def _one_segment(self) -> None:
        if self.simulation is None:
            self.simulation = self.start()
            self.history = [self.simulation.observe()]
        before = self.simulation.snapshot()
        try:
            done = self.simulation.run(self.plan.value, self.segment)
            last = self.simulation.observe()
            objection = Guard.of(self.simulation.forcefield).check(last)
            if objection:
                raise EngineError(f"{self.plan.value}: {objection}")
        except EngineError:
            self.simulation.restore(before)
            raise
        self.history.append(last)
        counts = ", ".join(f"{n:,} {level}" for level, n in done.evaluations.items())
        self.words.value = (
            f"<b>time {last.time:g}</b>: platelets at kT = {np.mean(last.temperature):.3f}, plasma "
            f"at {last.fluid_temperature:.3f}; evaluations {counts}; "
            f"{duration(done.cpu_seconds)} of CPU"
        )
        with plt.style.context(MPLSTYLE):
            show(self.picture, plots.temperatures_in_time(self.history))
        shown = film(self.simulation.snapshot(), self.simulation.suspension)
        self.platelets.value = flat_drawing(shown, width_px=300, height_px=260).to_html()
