"""Strategies priced in a CPU second, side by side with Calculon in one process and one thread.

The model is Megatron's 1T (128 layers, hidden size 25600) on 3072 A100, batch 3072: Calculon's own
example of an exhaustive search. Both sides price strategies drawn from the same space of legal
ones, of which Calculon takes those within its limits (tensor parallelism inside a node); they take
turns, and the ratio is formed within each turn. The claim: at least 2000 times Calculon's rate.

What is timed is CPU time, of both sides as their own searches run, with all that they report of a
strategy. Calculon's search gives each strategy a logger that writes debug records nowhere, which
takes most of its time; a second figure is against Calculon with a silent logger, and without a bar.
labkit's side is the whole breakdown by part, memory and utilizations; a third figure adds drawing
the strategies from the space and trying the rules.

With ``--exhaustive`` a space of at least as many points as Calculon's own search for this model
has, 7,002,336, is priced as a whole; the claim is less than 60 s and less than 2 GB.

    OMP_NUM_THREADS=1 python benchmarks/llm_parallel_speed.py --calculon /path/to/calculon
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from llm_parallel_peers_arm import Calculon

from labkit.llm_parallel.columns import ParallelColumns
from labkit.llm_parallel.cost import step_time
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.search import exhaustive
from labkit.llm_parallel.space import CHUNK, Space, search_space
from labkit.llm_parallel.systems import system_preset

RATIO_BAR = 2000
SECONDS_BAR, BYTES_BAR = 60.0, 2e9
CALCULON_POINTS = 7_002_336
MODEL, SYSTEM = model_preset("megatron-1t"), system_preset("selene-a100")
DEVICES = BATCH = 3072
NIC_GB_S = SYSTEM.nic_bandwidth * SYSTEM.nics_per_node / SYSTEM.node_size / 1e9
SILENT = logging.getLogger("calculon")
"""Without debug records; each strategy of Calculon's own search has ``logging.Logger("sub")``."""
BOTH_HAVE = {
    "tp": [1, 2, 4, 8],
    "zero_stage": [0, 1],
    "schedule": ["1f1b", "interleaved_1f1b"],
    "recompute": ["none", "full"],
}


def legal(space: Space) -> np.ndarray:
    """Return the points that keep all rules."""
    kept = [index[space.broken(index, space.at(index)) < 0] for index in space.chunks()]
    return np.concatenate(kept)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def fresh_logger() -> logging.Logger:
    """Return a logger as Calculon's search makes one for each strategy."""
    return logging.Logger("sub")  # noqa: LOG001 - that is what is timed


def calculon_calls(calculon: Calculon, strategies: ParallelColumns) -> list[Callable[[Any], Any]]:
    """Return the calls, of a logger, that price the strategies which Calculon takes."""
    frame = strategies.frame().assign(node_size=SYSTEM.node_size)
    system = calculon.system(NIC_GB_S, SYSTEM.node_size)
    shape = {name: getattr(MODEL, name) for name in ("num_layers", "hidden_size", "seq_length")}
    shape |= {"num_attention_heads": MODEL.heads, "ffn_hidden_size": MODEL.ffn_size}
    application = calculon.application(shape)
    calls: list[Callable[[Any], Any]] = []
    for row in json.loads(frame.to_json(orient="records")):

        def call(logger: logging.Logger, row: dict[str, Any] = row) -> dict[str, Any]:
            return calculon.stats(application, calculon.execution(row), system, logger)

        try:
            call(SILENT)
        except calculon.llm.Error:
            continue
        calls.append(call)
    return calls


