"""Every strategy trains as one process does: equal losses after updates of the weights.

The loss of step i depends on all gradients and updates before it, so equal losses over five steps
say that these are right too. The bound is four orders of magnitude above what rounding of 64-bit
numbers does here, and far below the effect of any wrong or missing term.
"""

from __future__ import annotations

import pytest

from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.models import model_preset
from labkit.llm_parallel.parameters import stage_parameters
from labkit.llm_parallel.runtime.job import Job
from labkit.llm_parallel.runtime.single import single_process

BOUND = 1e-10
GPT = {}
LLAMA = {
    "position": "rope",
    "normalization": "rmsnorm",
    "gated_mlp": True,
    "num_query_groups": 2,
    "bias": False,
    "tie_embeddings": False,
}
"""What Llama has and a GPT has not."""
LOOP = {"virtual_pp": 2, "schedule": "interleaved_1f1b"}

TWO = (
    (GPT, {"tp": 2}),
    (LLAMA, {"tp": 2, "recompute": "selective", "flash_attention": False}),
    (GPT, {"tp": 2, "sequence_parallel": True}),
    (LLAMA, {"tp": 2, "sequence_parallel": True, "recompute": "full"}),
    (GPT, {"dp": 2, "zero_stage": 0}),
    (GPT, {"dp": 2, "zero_stage": 1}),
    (LLAMA, {"dp": 2, "zero_stage": 2}),
    (GPT, {"dp": 2, "zero_stage": 3, "recompute": "full"}),
    (GPT, {"pp": 2, "schedule": "gpipe"}),
    (GPT, {"pp": 2, "schedule": "1f1b"}),
    (LLAMA, {"pp": 2, "schedule": "1f1b", "recompute": "full"}),
    (GPT, {"pp": 2, **LOOP}),
    (GPT, {"pp": 2, "virtual_pp": 2, "schedule": "looped_bfs"}),
    (GPT, {"pp": 2, "schedule": "zb_h1"}),
    (LLAMA, {"pp": 2, "virtual_pp": 2, "schedule": "zb_h1", "recompute": "full"}),
    (GPT, {"pp": 2, "virtual_pp": 2, "schedule": "zbv"}),
    (GPT, {"pp": 2, "count_embeddings_as_layers": True}),
)
FOUR = (
    (GPT, {"pp": 2, "dp": 2, "micro_batch_size": 1}),
    (GPT, {"pp": 2, "dp": 2, "zero_stage": 0, "rank_order": "tp-cp-pp-dp", **LOOP}),
    (GPT, {"pp": 2, "dp": 2, "virtual_pp": 2, "schedule": "zbv"}),
    (LLAMA, {"pp": 2, "tp": 2, "sequence_parallel": True, "schedule": "zb_h1"}),
    (GPT, {"pp": 2, "tp": 2}),
    (GPT, {"dp": 2, "tp": 2, "zero_stage": 3}),
    (LLAMA, {"dp": 2, "tp": 2, "zero_stage": 0, "sequence_parallel": True}),
    (GPT, {"pp": 4, "micro_batch_size": 1}),
)
EIGHT = (
    (GPT, {"pp": 2, "dp": 2, "tp": 2}),
    (LLAMA, {"pp": 2, "dp": 2, "tp": 2, "sequence_parallel": True, **LOOP}),
)


def _job(model: dict[str, object], strategy: dict[str, object]) -> Job:
    values = {
        "global_batch_size": 8,
        "micro_batch_size": 4 if "pp" not in strategy and "dp" not in strategy else 2,
        "param_dtype": "float64",
        "grad_dtype": "float64",
        **strategy,
    }
    return Job(
        model=model_preset("gpt-tiny", num_layers=4, seq_length=16, **model),
        parallel=ParallelConfig(**values),
        device="cpu",
    )


@pytest.mark.parametrize("cases", [TWO, FOUR, EIGHT], ids=["two", "four", "eight"])
def test_losses_equal_those_of_one_process(cases, train_all):
    jobs = [_job(*case) for case in cases]
    alone = {case: single_process(job) for case, job in _whole(cases, jobs).items()}
    for (model, strategy), job, ranks in zip(cases, jobs, train_all(jobs), strict=True):
        for own in ranks:
            expected = alone[_key(model)]
            differences = [abs(a - b) for a, b in zip(own["losses"], expected, strict=True)]
            assert max(differences) <= BOUND, (model, strategy, differences)
        assert own["losses"][-1] < own["losses"][0] - 0.1, "it learns, so updates matter"
        _assert_parameters(job, ranks)


def _assert_parameters(job, ranks):
    """Ranks hold what the parameter count says; a V has its two ends as two parts, hence twice."""
    strategy, model = job.parallel, job.model
    order = strategy.rank_order.split("-")
    stride = strategy.tp * (strategy.dp if order.index("dp") < order.index("pp") else 1)
    for rank, own in enumerate(ranks):
        stage = rank // stride % strategy.pp
        expected = int(stage_parameters(model, strategy, stage)[0])
        if strategy.schedule == "zbv" and stage == 0 and model.tie_embeddings:
            expected += model.vocab_size * model.hidden_size // strategy.tp
        assert own["parameters"] == expected, (strategy, rank)


def _key(model):
    return "llama" if model else "gpt"


def _whole(cases, jobs):
    return {_key(model): job for (model, _), job in zip(cases, jobs, strict=True)}
