"""One small run of the study on a simulated graph, shared by the tests of its figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib
import pytest
from matplotlib import pyplot as plt

from labkit.spiking.citation import CitationGraph
from labkit.spiking.diffusion import FittedDiffusion, SpikingLabelDiffusion
from labkit.spiking.float_sgnn import CITESEER, FloatSGNN
from labkit.spiking.readout import QueryScores, QueryTrace
from labkit.spiking.sgnn import SGNN
from labkit.spiking.simulated import simulated_citation_graph
from labkit.spiking.tuning import TuningResult, tune


@dataclass(frozen=True)
class SmallRun:
    """What the figures show."""

    graph: CitationGraph
    sgnn: SGNN
    scores: QueryScores
    floats: QueryScores
    trace: QueryTrace
    float_trace: QueryTrace
    tuned: TuningResult
    diffusion: FittedDiffusion


@pytest.fixture(scope="session")
def small_run() -> SmallRun:
    """Every result that a figure needs, on 300 papers."""
    graph = simulated_citation_graph(
        n_papers=300, n_topics=4, n_edges=560, n_words=120, n_validation=60, n_test=120,
        train_per_topic=10, seed=3,
    )  # fmt: skip
    sgnn, floats = SGNN(graph), FloatSGNN(graph, CITESEER)
    query = int(graph.test[0])
    return SmallRun(
        graph=graph,
        sgnn=sgnn,
        scores=sgnn.run(graph.test),
        floats=floats.run(graph.test),
        trace=sgnn.trace(query),
        float_trace=floats.trace(query),
        tuned=tune(graph, n_trials=12, sampler="random", seed=1),
        diffusion=SpikingLabelDiffusion().fit(graph),
    )


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    """Draw without a screen and close what was drawn."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    plt.close("all")
    matplotlib.use(backend)
