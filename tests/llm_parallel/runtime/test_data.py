"""Replicas read the batch of one process in shares, and nothing else."""

from __future__ import annotations

import pytest
import torch

from labkit.llm_parallel.runtime.data import TextBatches, synthetic_text


def _batches(data="synthetic", **changes):
    values = {"seq_length": 16, "global_batch_size": 12, "seed": 0, **changes}
    return TextBatches(data, **values)


@pytest.mark.parametrize("n_replicas", [1, 2, 3, 4, 6, 12])
def test_shares_of_replicas_are_the_batch_of_one_process(n_replicas):
    batches = _batches()
    whole = batches.batch(3)
    shares = [batches.batch(3, replica=i, n_replicas=n_replicas) for i in range(n_replicas)]
    for place in (0, 1):
        assert torch.equal(torch.cat([share[place] for share in shares]), whole[place])


def test_each_target_is_the_token_that_follows():
    tokens, targets = _batches().batch(0)
    assert torch.equal(tokens[:, 1:], targets[:, :-1])
    assert tokens.dtype == targets.dtype == torch.int64


def test_batches_follow_from_seed_and_step_alone():
    assert torch.equal(_batches().batch(5)[0], _batches().batch(5)[0])
    assert not torch.equal(_batches().batch(5)[0], _batches().batch(6)[0])
    assert not torch.equal(_batches().batch(5)[0], _batches(seed=1).batch(5)[0])


def test_a_text_of_one_sequence_is_read_to_its_last_byte(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(bytes(range(17)))
    tokens, targets = _batches(str(path)).batch(0)
    assert torch.equal(tokens, torch.arange(16).expand(12, 16))
    assert torch.equal(targets, torch.arange(1, 17).expand(12, 16))


def test_real_text_is_read_as_it_is(labkit_data):
    path = labkit_data / "llm_parallel" / "text" / "tinyshakespeare.txt"
    tokens, _ = _batches(str(path), seq_length=40).batch(0)
    text = path.read_bytes()
    for row in tokens:
        assert bytes(row.tolist()) in text


def test_synthetic_text_is_made_of_sentences_that_repeat():
    text = synthetic_text()
    assert len(text) == 1 << 16
    sentences = text.decode().split(". ")
    assert 100 < len(set(sentences)) <= 6**3 + 1, "the last one may be cut"
