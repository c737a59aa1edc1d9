"""Interactive views of the study; each shows its first state when executed headless.

Sliders work on what is stored or has a closed form, so that they follow a drag; only the button of
`segment_runner` starts a simulation.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.clot import plots
from labkit.clot.control.run_storage import Run
from labkit.clot.forcefield import ForceField, Receptors
from labkit.clot.labels import LabelTable
from labkit.clot.observation import Observation
from labkit.clot.plans import StepPlan
from labkit.clot.plots.marks import duration
from labkit.clot.plots.tolerance import cheapest_plans, evaluations_a_unit, safest_fixed
from labkit.clot.simulation import Simulation
from labkit.clot.units import DPDUnits
from labkit.errors import LabkitError, ParameterError
from labkit.viz.style import MPLSTYLE

SCREEN_DPI = 88
NAME_WIDTH = "120px"
CONTROL_WIDTH = "330px"


def noise_explorer(lesson: pd.DataFrame) -> NoiseExplorer:
    """Temperature of platelets with the noise rule switched on and off.

    Parameters
    ----------
    lesson : DataFrame
        Of `labkit.clot.noise.noise_lesson`, measured before.

    Returns
    -------
    NoiseExplorer
    """
    return NoiseExplorer(lesson)


class NoiseExplorer(widgets.VBox):  # type: ignore[misc]
    """See `noise_explorer`.

    Attributes
    ----------
    rule : ToggleButtons
        "noise rule" or "without the rule".
    words : HTML
    picture : Image
    """

    def __init__(self, lesson: pd.DataFrame) -> None:
        self.lesson = lesson
        options = [("without the rule", False), ("noise rule", True)]
        self.rule = widgets.ToggleButtons(options=options, style={"button_width": "180px"})
        self.words = widgets.HTML().add_class("labkit-noise-words")
        self.picture = _image("labkit-noise-picture")
        self.rule.observe(lambda _change: self.draw(), names="value")
        super().__init__([self.rule, self.words, self.picture])
        self.add_class("labkit-noise-explorer")
        self.draw()

    def draw(self) -> None:
        """Show the rows of the chosen rule."""
        rows = self.lesson[self.lesson["rule"].astype(bool) == self.rule.value]
        ratio = rows["T_platelet"].to_numpy(dtype=float)
        worst = ratio[np.argmax(np.abs(ratio - 1))]
        fluid = rows["T_fluid"].to_numpy(dtype=float)
        self.words.value = (
            f"<b>platelets at {worst:.2f} kT</b> in the worst of {len(rows)} plans; the plasma, at "
            f"{fluid.min():.2f} to {fluid.max():.2f} kT, does not show it"
        )
        with plt.style.context(MPLSTYLE):
            _draw(self.picture, plots.temperature_lesson(rows))


def tolerance_explorer(
    labels: LabelTable, *, runs: Mapping[float, Run] | None = None, tolerance: float | None = None
) -> ToleranceExplorer:
    """What a tolerance allows: the coarsest right plan in time, and what a fixed plan costs.

    Parameters
    ----------
    labels : LabelTable
    runs : mapping of float to Run, optional
        Tolerance to a stored run of a controller that was held to it.
    tolerance : float, optional
        Where the slider starts; the median error of the middle plan by default [rc].

    Returns
    -------
    ToleranceExplorer
    """
    return ToleranceExplorer(labels, runs or {}, tolerance)


class ToleranceExplorer(widgets.VBox):  # type: ignore[misc]
    """See `tolerance_explorer`.

    Attributes
    ----------
    tolerance : FloatLogSlider
        [rc]
    trajectory : Dropdown
    words : HTML
        Evaluations of the best possible choice and of the cheapest safe fixed plan.
    picture : Image
    run_picture : Image
        Step trace of the stored run with the nearest tolerance; empty without runs.
    """

    def __init__(
        self, labels: LabelTable, runs: Mapping[float, Run], tolerance: float | None
    ) -> None:
        self.labels, self.runs = labels, dict(runs)
        errors = labels.frame["error"].to_numpy(dtype=float)
        errors = errors[np.isfinite(errors) & (errors > 0)]
        if not len(errors):
            raise ParameterError("labels has no finite errors; give labels of at least one state.")
        low, high = np.log10(np.percentile(errors, [1, 99]))
        start = tolerance or float(np.median(errors))
        low, high = min(low, math.log10(start)), max(high, math.log10(start))
        self.tolerance = widgets.FloatLogSlider(
            value=start,
            min=low,
            max=high,
            step=max((high - low) / 40, 1e-3),
            description="tolerance (rc)",
            readout_format=".2e",
            continuous_update=False,
            style={"description_width": NAME_WIDTH},
            layout={"width": CONTROL_WIDTH},
        )
        names = list(dict.fromkeys(labels.frame["trajectory"]))
        self.trajectory = widgets.Dropdown(options=names, description="trajectory")
        self.words = widgets.HTML().add_class("labkit-tolerance-words")
        self.picture = _image("labkit-tolerance-picture")
        self.run_picture = _image("labkit-tolerance-run")
        for control in (self.tolerance, self.trajectory):
            control.observe(lambda _change: self.draw(), names="value")
        box = widgets.HBox([self.tolerance, self.trajectory], layout={"flex_flow": "row wrap"})
        super().__init__([box, self.words, self.picture, self.run_picture])
        self.add_class("labkit-tolerance-explorer")
        self.draw()

    def draw(self) -> None:
        """Choose plans for the slider's tolerance and draw them."""
        tolerance = float(self.tolerance.value)
        self.words.value = tolerance_words(self.labels, tolerance)
        with plt.style.context(MPLSTYLE):
            _draw(self.picture, plots.label_trace(self.labels, self.trajectory.value, tolerance))
            if self.runs:
                nearest = min(self.runs, key=lambda held: abs(math.log(held / tolerance)))
                title = f"Stored run held to {nearest:.2g} rc"
                _draw(self.run_picture, plots.step_trace(self.runs[nearest], title=title))


