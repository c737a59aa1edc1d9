"""Interactive views of the study; each shows its first state when executed headless.

Pictures are text (`labkit.llm_parallel.plots.svg`), so that a slider that is dragged is followed
in milliseconds.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
import numpy as np

from labkit.choices import require_whole
from labkit.errors import LabkitError, ParameterError
from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.config import (
    RECOMPUTE,
    SCHEDULES,
    ModelConfig,
    ParallelConfig,
    nearest_divisors,
)
from labkit.llm_parallel.cost import PARTS, StepTime, step_time
from labkit.llm_parallel.memory import memory_breakdown
from labkit.llm_parallel.plots.marks import GIB, amount, duration, percent
from labkit.llm_parallel.plots.pipeline import NAMES
from labkit.llm_parallel.plots.svg import anatomy_svg, gantt_svg, memory_svg
from labkit.llm_parallel.rules import check, legality
from labkit.llm_parallel.schedule import Timeline, pipeline_schedule, simulate
from labkit.llm_parallel.system import Efficiency, SystemConfig
from labkit.llm_parallel.widgets import controls

CONTROLLED = (
    "tp",
    "pp",
    "virtual_pp",
    "micro_batch_size",
    "zero_stage",
    "recompute",
    "schedule",
    "sequence_parallel",
    "flash_attention",
)
"""Fields of a strategy that have a control."""
MICRO_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 32)
CHUNKS = (1, 2, 3, 4, 6, 8)


def strategy_explorer(
    model: ModelConfig,
    system: SystemConfig,
    n_devices: int,
    global_batch_size: int,
    *,
    strategy: ParallelConfig | None = None,
    efficiency: Efficiency | None = None,
) -> StrategyExplorer:
    """Memory of every stage and anatomy of a step, while a strategy is changed.

    Parameters
    ----------
    model : ModelConfig
    system : SystemConfig
    n_devices : int
        Devices; what TP and PP leave of them is data parallel.
    global_batch_size : int
        Sequences of one step of all devices.
    strategy : ParallelConfig, optional
        Where the controls start, and the values of what has no control; by default a plain one
        that fits, if there is one.
    efficiency : Efficiency, optional
        In place of the system's own, e.g. calibrated.

    Returns
    -------
    StrategyExplorer

    Raises
    ------
    ParameterError
        A number is not allowed.
    """
    require_whole("n_devices", n_devices, low=1, high=system.max_devices)
    require_whole("global_batch_size", global_batch_size, low=1)
    start = strategy or _start(model, system, n_devices, global_batch_size, efficiency)
    return StrategyExplorer(model, system, n_devices, global_batch_size, start, efficiency)


class StrategyExplorer(widgets.VBox):  # type: ignore[misc]
    """See `strategy_explorer`.

    Attributes
    ----------
    tp, pp, virtual_pp, micro_batch_size : SelectionSlider
    zero_stage, recompute, schedule : Dropdown
    sequence_parallel, flash_attention : Checkbox
    verdict : HTML
        Whether it fits and how fast it is; or the rule that is broken, and what to use.
    picture : HTML
        Memory by stage above the parts of a step; pale while a rule is broken.
    """

    def __init__(
        self,
        model: ModelConfig,
        system: SystemConfig,
        n_devices: int,
        global_batch_size: int,
        start: ParallelConfig,
        efficiency: Efficiency | None,
    ) -> None:
        self.model, self.system, self.base = model, system, start
        self.n_devices, self.global_batch_size = n_devices, global_batch_size
        self.efficiency, self._drawing = efficiency, ""
        self._make_controls()
        self.verdict = widgets.HTML().add_class("labkit-strategy-verdict")
        self.picture = widgets.HTML().add_class("labkit-strategy-picture")
        for control in self.inputs.values():
            control.observe(self._changed, names="value")
        box = widgets.HBox(list(self.inputs.values()), layout={"flex_flow": "row wrap"})
        super().__init__([box, self.verdict, self.picture])
        self.add_class("labkit-strategy-explorer")
        self.draw()

    @property
    def inputs(self) -> dict[str, Any]:
        """Field of a strategy to its control."""
        return {name: getattr(self, name) for name in CONTROLLED}

    @property
    def strategy(self) -> ParallelConfig:
        """What the controls stand for.

        Raises
        ------
        ParameterError
            It breaks a rule; the message says what to use.
        """
        chosen = {name: control.value for name, control in self.inputs.items()}
        dp = _data_parallel(chosen["tp"], chosen["pp"], self.base.cp, self.n_devices)
        _require_batch(self.global_batch_size, dp, chosen["micro_batch_size"])
        strategy = self.base.replace(dp=dp, global_batch_size=self.global_batch_size, **chosen)
        check(self.model, strategy, n_devices=self.n_devices)
        return strategy

    def draw(self) -> None:
        """Price the strategy of the controls and draw it."""
        try:
            strategy = self.strategy
        except LabkitError as exc:
            self.verdict.value = controls.verdict("breaks a rule", str(exc), good=False)
            self.picture.value = f'<div style="opacity:0.25">{self._drawing}</div>'
            return
        time = step_time(self.model, strategy, self.system, efficiency=self.efficiency)
        memory = memory_breakdown(self.model, strategy)
        self.verdict.value = strategy_words(strategy, time, self.system)
        parts = {name: float(getattr(time, name)[0]) for name in PARTS}
        self._drawing = memory_svg(memory, self.system.hbm_bytes) + anatomy_svg(parts)
        self.picture.value = self._drawing

    def _make_controls(self) -> None:
        start, layers = self.base, self.model.num_layers
        powers = [2**k for k in range(1 + int(np.log2(8 * self.system.node_size)))]
        depths = [k for k in range(1, layers + 1) if layers % k == 0]
        self.tp = controls.slider("TP", start.tp, [*powers, 3, 5, 6, 12])
        self.pp = controls.slider(
            "PP", start.pp, [*depths, *(k for k in (5, 7, 10) if k <= layers)]
        )
        self.virtual_pp = controls.slider("chunks (v)", start.virtual_pp, CHUNKS)
        self.micro_batch_size = controls.slider(
            "micro-batch", start.micro_batch_size, MICRO_BATCHES
        )
        self.zero_stage = controls.dropdown(
            "ZeRO", start.zero_stage, [(str(k), k) for k in range(4)]
        )
        self.recompute = controls.dropdown("recompute", start.recompute, RECOMPUTE)
        names = [(NAMES.get(kind, kind), kind) for kind in SCHEDULES]
        self.schedule = controls.dropdown("schedule", start.schedule, names)
        self.sequence_parallel = controls.checkbox("sequence parallel", start.sequence_parallel)
        self.flash_attention = controls.checkbox("flash attention", start.flash_attention)

    def _changed(self, _change: object) -> None:
        self.draw()


def strategy_words(strategy: ParallelConfig, time: StepTime, system: SystemConfig) -> str:
    """Verdict on one strategy, as HTML.

    Parameters
    ----------
    strategy : ParallelConfig
    time : StepTime
        Of this strategy alone.
    system : SystemConfig

    Returns
    -------
    str
    """
    fits = bool(time.fits[0])
    need, have = float(time.memory_bytes[0]) / GIB, system.hbm_bytes / GIB
    words = (
        f"{need:.1f} of {have:.3g} GiB; step {duration(float(time.total[0]))}, "
        f"HFU {percent(float(time.hfu[0]))}, MFU {percent(float(time.mfu[0]))}, "
        f"{amount(float(time.tokens_per_second[0]))} tokens/s (model); {strategy.label()}, "
        f"m = {strategy.num_microbatches}"
    )
    return controls.verdict("fits" if fits else "out of memory", words, good=fits)


def schedule_explorer(
    *, kind: str = "1f1b", pp: int = 4, num_microbatches: int = 8, virtual_pp: int = 1
) -> ScheduleExplorer:
    """Gantt chart of a pipeline, simulated again at every change.

    Parameters
    ----------
    kind : str
        One of `SCHEDULES`.
    pp, num_microbatches, virtual_pp : int
        Where the controls start.

    Returns
    -------
    ScheduleExplorer
    """
    require_whole("pp", pp, low=1, high=16)
    require_whole("num_microbatches", num_microbatches, low=1, high=64)
    require_whole("virtual_pp", virtual_pp, low=1, high=4)
    pipeline_schedule(kind, pp, num_microbatches, virtual_pp)
    return ScheduleExplorer(kind, pp, num_microbatches, virtual_pp)


class ScheduleExplorer(widgets.VBox):  # type: ignore[misc]
    """See `schedule_explorer`.

    Attributes
    ----------
    schedule : Dropdown
    pp, num_microbatches, virtual_pp : IntSlider
    backward : FloatSlider
        Time of a backward pass over that of a forward pass.
    p2p : FloatSlider
        Time of a message between stages over that of a forward pass.
    verdict : HTML
        Idle share and held micro-batches; or why there is no such schedule.
    picture : HTML
    timeline : Timeline
        That is shown.
    """

    def __init__(self, kind: str, pp: int, num_microbatches: int, virtual_pp: int) -> None:
        names = [(NAMES.get(name, name), name) for name in SCHEDULES]
        self.schedule = controls.dropdown("schedule", kind, names)
        self.pp = controls.whole("stages (p)", pp, 16)
        self.num_microbatches = controls.whole("micro-batches", num_microbatches, 64)
        self.virtual_pp = controls.whole("chunks (v)", virtual_pp, 4)
        self.backward = controls.ratio("backward / F", 2.0, 0.5, 3.0)
        self.p2p = controls.ratio("message / F", 0.0, 0.0, 1.0)
        self.verdict = widgets.HTML().add_class("labkit-schedule-verdict")
        self.picture = widgets.HTML().add_class("labkit-schedule-picture")
        self.timeline: Timeline | None = None
        self._drawing = ""
        shown = [self.schedule, self.pp, self.num_microbatches, self.virtual_pp]
        shown += [self.backward, self.p2p]
        for control in shown:
            control.observe(self._changed, names="value")
        box = widgets.HBox(shown, layout={"flex_flow": "row wrap"})
        super().__init__([box, self.verdict, self.picture])
        self.add_class("labkit-schedule-explorer")
        self.draw()

    def draw(self) -> None:
        """Simulate the schedule of the controls and draw it."""
        sizes = self.pp.value, self.num_microbatches.value, self.virtual_pp.value
        try:
            order = pipeline_schedule(self.schedule.value, *sizes)
            self.timeline = simulate(
                order, forward=1.0, backward=self.backward.value, p2p=self.p2p.value
            )
        except LabkitError as exc:
            self.verdict.value = controls.verdict("no such schedule", str(exc), good=False)
            self.picture.value = f'<div style="opacity:0.25">{self._drawing}</div>'
            return
        self.verdict.value = schedule_words(self.timeline)
        self._drawing = gantt_svg(self.timeline)
        self.picture.value = self._drawing

    def _changed(self, _change: object) -> None:
        self.draw()


def schedule_words(timeline: Timeline) -> str:
    """What a simulated pipeline loses and holds, as HTML.

    Parameters
    ----------
    timeline : Timeline
        In units of a forward pass.

    Returns
    -------
    str
    """
    formula = "no closed form for these sizes"
    if np.isfinite(timeline.formula):
        formula = f"{percent(timeline.formula)} by the closed form"
    held = timeline.peak_in_flight
    what = "model chunks of micro-batches" if timeline.schedule.v > 1 else "micro-batches"
    words = (
        f"simulated; {formula}. A step takes {timeline.makespan:.4g} forward "
        f"passes (F); rank {int(np.argmax(held))} holds most: {max(held)} {what}."
    )
    return controls.verdict(f"{percent(timeline.bubble_fraction)} idle", words, good=True)


def _start(
    model: ModelConfig,
    system: SystemConfig,
    n_devices: int,
    batch: int,
    efficiency: Efficiency | None,
) -> ParallelConfig:
    """The fastest of the plain strategies that fit; the smallest where none fits."""
    candidates = []
    for tp in (k for k in (1, 2, 4, 8, 16) if k <= max(system.node_size, 1)):
        for pp in (k for k in range(1, model.num_layers + 1) if model.num_layers % k == 0):
            dp = n_devices // (tp * pp)
            if n_devices % (tp * pp) == 0 and batch % dp == 0:
                candidates.append(
                    ParallelConfig(tp=tp, pp=pp, dp=dp, global_batch_size=batch, recompute="full")
                )
    columns = ParallelColumns.of(candidates or [ParallelConfig(global_batch_size=batch)])
    legal = np.flatnonzero(legality(model, columns) < 0) if candidates else np.empty(0, int)
    if not len(legal):
        return ParallelConfig(global_batch_size=batch, recompute="full")
    time = step_time(model, columns.take(legal), system, efficiency=efficiency)
    cost = np.where(time.fits, time.total, 1e30 * time.memory_bytes)
    return candidates[int(legal[np.argmin(cost)])]


def _data_parallel(tp: int, pp: int, cp: int, n_devices: int) -> int:
    """Devices that are left for replicas."""
    size = tp * pp * cp
    if n_devices % size == 0:
        return n_devices // size
    if n_devices % (tp * cp):
        name, value, near = "tp", tp, nearest_divisors(n_devices // cp, tp)
    else:
        name, value, near = "pp", pp, nearest_divisors(n_devices // (tp * cp), pp)
    raise ParameterError(
        f"{name}={value}: tp * pp = {size // cp} does not divide n_devices={n_devices}; "
        f"use {name}={' or '.join(map(str, near))}."
    )


def _require_batch(batch: int, dp: int, micro_batch: int) -> None:
    if batch % dp:
        raise ParameterError(
            f"dp={dp}, which tp and pp leave, does not divide global_batch_size={batch}; use "
            f"larger tp or pp, so that dp={nearest_divisors(batch, dp)[0]} or less is left."
        )
    if batch // dp % micro_batch:
        near = " or ".join(map(str, nearest_divisors(batch // dp, micro_batch)))
        raise ParameterError(
            f"micro_batch_size={micro_batch} does not divide the {batch // dp} sequences of a "
            f"replica; use {near}."
        )
