"""The run of a job in this one process, in plain torch: what every strategy is compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from labkit.devices import pick_device
from labkit.llm_parallel.runtime.data import TextBatches
from labkit.llm_parallel.runtime.data_parallel import make_optimizer, master_dtype
from labkit.llm_parallel.runtime.job import Job, require_text
from labkit.llm_parallel.runtime.model import GPT, initialize


def single_process(job: Job) -> tuple[float, ...]:
    """Return the loss of each step of a job, with neither processes nor collectives.

    Numbers have the type of the optimizer's: float64 where ``param_dtype`` is, else float32. With
    dropout the losses of a strategy differ, as its random numbers do.

    Parameters
    ----------
    job : Job
        Of its strategy only batch sizes, attention, recompute and numbers count.

    Raises
    ------
    MissingDataError
        The text is not there.

    Examples
    --------
    >>> from labkit.llm_parallel.config import ParallelConfig
    >>> from labkit.llm_parallel.models import model_preset
    >>> strategy = ParallelConfig(dp=2, global_batch_size=4, param_dtype="float32")
    >>> losses = single_process(Job(model=model_preset("gpt-tiny"), parallel=strategy, steps=3))
    >>> losses[0] > losses[1] > losses[2]
    True
    """
    require_text(job)
    device = pick_device(job.device)
    torch.manual_seed(job.seed + 1)
    whole = GPT(
        job.model,
        flash_attention=job.parallel.flash_attention,
        recompute=job.parallel.recompute,
        device=device,
        dtype=master_dtype(job.parallel),
    )
    initialize(whole, seed=job.seed)
    optimizer = make_optimizer(
        list(whole.parameters()), learning_rate=job.learning_rate, weight_decay=job.weight_decay
    )
    batches = TextBatches.of(job)
    return tuple(_step(whole, optimizer, batches, step, job) for step in range(job.steps))


def _step(
    whole: GPT, optimizer: torch.optim.Optimizer, batches: TextBatches, step: int, job: Job
) -> float:
    tokens, targets = batches.batch(step)
    size = job.parallel.micro_batch_size
    device = next(whole.parameters()).device
    total = 0.0
    optimizer.zero_grad()
    for x, wanted in zip(tokens.split(size), targets.split(size), strict=True):
        logits = whole(x.to(device))
        mean = F.cross_entropy(logits.flatten(0, 1), wanted.flatten().to(device))
        loss = mean * (size / len(tokens))
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total
