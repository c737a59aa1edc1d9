"""Interactive views of the study; each shows its first state when executed headless."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from labkit.errors import LabkitError, ParameterError
from labkit.spiking import plots
from labkit.spiking.citation import CitationGraph
from labkit.spiking.fixedpoint import WEIGHT_MAX
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.plots.colors import topic_names
from labkit.spiking.plots.labels import percent
from labkit.spiking.readout import QueryScores, QueryTrace, tie_aware_accuracy
from labkit.spiking.sgnn import SGNN
from labkit.viz.style import MPLSTYLE

SCREEN_DPI = 88
REDRAW_AFTER_S = 0.08
"""Wait after a change, so that a slider that is dragged draws once for many changes."""
ANY = "any"
TAUS = ("tau_plus", "tau_minus")
NAME_WIDTH = "120px"


def query_explorer(
    graph: CitationGraph,
    sgnn: SGNN,
    *,
    scores: QueryScores | None = None,
    query: int | None = None,
    hops: int = 2,
) -> QueryExplorer:
    """One query of the integer network, run again at every change of its parameters.

    Parameters
    ----------
    graph : CitationGraph
    sgnn : SGNN
        Its parameters are where the controls start; those without a control stay.
    scores : QueryScores, optional
        Of ``run`` with these parameters; adds the choice of papers that were answered rightly,
        wrongly, with ties, or not at all.
    query : int, optional
        Paper shown first; by default the first test paper.
    hops : int
        How far around the query papers are drawn.

    Returns
    -------
    QueryExplorer
        Controls above one line of words and the figure of `plots.query_figure`.
    """
    return QueryExplorer(graph, sgnn, scores, query, hops)


class QueryExplorer(widgets.VBox):  # type: ignore[misc]
    """See `query_explorer`.

    Attributes
    ----------
    show : Dropdown
        Which papers there are to choose from.
    paper : Combobox
        The query: a test or validation paper.
    ratio : FloatSlider
        ``graph_w/paper_vth``; `graph_w` is the nearest whole number.
    topic_vth, test_exp, tau : IntSlider
        As in `SGNNParameters`; `tau` is both time constants, in steps.
    words : HTML
        What the query did, and how long that took; or why it could not run.
    picture : Image
        The wave, the spikes and the learned weights.
    trace : QueryTrace
        Of the query shown.
    """

    def __init__(
        self,
        graph: CitationGraph,
        sgnn: SGNN,
        scores: QueryScores | None,
        query: int | None,
        hops: int,
    ) -> None:
        if not isinstance(sgnn, SGNN):
            raise ParameterError(
                f"sgnn is of type {type(sgnn).__name__}; the controls set integers: give an SGNN."
            )
        self.graph, self.base, self.hops = graph, sgnn.parameters, hops
        self.papers = np.concatenate([graph.test, graph.validation]).astype(int)
        if not len(self.papers):
            raise ParameterError(f"{graph.name} has no test or validation papers to query.")
        self.kinds = _kinds(graph, scores)
        self._near: plots.Neighborhood | None = None
        self.trace: QueryTrace | None = None
        self._make_controls(int(self.papers[0]) if query is None else query)
        self.words = widgets.HTML().add_class("labkit-query-words")
        self.picture = _image("labkit-query-picture")
        redraw = throttled(self.draw, REDRAW_AFTER_S)
        for control in (self.paper, self.ratio, self.topic_vth, self.test_exp, self.tau):
            control.observe(redraw, names="value")
        self.show.observe(self._refill, names="value")
        super().__init__([*self._rows(), self.words, self.picture])
        self.add_class("labkit-query-explorer")
        self.draw()

    @property
    def parameters(self) -> SGNNParameters:
        """Parameters that the controls stand for.

        Raises
        ------
        ParameterError
            They do not go together.
        """
        return self.base.replace(
            graph_w=min(round(self.ratio.value * self.base.paper_vth), WEIGHT_MAX),
            topic_vth=self.topic_vth.value,
            test_exp=self.test_exp.value,
            **({} if self.tau.value == self._tau else dict.fromkeys(TAUS, self.tau.value)),
        )

    def draw(self) -> None:
        """Run the query with the parameters shown, and draw it."""
        try:
            query = self._chosen()
            start = time.perf_counter()
            parameters = self.parameters
            self.trace = SGNN(self.graph, parameters).trace(query)
            seconds = time.perf_counter() - start
        except LabkitError as exc:
            self.words.value = f"<b>not run</b>: {html.escape(str(exc))}"
            self.picture.value = b""
            return
        if self._near is None or self._near.query != query:
            self._near = plots.neighborhood(self.graph, query, hops=self.hops)
        self.words.value = query_words(self.graph, self.trace, parameters, seconds)
        _draw(self.picture, plots.query_figure(self.graph, self.trace, places=self._near)[0])

    def _make_controls(self, query: int) -> None:
        p = self.base
        ratio, self._tau = p.graph_w / p.paper_vth, round(p.tau_plus)
        self.show = widgets.Dropdown(options=list(self.kinds), description="answered")
        self.paper = widgets.Combobox(
            value=str(query),
            options=[str(paper) for paper in self.papers.tolist()],
            description="paper",
            continuous_update=False,
        )
        self.ratio = widgets.FloatSlider(
            value=ratio,
            min=0.05,
            max=max(ratio, min(4.0, WEIGHT_MAX / p.paper_vth)),
            step=0.01,
            description="graph_w/paper_vth",
        )
        self.topic_vth = _whole("topic_vth", p.topic_vth, 0, 600)
        self.test_exp = _whole("test_exp", p.test_exp, -12, 0)
        self.tau = _whole("tau (steps)", self._tau, 1, 6)
        for control in (self.show, self.paper, self.ratio, self.topic_vth, self.test_exp, self.tau):
            control.style.description_width = NAME_WIDTH

    def _rows(self) -> list[widgets.Widget]:
        wrapped = {"flex_flow": "row wrap"}
        steps = [
            _button("previous", lambda: self._step(-1)),
            _button("next", lambda: self._step(1)),
        ]
        papers = [self.paper, *steps, _button("reset", self.reset)]
        if len(self.kinds) > 1:
            papers.insert(0, self.show)
        sliders = [self.ratio, self.topic_vth, self.test_exp, self.tau]
        return [widgets.HBox(papers, layout=wrapped), widgets.HBox(sliders, layout=wrapped)]

    def reset(self) -> None:
        """Put the parameters back to where they started."""
        self.ratio.value = self.base.graph_w / self.base.paper_vth
        self.topic_vth.value, self.test_exp.value = self.base.topic_vth, self.base.test_exp
        self.tau.value = self._tau

    def _refill(self, _change: object = None) -> None:
        """Offer the papers of the kind chosen, and show the first of them."""
        shown = [str(paper) for paper in self.kinds[self.show.value].tolist()]
        self.paper.options = shown
        if self.paper.value not in shown:
            self.paper.value = shown[0]

    def _step(self, by: int) -> None:
        shown = list(self.paper.options)
        here = shown.index(self.paper.value) if self.paper.value in shown else -min(by, 0)
        self.paper.value = shown[(here + by) % len(shown)]

    def _chosen(self) -> int:
        if self.paper.value not in {str(paper) for paper in self.papers.tolist()}:
            raise ParameterError(
                f"paper={self.paper.value!r} is no test or validation paper of {self.graph.name}; "
                f"choose one of the list, such as {self.papers[0]}."
            )
        return int(self.paper.value)


def query_words(
    graph: CitationGraph, trace: QueryTrace, parameters: SGNNParameters, seconds: float
) -> str:
    """What a query did, in words: as HTML.

    Parameters
    ----------
    graph : CitationGraph
    trace : QueryTrace
    parameters : SGNNParameters
        That it ran with.
    seconds : float
        That building the network and running it took.
    """
    distance = float(np.asarray(graph.hops_to_labels(graph.train))[trace.query])
    label = int(graph.labels[trace.query])
    what = topic_names(graph.topics, graph.n_topics)[label] if label >= 0 else "of unknown topic"
    near = "not connected to a labeled paper"
    if np.isfinite(distance) and distance >= 0:
        near = f"{_counted(int(distance), 'hop')} from a labeled paper"
    passes = _needed(parameters.graph_w, parameters.graph_exp, parameters.paper_vth)
    fires = _needed(parameters.train_w, parameters.train_exp, parameters.topic_vth)
    total = sum(int(np.asarray(spikes).sum()) for spikes in trace.spikes.values())
    return (
        f"<b>paper {trace.query}</b> ({html.escape(what)}), {near}: {_counted(total, 'spike')}, "
        f"{_counted(trace.synaptic_operations, 'synaptic operation')}, <b>re-run in "
        f"{1000 * seconds:.0f} ms</b><br>a paper needs {passes} of its neighbors (graph_w = "
        f"{parameters.graph_w}, paper_vth = {parameters.paper_vth}), a topic needs {fires} of "
        f"its labeled papers (train_w = {parameters.train_w}, topic_vth = {parameters.topic_vth})"
    )


def _needed(weight: int, exponent: int, threshold: int) -> str:
    """How many spikes of one connection lift a neuron above its threshold, in words."""
    sent = weight * 2.0**exponent
    return _counted(int(threshold / sent) + 1, "spike") if sent else "more spikes than there are"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def tie_explorer(graph: CitationGraph, networks: Mapping[str, QueryScores]) -> widgets.VBox:
    """Confusion of topics by each rule for ties, for each network.

    Parameters
    ----------
    graph : CitationGraph
    networks : mapping of str to QueryScores
        Name to what the network answered.

    Returns
    -------
    VBox
        Choices above the accuracy by this rule and the confusion matrix.
    """
    if not networks:
        raise ParameterError("networks is empty; give the scores of one network or more, by name.")
    network = widgets.Dropdown(options=list(networks), description="network")
    rule = widgets.ToggleButtons(options=["expected", "first", "unique"], description="ties")
    words, picture = widgets.HTML(), _image("labkit-tie-picture")

    def draw(_change: object = None) -> None:
        scores = networks[network.value]
        report = tie_aware_accuracy(scores, graph.labels)
        low, high = report.intervals[rule.value]
        words.value = (
            f"<b>{percent(getattr(report, rule.value))}</b> of {report.n:,} queries are right by "
            f"the rule <b>{rule.value}</b> (95 % interval {100 * low:.1f} to {100 * high:.1f} %); "
            f"{percent(report.tied, 0)} of the queries tie"
        )
        with plt.style.context(MPLSTYLE):
            _draw(picture, plots.confusion(graph, scores, tie_rule=rule.value))

    for control in (network, rule):
        control.observe(draw, names="value")
    draw()
    controls = widgets.HBox([network, rule], layout={"flex_flow": "row wrap"})
    return widgets.VBox([controls, words, picture]).add_class("labkit-tie-explorer")


def throttled(act: Callable[[], None], wait_s: float) -> Callable[[object], None]:
    """Callback of many changes that acts once for all that come within a short time.

    Parameters
    ----------
    act : callable
        What to do.
    wait_s : float
        Seconds after the first change at which it is done. Where no event loop runs, as in a
        script, it is done at once.
    """
    waiting: list[asyncio.TimerHandle] = []

    def run() -> None:
        waiting.clear()
        act()

    def changed(_change: object = None) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            act()
            return
        if not waiting:
            waiting.append(loop.call_later(wait_s, run))

    return changed


def _kinds(graph: CitationGraph, scores: QueryScores | None) -> dict[str, np.ndarray]:
    """Papers to choose from, by how they were answered; kinds without papers are left out."""
    everything = np.concatenate([graph.test, graph.validation]).astype(int)
    if scores is None:
        return {ANY: everything}
    right = scores.winners[np.arange(len(scores.queries)), graph.labels[scores.queries]]
    alone, silent = scores.tied == 1, scores.silent
    masks = {
        "rightly": right & alone,
        "with a tie": ~alone & ~silent,
        "wrongly": ~right & alone,
        "not at all": silent,
    }
    asked = np.isin(scores.queries, everything)
    kinds = {name: scores.queries[mask & asked].astype(int) for name, mask in masks.items()}
    return {ANY: everything} | {name: ids for name, ids in kinds.items() if len(ids)}


def _whole(name: str, value: int, low: int, high: int) -> widgets.IntSlider:
    return widgets.IntSlider(
        value=value, min=min(low, value), max=max(high, value), description=name
    )


def _button(name: str, act: Callable[[], None]) -> widgets.Button:
    button = widgets.Button(description=name, layout={"width": "80px"})
    button.on_click(lambda _button: act())
    return button


def _draw(image: widgets.Image, axes: Axes) -> None:
    """Show the axes' figure at its size, and close it so that it does not show twice."""
    figure: Any = axes.get_figure(root=True)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=1.25 * SCREEN_DPI, bbox_inches=None)
    image.layout.width = f"{round(figure.get_figwidth() * SCREEN_DPI)}px"
    image.value = buffer.getvalue()
    plt.close(figure)


def _image(css: str) -> widgets.Image:
    image = widgets.Image(format="png")
    image.layout.max_width, image.layout.align_self = "100%", "flex-start"
    return image.add_class(css)
