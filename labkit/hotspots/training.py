"""Fit the autoencoder: one seed, or an ensemble of seeds side by side in threads.

Seeds differ in initial weights, order of images and latent noise; the held-out blocks of time are
the same for all. Each fit calculates in one thread with a random generator of its own, so the same
seed gives bit-identical results on a CPU, alone or beside others. Only frames are kept in memory:
the images of a step are cut out of them when it is taken.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from labkit.devices import pick_device
from labkit.errors import ParameterError
from labkit.hotspots.cvae import ConvVAE, kl_per_dim, negative_elbo
from labkit.hotspots.fitted import (
    BHOWMIK2018,
    FAST,
    PRESETS,
    CollapsedLatentError,
    CVAEConfig,
    FittedCVAE,
    Latent,
    batches,
    encode_batches,
    has_collapsed,
    mean_image,
    require_active,
    score,
    training_notes,
    units_active,
)
from labkit.hotspots.optimization import Adam, reproducible
from labkit.hotspots.temporal import AtomWindows, time_blocks

__all__ = [
    "BHOWMIK2018",
    "FAST",
    "PRESETS",
    "CVAEConfig",
    "CollapsedLatentError",
    "FittedCVAE",
    "Latent",
    "fit_cvae",
    "fit_ensemble",
    "require_active",
    "training_notes",
]

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all and what was done last."""

MAX_GRADIENT = 100.0
"""Norm, in nats per image, at which a step is clipped."""


