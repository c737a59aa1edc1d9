"""Windows of many queries at once in torch, on the CPU or a GPU.

The same steps as in `labkit.spiking.windows_numpy`, for states of 32-bit integers aligned as the
network holds them; all sums are exact, so the integers are the same on every device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from labkit.spiking.engine_torch import TorchArrays
from labkit.spiking.fixedpoint import DECAY_SHIFT, DECAY_UNITY, INPUT_SHIFT, STATE_LIMIT
from labkit.spiking.windows_plan import Layer, WindowKernel, WindowPlan, WindowSpikes
from labkit.spiking.wiring import FEATURE, OTHER, TOPIC, TRAIN


def kernel_on(device: str) -> WindowKernel:
    """The function that runs a batch on a device.

    Parameters
    ----------
    device : str
        As torch names it: "cpu", "cuda", "cuda:1".

    Raises
    ------
    ParameterError
        The device cannot be used.
    """
    arrays = TorchArrays(device)

    def run_windows(plan: WindowPlan, rows: np.ndarray) -> WindowSpikes:
        return _Batch(plan, rows, arrays).run()

    return run_windows


class _Batch:
    """The windows of a batch of queries.

    Attributes
    ----------
    spikes : tensor of bool, shape (n_nodes, n_queries)
        Of the last step.
    fired : tensor of bool, shape (n_topics, n_queries)
        Topics that spiked in the last step.
    counts : dict of str to tensor of int32, shape (n_queries,)
        Spikes of each population in the last step.
    """

    def __init__(self, plan: WindowPlan, rows: np.ndarray, arrays: TorchArrays) -> None:
        n = len(rows)
        self.plan, self.arrays, self.n = plan, arrays, n
        self.states = {layer.name: _State(layer, n, arrays) for layer in plan.layers}
        self.topics = _State(plan.topic_layer, n, arrays)
        self.spikes = arrays.zeros((plan.n_nodes, n), "bool")
        self.fired = arrays.zeros((plan.wiring.n_topics, n), "bool")
        names = (*self.states, TOPIC)
        self.counts = {name: arrays.zeros((n,), "int32") for name in names}
        blocks = [slice(0, plan.n_nodes)] if plan.folded else [x.rows for x in plan.layers]
        self.blocks = [(rows, arrays.matrix(plan.synapses[:, rows])) for rows in blocks]
        self.teaching = arrays.matrix(plan.teaching)
        self.train_topic = arrays.array(plan.wiring.train_topic)
        self.pulse = arrays.zeros((plan.wiring.n_other, n), "int32")
        self.pulse[arrays.array(rows), arrays.array(np.arange(n))] = plan.parameters.pulse

    def run(self) -> WindowSpikes:
        """All steps."""
        window, numpy = self.plan.parameters.window, self.arrays.numpy
        topics = np.zeros((self.n, window, self.plan.wiring.n_topics), dtype=bool)
        counts = {name: np.zeros((self.n, window), dtype=np.int32) for name in self.counts}
        for step in range(1, window):
            self._step(step)
            topics[:, step] = numpy(self.fired).T
            for name, kept in counts.items():
                kept[:, step] = numpy(self.counts[name])
        states = (*self.states.values(), self.topics)
        return WindowSpikes(
            topics=topics,
            counts=counts,
            u_wrapped=sum(int(state.u_wrapped) for state in states),
            v_saturated=sum(int(state.v_saturated) for state in states),
        )

    def _step(self, step: int) -> None:
        inputs, n_topics = self._between_nodes(), self.counts[TOPIC]
        rows = {layer.name: layer.rows for layer in self.plan.layers}
        inputs[rows[TRAIN]] += self.fired[self.train_topic].to(torch.int32) * self.plan.taught
        inputs[rows[OTHER]] += self.plan.to_papers(n_topics)
        if FEATURE in rows:
            inputs[rows[FEATURE]] += self.plan.to_words(n_topics)
        if step == 1:
            inputs[rows[OTHER]] += self.pulse
        n_words = self.counts.get(FEATURE, torch.zeros_like(n_topics))
        taught = self.arrays.product(self.teaching, self.spikes[rows[TRAIN]])
        to_topics = self.plan.to_topics(taught, self.counts[OTHER], n_words)
        for name, state in self.states.items():
            self.spikes[rows[name]] = state.step(inputs[rows[name]], step)
            self.counts[name] = self.spikes[rows[name]].sum(0, dtype=torch.int32)
        self.fired = self.topics.step(to_topics, step)
        self.counts[TOPIC] = self.fired.sum(0, dtype=torch.int32)

    def _between_nodes(self) -> torch.Tensor:
        """Input of the nodes from each other."""
        if self.plan.folded:
            return self.arrays.product(self.blocks[0][1], self.spikes)
        citations, words = self.plan.right_shifts
        total, n_papers = (
            self.arrays.zeros((self.plan.n_nodes, self.n), "int32"),
            self.plan.n_papers,
        )
        for layer, (rows, matrix) in zip(self.plan.layers, self.blocks, strict=True):
            part = self.arrays.product(matrix, self.spikes[rows])
            total[:n_papers] += part[:n_papers] >> (words if layer.name == FEATURE else citations)
            total[n_papers:] += part[n_papers:] >> words
        return total


class _State:
    """Voltages and refractory times of a population in all windows of a batch."""

    def __init__(self, layer: Layer, n: int, arrays: TorchArrays) -> None:
        self.layer = layer
        self.threshold = layer.threshold << INPUT_SHIFT
        self.v = arrays.zeros((layer.n, n), "int32")
        self.ready = arrays.zeros((layer.n, n), "int32")
        self.u_wrapped: Any = 0
        self.v_saturated: Any = 0

    def step(self, inputs: torch.Tensor, step: int) -> torch.Tensor:
        """Add the input of a step and return who spikes, bool of the shape of the state."""
        acts = self.ready <= step
        u = inputs << INPUT_SHIFT
        over = u > STATE_LIMIT
        u = torch.where(over, u - 2 * STATE_LIMIT, u)
        v = self._decayed() + u
        self.u_wrapped = self.u_wrapped + (over & acts).sum()
        self.v_saturated = self.v_saturated + ((v.abs() >= STATE_LIMIT) & acts).sum()
        v = torch.where(acts, v.clip(1 - STATE_LIMIT, STATE_LIMIT - 1), 0)
        fired = v > self.threshold
        self.v = torch.where(fired, 0, v)
        self.ready = torch.where(fired, step + self.layer.refractory + 1, self.ready)
        return fired

    def _decayed(self) -> torch.Tensor:
        if not self.layer.dv:
            return self.v
        size = self.v.abs().to(torch.int64) * (DECAY_UNITY - self.layer.dv) >> DECAY_SHIFT
        return torch.where(self.v < 0, -size, size).to(torch.int32)
