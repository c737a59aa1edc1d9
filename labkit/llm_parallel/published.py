"""Training speeds that were published, typed in with their sources, as tables and as `Runs`.

Throughputs are turned into seconds with the formula that their authors divided by, for full
recompute [1]_: ``96 B s L h^2 (1 + s / (6 h) + V / (16 L h))`` operations a step.

======  =====================  =========
symbol  column                 unit
======  =====================  =========
L       ``num_layers``         layers
h       ``hidden_size``        elements
s       2048                   tokens
V       51200                  tokens
B       ``global_batch_size``  sequences
======  =====================  =========

.. [1] Narayanan et al., SC'21, eq. 3.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import pandas as pd

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.runs import Runs, runs_of

MEGATRON_SOURCE = "Narayanan et al., SC'21 (arXiv:2104.04473), Table 1"
KORTHIKANTI_SOURCE = "Korthikanti et al., MLSys 2023 (arXiv:2205.05198), Table 5 and Figure 1"
FRONTIER_SOURCE = "Dash et al., ISC 2024 (arXiv:2312.12705), abstract"


def _table(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), sep=r"\s+", na_values="-")


MEGATRON_TABLE_1 = _table("""\
model          tp  pp  virtual_pp  n_devices  global_batch_size  micro_batch_size  tflops
megatron-1.7b   1   1  1             32   512  16  137
megatron-3.6b   2   1  1             64   512  16  138
megatron-7.5b   4   1  1            128   512  16  142
megatron-18b    8   1  1            256  1024   8  135
megatron-39b    8   2  1            512  1536   4  138
megatron-76b    8   4  3           1024  1792   2  140
megatron-146b   8   8  2           1536  2304   2  148
megatron-310b   8  16  2           1920  2160   1  155
megatron-530b   8  35  3           2520  2520   1  163
megatron-1t     8  64  1           3072  3072   1  163
""")
"""Throughput on A100 of 80 GB, with full recompute; ``tflops`` of a device, recompute counted.

Shapes and strategies are those of the reproduction scripts that Megatron-LM holds for the paper.
"""

KORTHIKANTI = _table("""\
model          tp  pp  virtual_pp  global_batch_size  micro_batch_size  seconds_full  \
seconds_selective  activations_gib_none  activations_gib_selective  states_gib
megatron-22b    8   1  1    4  4   1.42   1.10   59.25   9.5625  45.56
gpt-175b        8   8  3   64  1  18.13  13.75   66.84  12.35    45.56
megatron-530b   8  35  3  280  1  49.05  37.83  114.02  23.08    31.64
megatron-1t     8  64  1  512  1  94.42  71.49  131.25  26.56    32.96
""")
"""Seconds of a step on A100 of 80 GB: full recompute, and selective with sequence parallelism.

Memory in GiB of the first stage: ``activations_gib_none`` without recompute and sequence
parallelism, ``states_gib`` weights and optimizer. It follows from the authors' own equations, so
agreement with it is agreement of formulas, not with a measurement.
"""

FRONTIER = _table("""\
model     tp  pp  dp  global_batch_size  micro_batch_size  zero_stage  hfu_percent
gpt-22b    1   8   2   640  1  0  38.38
gpt-175b   4  16   2   640  1  1  36.14
gpt-1t     8  64   1  1600  1  1  31.96
""")
"""Hardware FLOP utilization on MI250X, recompute counted, of 191.5 Tflop/s for each of its halves.

The percentages are from the abstract, the strategies from the authors' launch scripts. The batch
of the 1T model is not stated there; 1600 is assumed.
"""

FRONTIER_SCALING = _table("""\
model     kind    n_devices  efficiency_percent
gpt-175b  weak    1024  100
gpt-1t    weak    3072  100
gpt-175b  strong  1024   89
gpt-1t    strong  3072   87
""")
"""Scaling efficiency on Frontier, from the abstract."""

PUBLISHED_ERRORS = pd.DataFrame(
    [
        ("vTrain single", "published: vTrain", 1440, 8.37, "Bang et al., MICRO 2024"),
        ("vTrain multi", "published: vTrain", 109, 14.73, "Bang et al., MICRO 2024"),
        ("Korthikanti", "Calculon's own validation", 8, 3.65, "calculon llm-validation, 2024-02"),
    ],
    columns=["set", "method", "n", "mape_percent", "source"],
)
"""What other tools report of themselves: mean absolute percentage errors of step times.

