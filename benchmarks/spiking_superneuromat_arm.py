"""The SuperNeuroMAT side of spiking_superneuromat.py; runs in an environment that has it.

Reads networks (npz) named on its standard input, one line a command, builds each with
`create_neuron` and `create_synapse`, and simulates one query at a time in a fresh state, as the
published code of the spiking citation network does. Answers in one JSON line a command; spikes and
all learned weights go to npz files. Its own output is CPU seconds of building, of the whole
`simulate` call, and of its loop alone (with `manual_setup`, so without the conversion of its lists
to arrays and back).

Commands: ``{"build": path}``; ``{"query": neuron, "back_end": "sparse" or "dense", "out": path}``.
"""

from __future__ import annotations

import json
import sys
import time

started = time.process_time()

import numpy as np  # noqa: E402 - its import belongs to the time of the import below
import superneuromat as snm  # noqa: E402

IMPORT_S = time.process_time() - started
QUERY_INPUT = 100.0


def build(path: str) -> tuple[snm.SNN, dict]:
    """Build a network with its untouched state."""
    stored = np.load(path)
    snn = snm.SNN()
    columns = (stored[name].tolist() for name in ("threshold", "leak", "refractory"))
    for threshold, leak, refractory in zip(*columns, strict=True):
        snn.create_neuron(threshold=threshold, leak=leak, refractory_period=refractory)
    columns = (stored[name].tolist() for name in ("pre", "post", "weight", "plastic"))
    for pre, post, weight, plastic in zip(*columns, strict=True):
        snn.create_synapse(pre, post, weight=weight, stdp_enabled=plastic)
    snn.stdp_setup(
        Apos=stored["apos"].tolist(),
        Aneg=stored["aneg"].tolist(),
        positive_update=True,
        negative_update=True,
    )
    return snn, {"steps": int(stored["steps"]), "weights": list(snn.synaptic_weights)}


def renew(snn: snm.SNN, weights: list[float]) -> None:
    """Put the state of a network that has never run back."""
    n = snn.num_neurons
    snn.neuron_states, snn.neuron_refractory_periods_state = [0.0] * n, [0] * n
    snn.synaptic_weights, snn.input_spikes, snn.spike_train = list(weights), {}, []


def query(snn: snm.SNN, fresh: dict, neuron: int, *, sparse: bool, out: str) -> dict[str, float]:
    """Simulate a query twice, for the two times; write what the whole call leaves."""
    renew(snn, fresh["weights"])
    snn.add_spike(0, neuron, QUERY_INPUT)
    start = time.process_time()
    snn.simulate(time_steps=fresh["steps"], use="cpu", sparse=sparse)
    whole = time.process_time() - start
    np.savez(out, spikes=snn.ispikes, weights=np.array(snn.synaptic_weights))
    renew(snn, fresh["weights"])
    snn.add_spike(0, neuron, QUERY_INPUT)
    snn.manual_setup = True
    snn.setup(sparse=sparse)
    snn.setup_input_spikes(fresh["steps"])
    start = time.process_time()
    snn.simulate(time_steps=fresh["steps"], use="cpu")
    loop = time.process_time() - start
    snn.manual_setup = False
    return {"simulate_s": whole, "loop_s": loop}


def main() -> None:
    """Serve commands until the input ends."""
    print(json.dumps({"import_s": IMPORT_S, "version": snm.__version__}), flush=True)
    snn, fresh = snm.SNN(), {}
    for line in sys.stdin:
        command = json.loads(line)
        if "build" in command:
            start = time.process_time()
            snn, fresh = build(command["build"])
            answer = {"build_s": time.process_time() - start}
        else:
            sparse = command["back_end"] == "sparse"
            answer = query(snn, fresh, command["query"], sparse=sparse, out=command["out"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
