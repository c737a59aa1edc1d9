"""The peers' side of llm_parallel_peers.py and llm_parallel_speed.py; the standard library only.

Calculon is plain Python: its clone is imported where this file is. llm-analysis needs packages of
its own: `main` runs in an environment that has it, reads rows as JSON from standard input and
answers with seconds for each efficiency.

A row is a mapping with the names of `ModelConfig` and `ParallelConfig`, plus ``node_size`` and
``nic_gb_s``: bytes a second of the network cards that one device has, in 10^9.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EFFICIENCIES = (0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65)
"""Of llm-analysis, which has no default: a user states one."""
RECOMPUTE = {"none": "none", "selective": "attn_only", "full": "full"}


class Calculon:
    """Calculon from a clone of its repository.

    Parameters
    ----------
    folder : str
        The clone.
    system : str
        One of its own files of A100 systems, such as ``"a100_80g"``.
    """

    def __init__(self, folder: str, system: str = "a100_80g") -> None:
        if folder not in sys.path:
            sys.path.insert(0, folder)
        from calculon import System
        from calculon.llm import Llm

        self._system_of, self.llm = System, Llm
        self._file = json.loads((Path(folder) / "systems" / f"{system}.json").read_text())

    def system(self, nic_gb_s: float, node_size: int) -> Any:
        """Return its A100 with other network cards, and with memory without end."""
        changed = json.loads(json.dumps(self._file))
        changed["mem1"]["GiB"] = 80_000_000_000  # as in its own a100_80e: time, not memory
        inside, outside = changed["networks"]
        inside["size"], outside["bandwidth"] = node_size, nic_gb_s
        return self._system_of(changed)

    def application(self, row: dict[str, Any]) -> Any:
        """Return the model of a row."""
        heads = row["num_attention_heads"]
        return self.llm.Application(
            {
                "hidden": row["hidden_size"],
                "feedforward": row["ffn_hidden_size"],
                "seq_size": row["seq_length"],
                "attn_heads": heads,
                "attn_size": row["hidden_size"] // heads,
                "num_blocks": row["num_layers"],
            }
        )

    def execution(self, row: dict[str, Any]) -> Any:
        """Return the strategy of a row; ranks are in the order tensor, data, pipeline."""
        tp, pp, dp, size = row["tp"], row["pp"], row["dp"], row["node_size"]
        scattered = bool(row["sequence_parallel"])
        return self.llm.Execution.from_json(
            {
                "num_procs": tp * pp * dp,
                "tensor_par": tp,
                "pipeline_par": pp,
                "data_par": dp,
                "tensor_par_net": 0,
                "pipeline_par_net": int(tp * dp * pp > size),
                "data_par_net": int(tp * dp > size),
                "batch_size": row["global_batch_size"],
                "microbatch_size": row["micro_batch_size"],
                "datatype": "float16",
                "fused_activation": False,
                "attention_type": "multihead",
                "activation_recompute": RECOMPUTE[row["recompute"]],
                "pipeline_interleaving": row["virtual_pp"],
                "optimizer_sharding": row["zero_stage"] > 0 and dp > 1,
                "tensor_par_comm_type": "rs_ag" if scattered else "ar",
                "tensor_par_overlap": "none",
                "seq_par_ag_redo": scattered and row["recompute"] != "full",
                "data_par_overlap": False,
                "weight_offload": False,
                "activations_offload": False,
                "optimizer_offload": False,
                "training": True,
            }
        )

    def stats(
        self, application: Any, execution: Any, system: Any, logger: logging.Logger
    ) -> dict[str, Any]:
        """Evaluate one strategy with everything that Calculon reports of it."""
        model = self.llm(application, logger)
        model.compile(system, execution)
        model.run(system)
        return dict(model.get_stats_json(False))

    def seconds(self, rows: Sequence[dict[str, Any]]) -> list[float | str]:
        """Return the time of each row, or why Calculon refuses it."""
        answers: list[float | str] = []
        logger = logging.getLogger("calculon")
        for row in rows:
            system = self.system(row["nic_gb_s"], row["node_size"])
            try:
                stats = self.stats(self.application(row), self.execution(row), system, logger)
            except self.llm.Error as error:
                answers.append(str(error))
            except AssertionError as error:
                answers.append(f"assertion: {error}")
            else:
                answers.append(float(stats["total_time"]))
        return answers


def llm_analysis_seconds(rows: Sequence[dict[str, Any]]) -> dict[str, list[float | str]]:
    """Return the time of each row for each efficiency, or why llm-analysis refuses it."""
    from llm_analysis.analysis import (
        ActivationRecomputation,
        DSZeRO,
        DtypeConfig,
        GPUConfig,
        LLMAnalysis,
        ModelConfig,
        ParallelismConfig,
        get_gpu_config_by_name,
    )

    logging.disable(logging.CRITICAL)
    gpu: GPUConfig = get_gpu_config_by_name("a100-sxm-80gb")
    answers: dict[str, list[float | str]] = {}
    for efficiency in EFFICIENCIES:
        times: list[float | str] = []
        for row in rows:
            model = ModelConfig(
                name="row",
                num_layers=row["num_layers"],
                n_head=row["num_attention_heads"],
                hidden_dim=row["hidden_size"],
                vocab_size=row["vocab_size"],
                max_seq_len=row["seq_length"],
                ffn_embed_dim=row["ffn_hidden_size"],
                num_key_value_heads=row["num_query_groups"],
            )
            spread = ParallelismConfig(
                tp_size=row["tp"],
                pp_size=row["pp"],
                dp_size=row["dp"],
                sp_size=row["tp"] if row["sequence_parallel"] else 1,
            )
            try:
                analysis = LLMAnalysis(
                    model, gpu, DtypeConfig(), spread, flops_efficiency=efficiency
                )
                summary = analysis.training(
                    batch_size_per_gpu=row["micro_batch_size"],
                    global_batch_size=row["global_batch_size"],
                    seq_len=row["seq_length"],
                    activation_recomputation=ActivationRecomputation[row["recompute"].upper()],
                    ds_zero=DSZeRO(row["zero_stage"]),
                    flash_attn=bool(row["flash_attention"]),
                )
            except (AssertionError, ValueError) as error:
                times.append(f"{type(error).__name__}: {error}")
            else:
                times.append(float(summary["latency_per_iter"]))
        answers[f"{efficiency:.2f}"] = times
    return answers


def main() -> None:
    """Answer for llm-analysis."""
    json.dump(llm_analysis_seconds(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
