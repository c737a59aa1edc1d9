"""Run one of labkit's networks in Lava 0.10 and write what was recorded.

    python run_network.py NETWORK RESULT --steps N --record s_out,u,v,w

``NETWORK.json`` and ``NETWORK.npz`` are what ``Network.save`` writes. ``RESULT`` is a folder; it
gets ``<population or projection>.<variable>.npy`` (steps, ...) for what is recorded,
``<projection>.w_final.npy`` for the learned weights at the end, and ``run.json`` with versions and
times. The script runs on Python 3.10 in the environment of environment-lava.yml and imports nothing
of labkit.

With episodes the host sets the learned weights, and the traces x1 and y1, back to their start
between two episodes; the random streams of the learning engine run on.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import DelayDense, Dense, LearningDense
from lava.proc.io.source import RingBuffer
from lava.proc.learning_rules.stdp_learning_rule import STDPLoihi
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode, truncate_weights
from neurons.long_reset import LIFLongReset
from recorders.recorders import SpikeRecorder, StateRecorder
from scipy.sparse import csr_matrix
from session import end_with_stdin


def main():
    """Build, run and write."""
    options = parse_options()
    if options.end_with_stdin:
        end_with_stdin()
    description = json.loads(Path(f"{options.network}.json").read_text(encoding="utf-8"))
    with np.load(f"{options.network}.npz", allow_pickle=False) as stored:
        arrays = dict(stored)
    populations, projections = build(description, arrays, options.steps)
    record(populations, projections, options)
    summary = run(description, populations, projections, options.steps)
    for name, final in summary.pop("final_weights").items():
        np.save(options.result / f"{name}.w_final.npy", final.astype(np.int32))
    summary["lava"] = version("lava-nc")
    summary["python"] = platform.python_version()
    (options.result / "run.json").write_text(json.dumps(summary), encoding="utf-8")


def parse_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--record", default="", help="of s_out, u, v, w; separated by commas")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when stdin closes")
    return parser.parse_args()


def build(description, arrays, steps):
    """Make Lava's processes and connect them; return both by name."""
    populations = {entry["name"]: make_population(entry, arrays) for entry in description["pops"]}
    for name, population in populations.items():
        inputs = matrix(arrays, f"{name}_inp")
        if inputs is not None:
            source = RingBuffer(data=of_length(inputs, steps))
            source.s_out.connect(population.a_in)
    projections = {}
    for entry in description["conns"]:
        pre, post = populations[entry["pre"]], populations[entry["post"]]
        projection = projections[entry["name"]] = make_projection(entry, arrays)
        pre.s_out.connect(projection.s_in)
        projection.a_out.connect(post.a_in)
        if "rule" in entry:
            post.s_out.connect(projection.s_in_bap)
    return populations, projections


def make_population(entry, arrays):
    """Make one population as Lava's LIF, LIFReset or LIFLongReset."""
    name = entry["name"]
    common = {key: entry[key] for key in ("vth", "du", "dv", "bias_exp")}
    common.update(shape=(entry["n"],), bias_mant=arrays[f"{name}_bias"], name=name)
    if entry["kind"] == "LIF":
        return LIF(**common)
    resets = {"reset_interval": entry.get("ri"), "reset_offset": entry.get("ro", 0)}
    if entry["kind"] == "LIFReset":
        return LIFReset(**resets, **common)
    return LIFLongReset(
        refractory=arrays[f"{name}_ref"], guard=entry.get("guard", False), **resets, **common
    )


def make_projection(entry, arrays):
    """Make one projection as Lava's Dense, Sparse, DelayDense or LearningDense."""
    name, kind = entry["name"], entry["kind"]
    weights = matrix(arrays, f"{name}_w")
    common = {"weight_exp": entry["exp"], "num_weight_bits": entry["bits"], "name": name}
    if "sign" in entry:
        common["sign_mode"] = SignMode[entry["sign"]]
    if kind == "Sparse":
        return Sparse(weights=csr_matrix(weights), **common)
    if kind == "DelayDense":
        delays = arrays[f"{name}_d"].astype(int)
        return DelayDense(weights=dense(weights), delays=delays, **common)
    if kind == "LearningDense":
        rule = STDPLoihi(**entry["rule"])
        return LearningDense(weights=dense(weights), learning_rule=rule, **common)
    return Dense(weights=dense(weights), **common)