def tolerance_words(labels: LabelTable, tolerance: float) -> str:
    """Say what a tolerance allows, as HTML."""
    picks = cheapest_plans(labels, tolerance)
    every = np.array([evaluations_a_unit(plan) for plan in labels.plans])
    adapted = float(every[picks["rung"]].mean())
    fixed = safest_fixed(labels, tolerance)
    never = float((picks["error"] > tolerance).mean())
    words = (
        f"<b>{100 * (1 - adapted / every[fixed]):.0f} % fewer evaluations</b> of nonbonded forces "
        f"at best: {adapted:.0f} a time unit if every state has the coarsest plan that is right, "
        f"{every[fixed]:.0f} with {labels.plans[fixed]}, the cheapest that is right at 95 % of "
        "all states"
    )
    return words + (f"; no plan is right at {100 * never:.0f} %" if never else "")


def receptor_explorer(
    receptors: Receptors | None = None, *, runs: Mapping[float, Sequence[Run]] | None = None
) -> ReceptorExplorer:
    """Force of the receptors, the step that their stiffness allows, and stored runs.

    Parameters
    ----------
    receptors : Receptors, optional
        Where the sliders start.
    runs : mapping of float to sequence of Run, optional
        Depth D to stored runs of several seeds, of which the nearest is shown.

    Returns
    -------
    ReceptorExplorer
    """
    return ReceptorExplorer(receptors or Receptors(), runs or {})


class ReceptorExplorer(widgets.VBox):  # type: ignore[misc]
    """See `receptor_explorer`.

    Attributes
    ----------
    D, alpha : FloatSlider
        Depth [energy] and inverse width [1/rc].
    words : HTML
    picture : Image
    run_picture : Image
    """

    def __init__(self, start: Receptors, runs: Mapping[float, Sequence[Run]]) -> None:
        self.start, self.runs = start, dict(runs)
        self.D = _slider("depth D", start.D, 1.0, max(20.0, start.D), 0.5)
        self.alpha = _slider("1/width alpha", start.alpha, 2.0, max(20.0, start.alpha), 0.5)
        self.words = widgets.HTML().add_class("labkit-receptor-words")
        self.picture = _image("labkit-receptor-picture")
        self.run_picture = _image("labkit-receptor-run")
        for control in (self.D, self.alpha):
            control.observe(lambda _change: self.draw(), names="value")
        box = widgets.HBox([self.D, self.alpha], layout={"flex_flow": "row wrap"})
        super().__init__([box, self.words, self.picture, self.run_picture])
        self.add_class("labkit-receptor-explorer")
        self.draw()

    @property
    def receptors(self) -> Receptors:
        """What the sliders stand for."""
        return Receptors(
            D=self.D.value, alpha=self.alpha.value, r0=self.start.r0, cutoff=self.start.cutoff
        )

    def draw(self) -> None:
        """Draw the potential of the sliders and the stored runs next to it."""
        receptors = self.receptors
        self.words.value = receptor_words(receptors)
        with plt.style.context(MPLSTYLE):
            _draw(self.picture, plots.receptor_potential(receptors))
            if self.runs:
                nearest = min(self.runs, key=lambda depth: abs(depth - receptors.D))
                stored = {f"stored, D = {nearest:g}": self.runs[nearest]}
                _draw(self.run_picture, plots.contacts_in_time(stored))