def fit_cvae(
    windows: AtomWindows,
    config: CVAEConfig = FAST,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> FittedCVAE:
    """Train the autoencoder on all windows but those held out.

    Parameters
    ----------
    windows : AtomWindows
    config : CVAEConfig
    seed : int
        Initial weights, order of images, latent noise.
    device : str
        ``"auto"`` takes a GPU where there is one.
    progress : callable, optional
        Called after each epoch with epochs done, epochs in all and a text.

    Returns
    -------
    FittedCVAE
        With ``collapsed`` set, not raised; see `require_active`.
    """
    began = time.perf_counter()
    where = pick_device(device)
    with reproducible():
        run = _Run(windows, config, seed, where)
        for epoch in range(config.epochs):
            run.train(epoch)
            if progress is not None:
                progress(epoch + 1, config.epochs, f"seed {seed}, epoch {epoch + 1}")
        return run.result(time.perf_counter() - began)


def fit_ensemble(
    windows: AtomWindows,
    config: CVAEConfig = FAST,
    *,
    seeds: Sequence[int],
    n_jobs: int = 1,
    device: str = "auto",
    allow_collapsed: bool = False,
    progress: Progress | None = None,
) -> list[FittedCVAE]:
    """Train one autoencoder per seed, some at a time in threads.

    Parameters
    ----------
    windows, config, device
        As `fit_cvae` takes them.
    seeds : sequence of int
    n_jobs : int
        Fits at a time; -1 for one per core. Results do not depend on it.
    allow_collapsed : bool
        Return collapsed fits too, for a look at them.
    progress : callable, optional
        Called after each epoch of any seed with epochs done in all.

    Returns
    -------
    list of FittedCVAE
        In the order of `seeds`.

    Raises
    ------
    CollapsedLatentError
        If any fit collapsed.
    """
    seeds = list(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ParameterError(f"seeds={seeds} are none or repeat; give different whole numbers.")
    if n_jobs == 0:
        raise ParameterError("n_jobs=0 fits nothing; use 1 or more, or -1 for one per core.")
    n_jobs = min(joblib.effective_n_jobs(n_jobs), len(seeds))

    def fit(seed: int, report: Progress | None) -> FittedCVAE:
        return fit_cvae(windows, config, seed=seed, device=device, progress=report)

    run = _one_by_one if n_jobs == 1 else functools.partial(_side_by_side, n_jobs=n_jobs)
    fits = run(fit, seeds, _Count(progress, config.epochs * len(seeds)))
    return fits if allow_collapsed else require_active(fits)


class _Run:
    """State of one fit between epochs."""

    def __init__(
        self, windows: AtomWindows, config: CVAEConfig, seed: int, device: torch.device
    ) -> None:
        self.windows, self.config, self.seed, self.device = windows, config, seed, device
        self.generator = torch.Generator().manual_seed(seed)
        self.train_index, self.valid_index = _split(windows, config.validation)
        self.model = ConvVAE(
            windows.input_shape,
            latent_dim=config.latent_dim,
            filters=config.filters,
            kernel=config.kernel,
            strides=config.strides,
            dense=config.dense,
            background=mean_image(windows, self.train_index),
            seed=seed,
        ).to(device)
        self.optimizer = Adam(self.model.parameters(), lr=config.lr, max_norm=MAX_GRADIENT)
        self.records: list[dict[str, float]] = []

    def train(self, epoch: int) -> None:
        """One pass over the training images in random order."""
        beta = self.config.weight(epoch)
        order = torch.randperm(len(self.train_index), generator=self.generator).numpy()
        sums = torch.zeros(3, device=self.device)
        for first in range(0, len(order), self.config.batch_size):
            chosen = self.train_index[order[first : first + self.config.batch_size]]
            sums += self._step(chosen, beta) * len(chosen)
        loss, reconstruction, kl = (sums / len(order)).tolist()
        valid_reconstruction, valid_kl = self._validate()
        self.records.append(
            {
                "epoch": epoch + 1,
                "beta": beta,
                "loss": loss,
                "reconstruction": reconstruction,
                "kl": kl,
                "valid_reconstruction": valid_reconstruction,
                "valid_kl": valid_kl,
                "valid_loss": valid_reconstruction + valid_kl,
            }
        )

    def _step(self, chosen: np.ndarray, beta: float) -> Tensor:
        x = torch.from_numpy(self.windows.take(chosen)).to(self.device)
        mu, log_var = self.model.encode(x)
        noise = torch.randn(mu.shape, generator=self.generator).to(self.device)
        logits = self.model.decode(self.model.shift(mu, log_var, noise))
        terms = negative_elbo(logits, x, mu, log_var, beta=beta, free_bits=self.config.free_bits)
        self.optimizer.step(terms.loss)
        return torch.stack([terms.loss, terms.reconstruction, terms.kl.sum()]).detach()

    def _validate(self) -> tuple[float, float]:
        if not len(self.valid_index):
            return float("nan"), float("nan")
        with torch.no_grad():
            return score(self.model, batches(self.windows, self.valid_index), seed=self.seed)

    def result(self, seconds: float) -> FittedCVAE:
        """Freeze the model and measure its latent space over all images."""
        self.model.eval().requires_grad_(False)
        latent = encode_batches(self.model, batches(self.windows))
        kl = kl_per_dim(torch.from_numpy(latent.mu), torch.from_numpy(latent.log_var)).numpy()
        windows = self.windows
        active = units_active(latent.mu.reshape(windows.n_atoms, windows.n_windows, -1))
        return FittedCVAE(
            model=self.model,
            config=self.config,
            seed=self.seed,
            history=pd.DataFrame(self.records),
            kl=kl,
            active_units=active,
            collapsed=has_collapsed(kl, active),
            seconds=seconds,
            motionless=not active and units_active(latent.mu) > 0,
        )


def _split(windows: AtomWindows, validation: float) -> tuple[np.ndarray, np.ndarray]:
    """Index of the images to train on and of those of held-out time."""
    if not validation:
        return np.arange(windows.n_images), np.arange(0)
    train, valid = time_blocks(windows, validation=validation)
    of_image = windows.time_index
    return np.flatnonzero(train[of_image]), np.flatnonzero(valid[of_image])


class _Stopped(Exception):
    """The ensemble was interrupted."""


class _Count:
    """Progress over all seeds."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self, _done: int, _total: int, text: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, text)


_Fit = Callable[[int, Progress | None], FittedCVAE]


def _one_by_one(fit: _Fit, seeds: Sequence[int], count: _Count) -> list[FittedCVAE]:
    return [fit(seed, count) for seed in seeds]


def _side_by_side(
    fit: _Fit, seeds: Sequence[int], count: _Count, *, n_jobs: int
) -> list[FittedCVAE]:
    """Fit in threads. Progress is told in the calling thread; an error in any thread ends all."""
    told: queue.SimpleQueue[str | Future[FittedCVAE]] = queue.SimpleQueue()
    stop = threading.Event()

    def report(_done: int, _total: int, text: str) -> None:
        if stop.is_set():
            raise _Stopped
        told.put(text)

    with ThreadPoolExecutor(n_jobs) as pool:
        jobs = [pool.submit(fit, seed, report) for seed in seeds]
        for job in jobs:
            job.add_done_callback(told.put)
        try:
            finished: list[FittedCVAE] = []
            while len(finished) < len(jobs):
                news = told.get()
                if isinstance(news, str):
                    count(0, 0, news)
                else:
                    finished.append(news.result())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [job.result() for job in jobs]
