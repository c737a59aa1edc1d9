"""Training: it learns, seeds decide everything, threads change nothing, collapse is noticed."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch

from labkit.errors import LabkitError, ParameterError
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.fitted import has_collapsed, units_active
from labkit.hotspots.optimization import Adam, reproducible
from labkit.hotspots.ranking import rank_atoms
from labkit.hotspots.temporal import AtomWindows, atom_windows, time_blocks
from labkit.hotspots.training import (
    FAST,
    PRESETS,
    CollapsedLatentError,
    CVAEConfig,
    FittedCVAE,
    fit_cvae,
    fit_ensemble,
    require_active,
    training_notes,
)

SHORT = dataclasses.replace(FAST, epochs=5, warmup=2)
TINY = CVAEConfig(latent_dim=2, filters=(4,), strides=(2,), dense=8, epochs=2, batch_size=32)


@pytest.fixture(scope="module")
def ergotamine() -> AtomWindows:
    """Every atom of the packaged trajectory over its pocket, with the study's defaults."""
    return atom_windows(compute_contacts(example("ergotamine")).pocket())


@pytest.fixture(scope="module")
def ensemble(ergotamine) -> list[FittedCVAE]:
    """Two seeds, trained at the same time."""
    return fit_ensemble(ergotamine, SHORT, seeds=[0, 1], n_jobs=2)


@pytest.fixture(scope="module")
def small() -> AtomWindows:
    """Four atoms that switch between two residues, each at its own pace."""
    frames = np.arange(160)[:, None]
    left = (frames // np.array([5, 10, 20, 40])) % 2
    return atom_windows(np.stack([left, 1 - left], axis=2), window=8, stride=4)


def held_out_images(windows: AtomWindows) -> tuple[np.ndarray, np.ndarray]:
    images = windows.flat()
    return tuple(images[mask[windows.time_index]] for mask in time_blocks(windows))


def mean_image_nats(windows: AtomWindows) -> float:
    """Cross-entropy of held-out images if each pixel is predicted by its mean in training."""
    train, valid = held_out_images(windows)
    p = np.clip(train.mean(axis=0), 1e-3, 1 - 1e-3)
    return float(-(valid * np.log(p) + (1 - valid) * np.log1p(-p)).sum(axis=(1, 2, 3)).mean())


def test_held_out_time_is_described_better_than_by_the_mean_image(ergotamine, ensemble):
    _, valid = held_out_images(ergotamine)
    baseline = mean_image_nats(ergotamine)
    for fit in ensemble:
        # KL included: the latent vector pays for itself, by far more than 10 nats.
        assert fit.negative_elbo(valid) < baseline - 10


def test_real_contacts_leave_no_latent_unit_unused(ensemble):
    for fit in ensemble:
        assert not fit.collapsed
        assert fit.kl.sum() > 1
        assert fit.active_units >= 4


def test_history_holds_the_objective_of_every_epoch(ensemble):
    history = ensemble[0].history
    assert history.epoch.tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(history.beta, [1 / 2, 1, 1, 1, 1])
    assert history.loss.iloc[-1] < history.loss.iloc[0]
    np.testing.assert_allclose(history.valid_loss, history.valid_reconstruction + history.valid_kl)
    # Free bits only add: L >= reconstruction + beta * KL, by at most 8 units of 0.25 nats.
    excess = history.loss - history.reconstruction - history.beta * history.kl
    assert excess.min() > -1e-3
    assert (excess < 8 * 0.25 * history.beta + 1e-3).all()


def test_last_validation_loss_is_the_negative_elbo_of_the_held_out_images(ergotamine, ensemble):
    _, valid = held_out_images(ergotamine)
    fit = ensemble[1]
    expected = fit.negative_elbo(valid, seed=1)
    assert fit.history.valid_loss.iloc[-1] == pytest.approx(expected, rel=1e-5)


def test_same_seed_gives_identical_results_alone_and_beside_others(ergotamine, ensemble):
    alone = fit_cvae(ergotamine, SHORT, seed=1)
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weight, ensemble[1].model.state_dict()[name])
    assert alone.history.equals(ensemble[1].history)
    assert np.array_equal(alone.latent(ergotamine), ensemble[1].latent(ergotamine))
    assert not np.array_equal(alone.latent(ergotamine), ensemble[0].latent(ergotamine))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_same_seed_gives_identical_results_on_a_gpu_and_similar_ones_on_a_cpu(small):
    gpu, again = (fit_cvae(small, TINY, seed=3, device="cuda") for _ in range(2))
    cpu = fit_cvae(small, TINY, seed=3, device="cpu")
    assert gpu.history.equals(again.history)
    np.testing.assert_allclose(gpu.history.loss, cpu.history.loss, rtol=1e-3)


def test_latent_vectors_are_those_of_each_atom_and_window(ergotamine, ensemble):
    latent = ensemble[0].latent(ergotamine)
    assert latent.shape == (43, 53, 8)
    one = ensemble[0].encode(ergotamine.images[5, 7][None, None])
    np.testing.assert_allclose(latent[5, 7], one.mu[0], atol=1e-5)
    assert one.log_var.shape == (1, 8)