def matrix(arrays, name):
    """Read a stored matrix, dense or csr; None if there is none."""
    if f"{name}_indptr" in arrays:
        parts = tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
        return csr_matrix(parts, shape=tuple(arrays[f"{name}_shape"]))
    return arrays.get(name)


def dense(values):
    """Return a matrix as an array."""
    return values.toarray() if isinstance(values, csr_matrix) else values


def of_length(inputs, steps):
    """Inputs (n, steps), cut or filled with zeros: a RingBuffer starts over at its end."""
    given = dense(inputs[:, :steps])
    filled = np.zeros((given.shape[0], steps), dtype=np.int32)
    filled[:, : given.shape[1]] = given
    return filled


def record(populations, projections, options):
    """Attach a recorder to every variable that is asked for."""
    wanted = options.record.split(",")
    for name, population in populations.items():
        if "s_out" in wanted:
            file = options.result / f"{name}.s_out.npy"
            SpikeRecorder(port=population.s_out, steps=options.steps, file=str(file))
        for variable in ("u", "v"):
            if variable in wanted:
                attach(getattr(population, variable), f"{name}.{variable}", options)
    for name, projection in projections.items():
        if "w" in wanted and isinstance(projection, LearningDense):
            attach(projection.weights, f"{name}.w", options)


def attach(variable, label, options):
    """Record one variable after every step."""
    file = options.result / f"{label}.npy"
    StateRecorder(variable=variable, steps=options.steps, file=str(file))


def run(description, populations, projections, steps):
    """Run episode by episode and return times in seconds and the learned weights."""
    learning = {entry["name"]: entry for entry in description["conns"] if "rule" in entry}
    rules = {name: entry["rule"] for name, entry in learning.items()}
    starts = {name: start_weights(projections[name], learning[name]) for name in learning}
    episode = description.get("episode") or steps
    first = next(iter(populations.values()))
    begin = time.perf_counter()
    first.create_runtime(run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    summary = {"seconds_compile": time.perf_counter() - begin, "seconds_set_back": 0.0}
    summary["seconds_episodes"] = []
    for done in range(0, steps, episode):
        begin = time.perf_counter()
        if done:
            for name, weights in starts.items():
                set_back(projections[name], weights, pending=done % rules[name]["t_epoch"])
        ready = time.perf_counter()
        run_steps(first, min(episode, steps - done))
        summary["seconds_set_back"] += ready - begin
        summary["seconds_episodes"].append(time.perf_counter() - ready)
    summary["final_weights"] = {name: projections[name].weights.get() for name in learning}
    first.stop()
    return summary


def run_steps(process, steps):
    """Run; where a process fails, end with its traceback, since Lava only counts them."""
    try:
        process.run(condition=RunSteps(num_steps=steps))
    except RuntimeError as error:
        actors = process.runtime._messaging_infrastructure.actors
        raise SystemExit("\n".join(a.exception[1] for a in actors if a.exception)) from error


def start_weights(projection, entry):
    """Weights of a learning projection as it uses them from its first step."""
    sign_mode = SignMode[entry["sign"]] if "sign" in entry else SignMode.MIXED
    return truncate_weights(projection.weights.init, sign_mode, entry["bits"])


def set_back(projection, weights, *, pending):
    """Set learned weights and traces to their start, which makes tau and impulses whole numbers.

    With `pending`, in the middle of a learning epoch, the spikes that it noted are forgotten too.
    """
    projection.weights.set(weights)
    for name in ("x1", "y1", "tx", "ty") if pending else ("x1", "y1"):
        variable = getattr(projection, name)
        variable.set(np.zeros(variable.shape))


if __name__ == "__main__":
    main()