vTrain's figures are its paper's, for measurements of its authors; whether their single-node ones
are those of the table that `labkit.llm_parallel.runs.load_vtrain` reads, its notes make doubtful.
Calculon's is printed by its own command, on the rows that its constants were chosen on.
"""


def published_runs(name: Literal["megatron", "korthikanti", "frontier"]) -> Runs:
    """Return a published table as runs.

    Raises
    ------
    ParameterError
        There is no such table.

    Examples
    --------
    >>> published_runs("megatron").seconds.round(1)[:3]
    array([3.5, 3.7, 3.7])
    """
    tables = {"megatron": megatron_runs, "korthikanti": korthikanti_runs, "frontier": frontier_runs}
    if name not in tables:
        raise ParameterError(not_allowed("name", name, tables))
    return tables[name]()


def megatron_runs() -> Runs:
    """Return `MEGATRON_TABLE_1` as 10 runs, in seconds of a step."""
    table = MEGATRON_TABLE_1
    strategies = [
        _strategy(row, dp=row.n_devices // (row.tp * row.pp), recompute="full")
        for row in table.itertuples()
    ]
    return _with_seconds(table, strategies, table["tflops"].to_numpy() * 1e12, MEGATRON_SOURCE)


def korthikanti_runs() -> Runs:
    """Return `KORTHIKANTI` as 8 runs: 4 with full recompute, then 4 selective."""
    full = [_strategy(row, recompute="full") for row in KORTHIKANTI.itertuples()]
    selective = [s.replace(recompute="selective", sequence_parallel=True) for s in full]
    models = [model_preset(name) for name in KORTHIKANTI["model"]]
    seconds = [*KORTHIKANTI["seconds_full"], *KORTHIKANTI["seconds_selective"]]
    source = f"published: {KORTHIKANTI_SOURCE}"
    return runs_of(models * 2, full + selective, seconds, source=source)


def frontier_runs(*, peak_flops: float = 191.5e12) -> Runs:
    """Return `FRONTIER` as 3 runs, in seconds of a step of a device of `peak_flops`."""
    strategies = [
        _strategy(row, dp=row.dp, zero_stage=row.zero_stage, recompute="full", flash_attention=True)
        for row in FRONTIER.itertuples()
    ]
    rate = FRONTIER["hfu_percent"].to_numpy() / 100 * peak_flops
    return _with_seconds(FRONTIER, strategies, rate, FRONTIER_SOURCE)


def _strategy(
    row: object,
    *,
    recompute: str,
    dp: int = 1,
    zero_stage: int = 0,
    flash_attention: bool = False,
) -> ParallelConfig:
    """Strategy of a row; these runs computed in float16 and reduced float16 gradients."""
    sizes = ("tp", "pp", "virtual_pp", "global_batch_size", "micro_batch_size")
    values: dict[str, Any] = {name: int(getattr(row, name, 1)) for name in sizes}
    return ParallelConfig(
        **values,
        dp=int(dp),
        zero_stage=int(zero_stage),
        recompute=recompute,
        flash_attention=flash_attention,
        schedule="interleaved_1f1b" if values["virtual_pp"] > 1 else "1f1b",
        param_dtype="float16",
        grad_dtype="float16",
    )


def _with_seconds(
    table: pd.DataFrame, strategies: list[ParallelConfig], flops: np.ndarray, source: str
) -> Runs:
    """Runs of a table of throughputs, in operations a second of a device."""
    models = [model_preset(name) for name in table["model"]]
    seconds = [
        _counted_operations(model.num_layers, model.hidden_size, model.seq_length, model.vocab_size)
        * strategy.global_batch_size
        / (strategy.n_devices * rate)
        for model, strategy, rate in zip(models, strategies, flops, strict=True)
    ]
    return runs_of(models, strategies, seconds, source=f"published: {source}")


def _counted_operations(layers: int, hidden: int, seq: int, vocab: int) -> float:
    """Operations of a sequence, with full recompute, as the authors count them."""
    shape = 1 + seq / (6 * hidden) + vocab / (16 * layers * hidden)
    return 96 * seq * layers * hidden**2 * shape