def receptor_words(receptors: Receptors) -> str:
    """Say how stiff receptors are, as HTML: omega = alpha sqrt(2 D / mu), mu = 1/2 for a pair."""
    omega = receptors.alpha * math.sqrt(4 * receptors.D)
    pull = receptors.D * receptors.alpha / 2
    return (
        f"<b>a bound pair vibrates with a period of {2 * math.pi / omega:.3f}</b>, omega = "
        f"{omega:.1f}: a step of it may not reach pi / omega = {math.pi / omega:.3f}; the "
        f"largest pull is {pull:.0f} kT/rc at kT = 1"
    )


def shear_explorer(
    units: DPDUnits, *, rate: float = 0.2, a: float = 2.0, forcefield: ForceField | None = None
) -> widgets.VBox:
    """What a shear rate of the simulation stands for in a blood vessel.

    Parameters
    ----------
    units : DPDUnits
    rate : float
        Where the slider starts [1/time].
    a : float
        Long semi-axis of the platelets [rc].
    forcefield : ForceField, optional

    Returns
    -------
    VBox
        A slider above the table of `DPDUnits.table`.
    """
    slider = _slider("shear rate", rate, 0.01, max(1.0, rate), 0.01)
    table = widgets.HTML().add_class("labkit-shear-table")

    def draw(_change: object = None) -> None:
        shown = units.table(rate=slider.value, a=a, forcefield=forcefield)
        table.value = shown.to_html(index=False, float_format=lambda x: f"{x:.3g}", border=0)

    slider.observe(draw, names="value")
    draw()
    return widgets.VBox([slider, table]).add_class("labkit-shear-explorer")


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
    picture : Image
        Temperature and contacts so far.
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
        self.picture = _image("labkit-segment-picture")
        box = widgets.HBox([self.plan, self.run, self.restart], layout={"flex_flow": "row wrap"})
        super().__init__([box, self.words, self.picture])
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
        self.picture.value = b""
        self.words.value = "press <b>run segment</b> to start a simulation"

    def _one_segment(self) -> None:
        if self.simulation is None:
            self.simulation = self.start()
            self.history = [self.simulation.observe()]
        before = self.simulation.snapshot()
        try:
            done = self.simulation.run(self.plan.value, self.segment)
        except LabkitError:
            self.simulation.restore(before)
            raise
        self.history.append(self.simulation.observe())
        last = self.history[-1]
        counts = ", ".join(f"{n:,} {level}" for level, n in done.evaluations.items())
        self.words.value = (
            f"<b>time {last.time:g}</b>: platelets at kT = {np.mean(last.temperature):.3f}, plasma "
            f"at {last.fluid_temperature:.3f}; evaluations {counts}; "
            f"{duration(done.cpu_seconds)} of CPU"
        )
        with plt.style.context(MPLSTYLE):
            _draw(self.picture, plots.temperatures_in_time(self.history))


def _slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value=value,
        min=min(low, value),
        max=high,
        step=step,
        description=name,
        continuous_update=False,
        style={"description_width": NAME_WIDTH},
        layout={"width": CONTROL_WIDTH},
    )


def _draw(image: widgets.Image, drawn: Axes | Figure) -> None:
    """Show a figure at its size, and close it so that it does not show twice."""
    figure: Any = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=1.25 * SCREEN_DPI, bbox_inches=None)
    image.layout.width = f"{round(figure.get_figwidth() * SCREEN_DPI)}px"
    image.value = buffer.getvalue()
    plt.close(figure)


def _image(css: str) -> widgets.Image:
    image = widgets.Image(format="png")
    image.layout.max_width, image.layout.align_self = "100%", "flex-start"
    return image.add_class(css)
