"""Explorers of what is stored or has a closed form, so that they follow a slider at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from labkit.clot import plots
from labkit.clot.control.run_storage import Run
from labkit.clot.forcefield import ForceField, Receptors
from labkit.clot.labels import LabelTable
from labkit.clot.plans import StepPlan
from labkit.clot.plots.tolerance import cheapest_plans, evaluations_a_unit, safest_fixed
from labkit.clot.units import DPDUnits
from labkit.clot.widgets.pictures import CONTROL_WIDTH, NAME_WIDTH, picture, show, slider
from labkit.errors import ParameterError
from labkit.viz.style import MPLSTYLE


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
        self.picture = picture("labkit-noise-picture")
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
            show(self.picture, plots.temperature_lesson(rows))


def tolerance_explorer(
    labels: LabelTable,
    *,
    runs: Mapping[float, Run] | None = None,
    tolerance: float | None = None,
    scene: str | None = None,
) -> ToleranceExplorer:
    """What a tolerance allows: the coarsest right plan in time, and what a fixed plan costs.

    Parameters
    ----------
    labels : LabelTable
    runs : mapping of float to Run, optional
        Tolerance to a stored run of a controller that was held to it.
    tolerance : float, optional
        Where the slider starts; the median error of the middle plan by default [rc].
    scene : str, optional
        Whose trajectories come first.

    Returns
    -------
    ToleranceExplorer
    """
    return ToleranceExplorer(labels, runs or {}, tolerance, scene)


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
        self,
        labels: LabelTable,
        runs: Mapping[float, Run],
        tolerance: float | None,
        scene: str | None,
    ) -> None:
        self.labels, self.runs, self.table = labels, dict(runs), labels.frame
        self._shown_run: float | None = None
        errors = self.table["error"].to_numpy(dtype=float)
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
        scenes = self.table.groupby("trajectory", sort=False)["scene"].first()
        names = sorted(scenes.index, key=lambda name: scenes[name] != scene)
        self.trajectory = widgets.Dropdown(options=names, description="trajectory")
        self.words = widgets.HTML().add_class("labkit-tolerance-words")
        self.picture = picture("labkit-tolerance-picture")
        self.run_picture = picture("labkit-tolerance-run")
        for control in (self.tolerance, self.trajectory):
            control.observe(lambda _change: self.draw(), names="value")
        box = widgets.HBox([self.tolerance, self.trajectory], layout={"flex_flow": "row wrap"})
        super().__init__([box, self.words, self.picture, self.run_picture])
        self.add_class("labkit-tolerance-explorer")
        self.draw()

    def draw(self) -> None:
        """Choose plans for the slider's tolerance and draw them."""
        tolerance = float(self.tolerance.value)
        scene = self.table.set_index("trajectory")["scene"].loc[[self.trajectory.value]].iloc[0]
        alike = self.table[self.table["scene"] == scene]
        self.words.value = f"{scene}: " + tolerance_words(alike, self.labels.plans, tolerance)
        with plt.style.context(MPLSTYLE):
            show(self.picture, plots.label_trace(self.labels, self.trajectory.value, tolerance))
            if self.runs:
                self._show_run(min(self.runs, key=lambda held: abs(math.log(held / tolerance))))

    def _show_run(self, held: float) -> None:
        if held != self._shown_run:
            title = f"Stored run held to {held:.2g} rc"
            show(self.run_picture, plots.step_trace(self.runs[held], title=title))
            self._shown_run = held


def tolerance_words(table: pd.DataFrame, plans: Sequence[StepPlan], tolerance: float) -> str:
    """Say what a tolerance allows, as HTML.

    Parameters
    ----------
    table : DataFrame
        Of `LabelTable.frame`.
    plans : sequence of StepPlan
        From finest to coarsest.
    tolerance : float
        [rc]
    """
    picks = cheapest_plans(table, tolerance)
    every = np.array([evaluations_a_unit(plan) for plan in plans])
    adapted = float(every[picks["rung"]].mean())
    fixed = safest_fixed(table, tolerance)
    never = float((picks["error"] > tolerance).mean())
    words = (
        f"<b>{100 * (1 - adapted / every[fixed]):.0f} % fewer evaluations</b> of nonbonded forces "
        f"at best: {adapted:.0f} a time unit if every state has the coarsest plan that is right, "
        f"{every[fixed]:.0f} with {plans[fixed]}, the coarsest that is right at 95 % of all states"
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
        self.D = slider("depth D", start.D, 1.0, max(20.0, start.D), 0.5)
        self.alpha = slider("1/width alpha", start.alpha, 2.0, max(20.0, start.alpha), 0.5)
        self.words = widgets.HTML().add_class("labkit-receptor-words")
        self.picture = picture("labkit-receptor-picture")
        self.run_picture = picture("labkit-receptor-run")
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
            show(self.picture, plots.receptor_potential(receptors))
            if self.runs:
                nearest = min(self.runs, key=lambda depth: abs(depth - receptors.D))
                stored = {f"stored, D = {nearest:g}": self.runs[nearest]}
                show(self.run_picture, plots.contacts_in_time(stored))


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
    rates = slider("shear rate", rate, 0.01, max(1.0, rate), 0.01)
    table = widgets.HTML().add_class("labkit-shear-table")

    def draw(_change: object = None) -> None:
        shown = units.table(rate=rates.value, a=a, forcefield=forcefield)
        table.value = shown.to_html(index=False, float_format=lambda x: f"{x:.3g}", border=0)

    rates.observe(draw, names="value")
    draw()
    return widgets.VBox([rates, table]).add_class("labkit-shear-explorer")