def side_by_side(folder: str, *, turns: int, n_calculon: int, n_labkit: int, seed: int) -> bool:
    """Print the rates of both sides turn by turn; return whether the claim holds."""
    rng, calculon = np.random.default_rng(seed), Calculon(folder)
    space = search_space(MODEL, SYSTEM, DEVICES, BATCH, **BOTH_HAVE)
    points = legal(space)
    print(f"{len(space)} points, of which {len(points)} are strategies; CPU seconds of one thread")
    rates = []
    for turn in range(turns):
        calls = calculon_calls(calculon, space.at(rng.choice(points, n_calculon)))
        chunks = [rng.choice(points, CHUNK) for _ in range(max(1, n_labkit // CHUNK))]
        drawn = [space.at(index) for index in chunks]
        n = CHUNK * len(chunks)
        theirs = len(calls) / cpu_seconds(lambda c=calls: [f(fresh_logger()) for f in c])
        silent = len(calls) / cpu_seconds(lambda c=calls: [f(SILENT) for f in c])
        priced = cpu_seconds(lambda rows=drawn: [step_time(MODEL, r, SYSTEM) for r in rows])
        made = cpu_seconds(lambda parts=chunks: [space.broken(i, space.at(i)) for i in parts])
        rates.append((theirs, silent, n / priced, n / (priced + made)))
        print(
            f"turn {turn + 1}: Calculon {theirs:.0f} a second, with a silent logger {silent:.0f} "
            f"({len(calls)} strategies); labkit {rates[-1][2]:.0f}, with drawing and checking "
            f"{rates[-1][3]:.0f}"
        )
    theirs_of, silent_of, ours_of, all_of = np.array(rates).T
    for name, ratio in (
        ("labkit / Calculon", ours_of / theirs_of),
        ("labkit / Calculon with a silent logger", ours_of / silent_of),
        ("labkit with drawing and checking / Calculon", all_of / theirs_of),
    ):
        spread = f"{ratio.min():.0f} to {ratio.max():.0f}"
        print(f"{name}: {np.median(ratio):.0f}, median of {turns} turns ({spread})")
    return bool(np.median(ours_of / theirs_of) >= RATIO_BAR)


def whole_space() -> bool:
    """Price a space as large as Calculon's; return whether the claims hold."""
    space = search_space(
        MODEL,
        SYSTEM,
        DEVICES,
        BATCH,
        tp=[1, 2, 4, 8, 16, 32],
        virtual_pp=[1, 2, 4, 8, 16],
        micro_batch_size=[1, 2, 3, 4, 6, 8, 12, 16, 24, 32],
        recompute=["none", "selective", "full"],
        schedule=["gpipe", "1f1b", "interleaved_1f1b", "zb_h1"],
        flash_attention=[False, True],
        overlap_grad_reduce=[False, True],
        grad_dtype=["bfloat16", "float32"],
        rank_order=["tp-cp-dp-pp", "tp-cp-pp-dp"],
        count_embeddings_as_layers=[False, True],
    )
    assert len(space) >= CALCULON_POINTS
    wall, cpu = time.perf_counter(), time.process_time()
    found = exhaustive(space)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"exhaustive, {len(space)} points, {found.n_evaluated} priced: {found.summary()}")
    print(f"{wall:.1f} s ({cpu:.1f} s of CPU), {peak / 1e9:.2f} GB with everything imported")
    return wall < SECONDS_BAR and peak < BYTES_BAR


def main() -> None:
    """Print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calculon", help="folder of a clone of calculon-ai/calculon")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--n-calculon", type=int, default=300, help="strategies a turn")
    parser.add_argument("--n-labkit", type=int, default=400_000, help="strategies a turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exhaustive", action="store_true")
    options = parser.parse_args()
    if options.calculon:
        sizes = {name: getattr(options, name) for name in ("turns", "n_calculon", "n_labkit")}
        holds = side_by_side(options.calculon, **sizes, seed=options.seed)
        print(f"at least {RATIO_BAR} times Calculon: {holds}")
    if options.exhaustive:
        print(f"under {SECONDS_BAR:.0f} s and {BYTES_BAR / 1e9:.0f} GB: {whole_space()}")


if __name__ == "__main__":
    main()
