"""One window per query without the plastic synapses that cannot act: "lazy" plasticity, exact.

The full network learns 2 N K synapses in every window, N papers and K topics. Of these only the K
from the query to the topics are read, and none acts after it has changed, so the window is run with
constant weights, and the K are learned afterwards from the spikes of the topics.

Conditions (`lazy_obstacles` checks them; everything else follows from the wiring):

(a) ``ref_other >= window``.
(b) ``t_epoch = 1``: learning ends every step, so that no epoch holds two events of one neuron.
(c) Plastic synapses of words, if any: ``ref_feature >= window``.
(d) No sum can exceed 32 bits, before or after its shift and alignment.

Proof. Let w be the start weight and j a paper outside of the training set.

1. *j fires at most once.* No neuron fires in the guard step. If j fires at step t >= 1, its voltage
   is held at 0 until the step t + ref_other >= window, the end, by (a); a threshold is never below
   0, so that 0 is no spike.
2. *Before j fires, its synapses are w.* Traces start the window at 0 and a decayed 0 is 0: the
   fraction to round is 0, and no random number is below it. j has no spike and no trace, and each
   of the two terms of the rule has one of them as a factor. With a change of 0 the accumulator is
   w * 128, whose seven low bits are 0, so that no random number rounds it, and w lies in its range.
3. *What j sends is w.* Its synapses to the topics act by its only spike, at t. The sum of step t is
   taken with the weights of the end of step t - 1, which by 2 are w. They never act again.
4. *What j receives is w until it no longer matters.* The topics' synapses to j act at a topic's
   spike of step s on the input of step s + 1. Up to s = t the sum is taken with weights from before
   step t, which by 2 are w. Later sums meet a voltage that is held at 0; the current has no memory.
   (By (c) the same holds for a word and its synapses to and from the topics.)
5. *So all spikes are those of the network with constant weights.*
6. *The scores.* The query q gets ten times its threshold at step 1 and nothing else, as all others
   were silent in the guard step; so it fires at step 1, and by 1 only then. From step 1 its trace
   is the impulse, decaying by the random stream of the connection alone. The term of presynaptic
   spikes acts only at step 1, when the traces of all topics are 0. What is left is, for each
   topic, one change by the trace of q at each of its spikes, each rounded and cut to 8 bits as it
   happens: `readout_weights`. `A_minus`, `tau_minus` and `y1_impulse` do not enter the scores.

Saturation. If `WindowPlan.quiet`, neither mode can wrap or saturate, and both counts are 0. If not,
wraps and saturation of neurons that are not refractory are computed and counted exactly, but the
full network also counts those of papers that have fired, whose currents hold learned weights: the
counts are then lower bounds. They do not change a spike, by 4.

The random streams advance with every step, so the scores of a query depend on its place in the list
of queries: it is the clocked network's window of the same number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np

from labkit.choices import not_allowed, require_whole
from labkit.errors import ParameterError
from labkit.spiking import windows_numpy
from labkit.spiking.fixedpoint import WEIGHT_MAX, WEIGHT_MIN
from labkit.spiking.parameters import SGNNParameters
from labkit.spiking.plasticity import TRACE_MAX, RuleTables, TraceStreams, accumulated
from labkit.spiking.windows_plan import WindowKernel, WindowPlan, WindowSpikes

BACKENDS = ("numpy", "numba", "torch")
BATCH_BYTES = 1 << 24
"""Largest matrix (nodes, queries) of 32-bit integers; smaller ones also stay in the caches."""


def lazy_obstacles(plan: WindowPlan) -> tuple[str, ...]:
    """Why lazy plasticity would not be exact: a sentence for each condition that does not hold.

    Parameters
    ----------
    plan : WindowPlan

    Returns
    -------
    tuple of str
        Each names the parameter, its value, and what to do; empty where lazy is exact.
    """
    p, found = plan.parameters, []
    if p.ref_other < p.window:
        found.append(
            f"ref_other={p.ref_other} is below window={p.window}: a paper could fire twice in a "
            f"window and send what it learned. Use ref_other={p.window} or more."
        )
    if p.t_epoch != 1:
        found.append(f"t_epoch={p.t_epoch}: an epoch may hold two spikes. Use t_epoch=1.")
    learning_words = plan.wiring.n_features and p.feature_stdp and p.feature_topic_w
    if learning_words and p.ref_feature < p.window:
        found.append(
            f"ref_feature={p.ref_feature} is below window={p.window} with feature_stdp=True: a "
            f"word could send what it learned. Use ref_feature={p.window} or more, or "
            "feature_stdp=False."
        )
    if plan.overflows:
        found.append(
            f"graph_exp={p.graph_exp}, train_exp={p.train_exp}, test_exp={p.test_exp}, "
            f"feature_exp={p.feature_exp}, feature_topic_exp={p.feature_topic_exp}: a sum of "
            "weights could exceed 32 bits. Lower the exponents."
        )
    return tuple(found)


def run_plan(
    plan: WindowPlan,
    rows: np.ndarray,
    *,
    backend: str = "numpy",
    threads: int = 1,
    device: str = "cpu",
    batch: int = 128,
) -> WindowSpikes:
    """Spikes of one window per query.

    Parameters
    ----------
    plan : WindowPlan
        It must have no `lazy_obstacles`.
    rows : ndarray of int64, shape (n_queries,)
        Positions of the queries among the other papers.
    backend : {"numpy", "numba", "torch"}
    threads : int
        Batches that run at a time; of "torch" always one.
    device : str
        Of "torch".
    batch : int
        Queries of a batch at most; fewer where their state would exceed `BATCH_BYTES`.

    Returns
    -------
    WindowSpikes
        The same whatever the back end, the threads and the batch.
    """
    kernel = window_kernel(backend, device)
    require_whole("threads", threads, low=1)
    require_whole("batch", batch, low=1)
    size = min(batch, max(1, BATCH_BYTES // (4 * plan.n_nodes)), -(-len(rows) // threads))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    plan.prepare()
    return _joined(list(_mapped(kernel, plan, parts, 1 if backend == "torch" else threads)))


def window_kernel(backend: str, device: str = "cpu") -> WindowKernel:
    """The function of a back end that runs one batch."""
    check_backend(backend)
    if backend == "numba":
        from labkit.spiking import windows_numba

        return windows_numba.run_windows
    if backend == "torch":
        from labkit.spiking import windows_torch

        return windows_torch.kernel_on(device)
    return windows_numpy.run_windows


def check_backend(backend: str) -> None:
    """Refuse a back end that is unknown or not installed."""
    if backend not in BACKENDS:
        raise ParameterError(not_allowed("backend", backend, BACKENDS))
    if backend != "numpy" and find_spec(backend) is None:
        raise ParameterError(
            f"backend={backend!r} needs the package {backend}, which is not installed. Install it, "
            "or use backend='numpy', which gives the same integers."
        )


def readout_weights(
    topics: np.ndarray, parameters: SGNNParameters, *, first: int = 0
) -> np.ndarray:
    """Weights from each query to the topics after every step.

    Parameters
    ----------
    topics : ndarray of bool, shape (n_queries, window, n_topics)
        Spikes of the topics.
    parameters : SGNNParameters
    first : int
        Place of the first query in the list of queries.

    Returns
    -------
    ndarray of int32, shape (n_queries, window, n_topics)
    """
    n, window, n_topics = topics.shape
    rule = parameters.rule
    tables, streams = RuleTables.of(rule), TraceStreams.draw(rule, (first + n) * window)
    trace = np.zeros(n, dtype=np.int32)
    weights = np.full((n, n_topics), parameters.test_w, dtype=np.int32)
    learned = np.empty(topics.shape, dtype=np.int32)
    for step in range(window):
        now = (first + np.arange(n)) * window + step + 1
        trace = tables.x_whole[trace] + (streams.x_decay[now] < tables.x_fraction[trace])
        if step == 1:
            trace = np.minimum(trace + streams.x_impulse[now], TRACE_MAX)
        change = np.where(topics[:, step], tables.plus[trace][:, None], 0)
        weights = accumulated(weights, 0, change, streams.rounding[now][:, None], np)
        weights = np.clip(weights, WEIGHT_MIN, WEIGHT_MAX)
        learned[:, step] = weights
    return learned


def _mapped(
    kernel: WindowKernel, plan: WindowPlan, parts: Sequence[np.ndarray], threads: int
) -> Iterator[WindowSpikes]:
    if threads == 1 or len(parts) == 1:
        return (kernel(plan, part) for part in parts)
    with ThreadPoolExecutor(threads) as pool:
        return iter(list(pool.map(lambda part: kernel(plan, part), parts)))


def _joined(parts: list[WindowSpikes]) -> WindowSpikes:
    return WindowSpikes(
        topics=np.concatenate([part.topics for part in parts]),
        counts={
            name: np.concatenate([part.counts[name] for part in parts]) for name in parts[0].counts
        },
        u_wrapped=sum(part.u_wrapped for part in parts),
        v_saturated=sum(part.v_saturated for part in parts),
    )