def test_reconstructions_look_like_their_own_image_most(ergotamine, ensemble):
    images = ergotamine.flat()[::40]
    found = ensemble[0].reconstruct(images)
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 1
    error = ((found[:, None] - images[None]) ** 2).sum(axis=(2, 3, 4))
    # Windows of one atom resemble each other; half are nearest to themselves out of 57.
    assert (error.argmin(axis=1) == np.arange(len(images))).mean() > 0.5


def test_images_of_another_shape_are_refused(small, ensemble):
    with pytest.raises(ParameterError, match=r"\(1, 8, 2\) .* \(1, 16, 41\)"):
        ensemble[0].latent(small)


def test_training_leaves_random_state_and_threads_as_they_were(small):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        fit_ensemble(small, TINY, seeds=range(4), n_jobs=2, allow_collapsed=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_thread_lasts_until_the_last_that_wants_it_leaves():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = reproducible(), reproducible()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_num_threads() == 1
        second.__exit__(None, None, None)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_is_told_of_every_epoch_in_the_calling_thread(small, n_jobs):
    told = []

    def progress(done: int, total: int, text: str) -> None:
        told.append((done, total, threading.current_thread() is threading.main_thread()))

    fit_ensemble(
        small, TINY, seeds=range(3), n_jobs=n_jobs, allow_collapsed=True, progress=progress
    )
    assert told == [(k, 6, True) for k in range(1, 7)]


def test_an_interruption_ends_all_threads(small):
    long = dataclasses.replace(TINY, epochs=100_000)

    def interrupt(_done: int, _total: int, _text: str) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        fit_ensemble(small, long, seeds=range(4), n_jobs=2, progress=interrupt)
    assert threading.active_count() == before


class Unreadable(AtomWindows):
    """Images whose memory is gone after a while."""

    reads = itertools.count()

    def take(self, index: np.ndarray) -> np.ndarray:
        if next(self.reads) == 500:
            raise MemoryError("these images cannot be read")
        return super().take(index)


def test_an_error_in_one_thread_ends_all_and_is_the_one_raised(small):
    long = dataclasses.replace(TINY, epochs=100_000)
    fields = {field.name: getattr(small, field.name) for field in dataclasses.fields(small)}
    with pytest.raises(MemoryError, match="cannot be read"):
        fit_ensemble(Unreadable(**fields), long, seeds=range(3), n_jobs=2)


def test_constant_images_collapse_and_the_error_says_what_to_do():
    constant = atom_windows(np.full((120, 3, 4), 0.2))
    with pytest.raises(CollapsedLatentError, match=r"2 of 2 fits .*seed 0: KL .*free_bits") as info:
        fit_ensemble(constant, dataclasses.replace(SHORT, epochs=30), seeds=[0, 1])
    assert isinstance(info.value, LabkitError)


def test_frames_without_motion_are_refused_however_much_atoms_differ(ergotamine):
    frame = ergotamine.images[:, 0, :1].transpose(1, 0, 2)
    still = atom_windows(np.repeat(frame, 120, axis=0))
    fit = fit_cvae(still, dataclasses.replace(FAST, epochs=10))
    mu = fit.latent(still)
    # KL and differences between atoms alone would let it pass.
    assert fit.kl.sum() > 1
    assert units_active(mu.reshape(-1, 8)) >= 4
    assert (fit.active_units, fit.collapsed, fit.motionless) == (0, True, True)
    with pytest.raises(CollapsedLatentError, match=r"Nothing moves: in 1 of 1 fits .*trajectory"):
        require_active([fit])
    with pytest.raises(ParameterError, match="Nothing moves"):
        rank_atoms([mu], windows=still)


def test_a_unit_is_active_only_if_it_varies_in_time():
    rng = np.random.default_rng(0)
    mu = np.repeat(rng.normal(size=(5, 1, 4)), 40, axis=1)
    mu += rng.normal(0, 1e-7, mu.shape)
    mu[2, :, :3] += rng.normal(0, 0.1, (40, 3))
    assert units_active(mu.reshape(-1, 4)) == 4
    assert units_active(mu) == 3


def with_history(fit: FittedCVAE, valid_loss: list[float], **changes) -> FittedCVAE:
    n = len(valid_loss)
    history = dict.fromkeys(("reconstruction", "kl"), np.linspace(9, 5, n))
    config = dataclasses.replace(fit.config, epochs=n, **changes)
    history = pd.DataFrame({"valid_loss": valid_loss, **history})
    return dataclasses.replace(fit, config=config, history=history)


def test_training_that_ended_too_early_is_noted(small):
    fit = fit_cvae(small, TINY)
    settled = with_history(fit, [90.0, 50.0, 20.2, 20.1, 20.0, 20.0], warmup=6)
    assert training_notes([settled]) == ()
    # 3 % in three epochs are the limit.
    falling = with_history(fit, [50.0, 103.1, 102.0, 101.0, 100.0], warmup=0)
    [note] = training_notes([settled, dataclasses.replace(falling, seed=7)])
    assert "still falling by 1.0% per epoch" in note
    assert "(seed 7)" in note
    assert training_notes([with_history(fit, [50.0, 102.9, 102, 101, 100], warmup=0)]) == ()
    [note] = training_notes([with_history(fit, [20.0] * 5, warmup=6)] * 2)
    assert "warm-up (all seeds): epochs=5 are fewer than warmup=6" in note
    # Without held-out time the training loss is looked at: from 9 to 5 within 5 epochs.
    [note] = training_notes([with_history(fit, [np.nan] * 5, warmup=0)])
    assert "20.0% per epoch" in note


def test_one_epoch_is_noted_as_unfinished(small):
    fit = fit_cvae(small, dataclasses.replace(TINY, epochs=1))
    first, second = training_notes([fit])
    assert "epochs=1 are fewer than warmup=10" in first
    assert "One epoch cannot show" in second


def test_too_much_weight_on_the_prior_is_noticed_as_collapse(ergotamine):
    heavy = dataclasses.replace(SHORT, beta=200.0, warmup=0, free_bits=0.0, epochs=3)
    fit = fit_cvae(ergotamine, heavy)
    assert fit.collapsed
    with pytest.raises(CollapsedLatentError, match="1 of 1"):
        require_active([fit])


def test_information_that_free_bits_give_away_does_not_count_as_activity():
    # Every image has the same posterior, away from the prior: 2 nats of KL, no information.
    mu = np.tile(np.full(8, np.sqrt(0.5)), (100, 1))
    kl = np.full(8, 0.25)
    assert kl.sum() > 1
    assert units_active(mu) == 0
    assert has_collapsed(kl, units_active(mu))
    mu[:, :4] += np.random.default_rng(0).normal(0, 1, (100, 4))
    assert units_active(mu) == 4
    assert not has_collapsed(kl, 4)


def test_without_validation_all_windows_are_trained_on(small):
    fit = fit_cvae(small, dataclasses.replace(TINY, validation=0.0))
    assert fit.history.valid_loss.isna().all()
    assert np.isfinite(fit.history.loss).all()


def test_one_residue_and_one_atom_can_be_trained_on():
    C = np.random.default_rng(0).random((200, 1, 1))
    fit = fit_cvae(atom_windows(C, window=5, stride=1), TINY)
    assert fit.latent(atom_windows(C, window=5, stride=3)).shape == (1, 66, 2)


def test_a_frozen_model_cannot_be_trained_on_by_mistake(small):
    fit = fit_cvae(small, TINY)
    assert not any(p.requires_grad for p in fit.model.parameters())
    assert not fit.model.training


def test_steps_are_those_of_torch_adam_with_clipped_gradients():
    ours, theirs = (torch.nn.Linear(6, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 6, generator=generator), 5 * torch.randn(20, 3, generator=generator)
    optimizer = Adam(ours.parameters(), lr=0.05, max_norm=1.0)
    reference = torch.optim.Adam(theirs.parameters(), lr=0.05, fused=True)
    for _ in range(10):
        optimizer.step((ours(x) - y).square().mean())
        reference.zero_grad()
        (theirs(x) - y).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        reference.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=0, atol=0)


def test_training_does_not_import_the_compiler():
    code = (
        "import sys, numpy as np\n"
        "from labkit.hotspots.temporal import atom_windows\n"
        "from labkit.hotspots.training import CVAEConfig, fit_cvae\n"
        "fit_cvae(atom_windows(np.random.default_rng(0).random((80, 2, 3)), window=8),"
        " CVAEConfig(epochs=1))\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"free_bits": -0.1}, "free_bits=-0.1"),
        ({"beta": float("nan")}, "beta=nan"),
        ({"validation": 1.0}, "validation=1.0"),
    ],
)
def test_choices_that_cannot_be_trained_with_are_named(options, message):
    with pytest.raises(ParameterError, match=message):
        CVAEConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, r"seeds=\[\]"),
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\]"),
        ({"seeds": [0], "n_jobs": 0}, "n_jobs=0"),
        ({"seeds": [0], "device": "abacus"}, "device='abacus'"),
    ],
)
def test_ensembles_that_cannot_be_made_are_refused(small, options, message):
    with pytest.raises(ParameterError, match=message):
        fit_ensemble(small, TINY, **options)


def test_blocks_too_short_for_a_window_say_so_before_training():
    with pytest.raises(ParameterError, match="validation=0"):
        fit_cvae(atom_windows(np.zeros((40, 2, 2)), window=16))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_networks_that_can_be_built(small, name):
    fit = fit_cvae(small, dataclasses.replace(PRESETS[name], epochs=1))
    assert fit.model.latent_dim == PRESETS[name].latent_dim
    assert len(fit.kl) == PRESETS[name].latent_dim


def test_warm_up_ends_at_the_full_weight():
    config = CVAEConfig(warmup=4, beta=2.0)
    assert [config.weight(epoch) for epoch in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert CVAEConfig(warmup=0, beta=2.0).weight(0) == 2.0
