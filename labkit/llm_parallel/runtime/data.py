"""Text as a stream of bytes, and the batches that training reads from it.

Batch i of a run is B windows of s + 1 bytes at places drawn by a generator of (seed, i) alone.
Replica r of d reads rows r B / d to (r + 1) B / d. So all strategies train on the same batches, and
nothing has to be sent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from labkit.llm_parallel.runtime.job import SYNTHETIC, Job

SYNTHETIC_BYTES = 1 << 16
_SUBJECTS = ("the rank", "a stage", "the model", "one replica", "the schedule", "a micro-batch")
_VERBS = ("waits for", "sends to", "holds", "computes", "reduces", "reads")
_OBJECTS = ("its neighbor", "the gradient", "the next layer", "all weights", "a token", "the loss")


class TextBatches:
    """Batches of windows of a text.

    Parameters
    ----------
    data : str
        Path of a file, or ``"synthetic"``.
    seq_length : int
    global_batch_size : int
    seed : int

    Examples
    --------
    >>> batches = TextBatches("synthetic", seq_length=8, global_batch_size=4, seed=0)
    >>> tokens, targets = batches.batch(0, replica=0, n_replicas=2)
    >>> tokens.shape, bool((tokens[:, 1:] == targets[:, :-1]).all())
    (torch.Size([2, 8]), True)
    """

    def __init__(self, data: str, *, seq_length: int, global_batch_size: int, seed: int) -> None:
        text = synthetic_text() if data == SYNTHETIC else Path(data).read_bytes()
        self.text = np.frombuffer(text, np.uint8)
        self.seq_length = seq_length
        self.global_batch_size = global_batch_size
        self.seed = seed

    @classmethod
    def of(cls, job: Job) -> TextBatches:
        """Return the batches of a job."""
        return cls(
            job.data,
            seq_length=job.model.seq_length,
            global_batch_size=job.parallel.global_batch_size,
            seed=job.seed,
        )

    def batch(self, step: int, *, replica: int = 0, n_replicas: int = 1) -> tuple[Tensor, Tensor]:
        """Return the tokens of one replica, and the tokens that follow each of them.

        Returns
        -------
        tuple of Tensor of int64, shape (global_batch_size / n_replicas, seq_length)
        """
        generator = np.random.default_rng((self.seed, step))
        last = len(self.text) - self.seq_length
        starts = generator.integers(0, last, self.global_batch_size)
        share = self.global_batch_size // n_replicas
        mine = starts[replica * share : (replica + 1) * share]
        windows = self.text[mine[:, None] + np.arange(self.seq_length + 1)]
        tokens = torch.from_numpy(windows.astype(np.int64))
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def synthetic_text(n_bytes: int = SYNTHETIC_BYTES) -> bytes:
    """Return made-up sentences, always the same, from which something can be learned.

    Examples
    --------
    >>> synthetic_text(40)
    b'a micro-batch computes all weights. a st'
    """
    generator = np.random.default_rng(0)
    sentences: list[str] = []
    length = 0
    while length < n_bytes:
        words = (generator.choice(part) for part in (_SUBJECTS, _VERBS, _OBJECTS))
        sentences.append(" ".join(words) + ". ")
        length += len(sentences[-1])
    return "".join(sentences).encode()[:n_bytes]
