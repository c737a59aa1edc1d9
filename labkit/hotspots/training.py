"""Fit the autoencoder: one seed or an ensemble, and refuse results of a collapsed latent space.

A variational autoencoder can end with a latent space that says nothing about the image (posterior
collapse); rankings made from it look plausible and mean nothing. A unit is *active* if its mean
varies from image to image, ``Var_x(mu_j) > 0.01`` [1]_. This cannot be had by the KL that free bits
give away, unlike a threshold on KL. A fit has collapsed if its KL is at most 1 nat or fewer than
half of its units are active.

Seeds differ in initial weights, order of images and latent noise; the held-out blocks of time are
the same for all. Each fit uses one thread and a generator of its own, so the same seed gives
bit-identical results on a CPU, alone or beside others.

References
----------
.. [1] Burda, Grosse and Salakhutdinov, arXiv 1509.00519, section 5.2.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from labkit.errors import LabkitError, ParameterError
from labkit.hotspots.cvae import ConvVAE, kl_per_dim, negative_elbo, reconstruction_nats
from labkit.hotspots.temporal import AtomWindows, time_blocks

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all and what was done last."""

ACTIVE_VARIANCE = 0.01
MIN_KL = 1.0
ENCODING_BATCH = 512
MAX_GRADIENT = 100.0
"""Norm, in nats per image, at which a step is clipped."""


class CollapsedLatentError(LabkitError):
    """The latent space carries no information about the images."""


@dataclass(frozen=True)
class CVAEConfig:
    """Choices of network and training.

    Attributes
    ----------
    latent_dim, filters, kernel, strides, dense
        Of `ConvVAE`.
    epochs : int
        Passes over the training images.
    batch_size : int
        Images of a step.
    lr : float
        Learning rate of Adam.
    warmup : int
        Epochs over which the weight of the KL rises from 0 to `beta`; 0 for none.
    free_bits : float
        Nats of KL each latent unit has at no cost.
    beta : float
        Final weight of the KL.
    validation : float
        Share of the time held out in blocks; 0 trains on all windows.
    """

    latent_dim: int = 8
    filters: tuple[int, ...] = (16, 32)
    kernel: int = 3
    strides: tuple[int, ...] = (2, 2)
    dense: int = 64
    epochs: int = 15
    batch_size: int = 64
    lr: float = 2e-3
    warmup: int = 10
    free_bits: float = 0.25
    beta: float = 1.0
    validation: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values that cannot be trained with."""
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name}={getattr(self, name)} is too few; use 1 or more.")
        for name in ("warmup", "free_bits", "beta"):
            if not getattr(self, name) >= 0:
                raise ParameterError(f"{name}={getattr(self, name)} is negative; use 0 or more.")
        if not self.lr > 0:
            raise ParameterError(f"lr={self.lr} is not a learning rate; use a number above 0.")
        if not 0 <= self.validation < 1:
            raise ParameterError(
                f"validation={self.validation} is not a share of the time; use 0 <= validation < 1."
            )

    def weight(self, epoch: int) -> float:
        """Weight of the KL in an epoch, counted from 0."""
        return self.beta * min(1.0, (epoch + 1) / self.warmup) if self.warmup else self.beta


FAST = CVAEConfig()
BHOWMIK2018 = CVAEConfig(
    latent_dim=3,
    filters=(64, 64, 64),
    strides=(1, 2, 1),
    dense=128,
    epochs=100,
    batch_size=512,
    lr=1e-3,
)
PRESETS = {"fast": FAST, "bhowmik2018": BHOWMIK2018}
"""``fast`` trains on a laptop; ``bhowmik2018`` has the layers, batch size and epochs of Bhowmik et
al., BMC Bioinformatics 19 (2018) 484, but this module's objective and Adam."""


class Latent(NamedTuple):
    """Mean and log-variance of q(z|x) of images, each of shape (n_images, latent_dim)."""

    mu: np.ndarray
    log_var: np.ndarray


@dataclass(frozen=True)
class FittedCVAE:
    """A trained autoencoder.

    Attributes
    ----------
    model : ConvVAE
        In evaluation mode.
    config : CVAEConfig
    seed : int
    history : DataFrame
        One row per epoch: epoch, beta, loss, reconstruction, kl (training, nats per image),
        valid_reconstruction, valid_kl, valid_loss (negative ELBO of held-out time; nan without).
    kl : ndarray of shape (latent_dim,)
        KL of each unit over all images, nats.
    active_units : int
        Units whose mean varies from image to image.
    collapsed : bool
        Whether the latent space says nothing about the images.
    seconds : float
        Wall-clock time of the fit.
    """

    model: ConvVAE
    config: CVAEConfig
    seed: int
    history: pd.DataFrame
    kl: np.ndarray
    active_units: int
    collapsed: bool
    seconds: float

    def encode(self, images: np.ndarray) -> Latent:
        """Mean and log-variance of images of shape (n_images, C, H, W)."""
        with torch.no_grad(), _one_thread():
            parts = [self.model.encode(x) for x in self._batches(images)]
        return Latent(*(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)))

    def latent(self, windows: AtomWindows) -> np.ndarray:
        """Means of all windows, shape (n_atoms, n_windows, latent_dim)."""
        mu = self.encode(windows.flat()).mu
        return mu.reshape(windows.n_atoms, windows.n_windows, -1)

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Decode the means of images: contacts in [0, 1], of the images' shape."""
        with torch.no_grad(), _one_thread():
            parts = [
                torch.sigmoid(self.model.decode(self.model.encode(x)[0]))
                for x in self._batches(images)
            ]
        return torch.cat(parts).cpu().numpy()

    def negative_elbo(self, images: np.ndarray, *, draws: int = 1, seed: int = 0) -> float:
        """Reconstruction plus KL of images, nats per image, averaged over draws of z."""
        with torch.no_grad(), _one_thread():
            return sum(_score(self.model, self._batches(images), draws, seed))

    def _batches(self, images: np.ndarray) -> list[Tensor]:
        images = np.asarray(images, dtype=np.float32)
        if images.shape[1:] != self.model.input_shape:
            raise ParameterError(
                f"images of shape {images.shape} do not fit a network trained on "
                f"{self.model.input_shape}; cut the windows in the same way."
            )
        device = self.model.background.device
        pieces = np.array_split(images, max(1, -(-len(images) // ENCODING_BATCH)))
        return [torch.tensor(piece, device=device) for piece in pieces]


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
    with _one_thread():
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
    count = _Count(progress, config.epochs * len(seeds))
    fits = joblib.Parallel(n_jobs=n_jobs, prefer="threads", require="sharedmem")(
        joblib.delayed(fit_cvae)(windows, config, seed=seed, device=device, progress=count)
        for seed in seeds
    )
    return fits if allow_collapsed else require_active(fits)


def require_active(fits: Sequence[FittedCVAE]) -> list[FittedCVAE]:
    """Return the fits if none has collapsed.

    Raises
    ------
    CollapsedLatentError
        Naming the seeds that collapsed and what to change.
    """
    collapsed = [fit for fit in fits if fit.collapsed]
    if not collapsed:
        return list(fits)
    found = "; ".join(
        f"seed {fit.seed}: KL {fit.kl.sum():.2f} nats, {fit.active_units} of {len(fit.kl)} units "
        "active"
        for fit in collapsed
    )
    raise CollapsedLatentError(
        f"The latent space of {len(collapsed)} of {len(fits)} fits collapsed ({found}); a ranking "
        "from it would mean nothing. Use warmup >= 10 and free_bits >= 0.25, fewer latent_dim, "
        "more epochs or more windows; images that hardly differ cannot be helped."
    )


def pick_device(name: str) -> torch.device:
    """Device of a name; ``"auto"`` is a GPU where there is one.

    Raises
    ------
    ParameterError
        If the name is not known, or is that of a GPU and none is to be had.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as exc:
        raise ParameterError(f"device={name!r} is not known; use auto, cpu or cuda.") from exc
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ParameterError(f"device={name!r} but no GPU is to be had; use auto or cpu.")
    return device


class _Run:
    """State of one fit between epochs."""

    def __init__(
        self, windows: AtomWindows, config: CVAEConfig, seed: int, device: torch.device
    ) -> None:
        self.windows, self.config, self.seed, self.device = windows, config, seed, device
        self.generator = torch.Generator().manual_seed(seed)
        images = torch.from_numpy(windows.flat())
        self.train_images, self.valid_images = _split(windows, images, config.validation)
        self.train_images = self.train_images.to(device)
        self.model = ConvVAE(
            windows.input_shape,
            latent_dim=config.latent_dim,
            filters=config.filters,
            kernel=config.kernel,
            strides=config.strides,
            dense=config.dense,
            background=self.train_images.mean(dim=0).cpu(),
            seed=seed,
        ).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, fused=True)
        self.records: list[dict[str, float]] = []

    def train(self, epoch: int) -> None:
        """One pass over the training images in random order."""
        beta = self.config.weight(epoch)
        order = torch.randperm(len(self.train_images), generator=self.generator)
        sums = torch.zeros(3, device=self.device)
        for chosen in order.split(self.config.batch_size):
            sums += self._step(chosen.to(self.device), beta) * len(chosen)
        loss, reconstruction, kl = (sums / len(order)).tolist()
        valid = self._validate()
        self.records.append(
            {
                "epoch": epoch + 1,
                "beta": beta,
                "loss": loss,
                "reconstruction": reconstruction,
                "kl": kl,
                "valid_reconstruction": valid[0],
                "valid_kl": valid[1],
                "valid_loss": sum(valid),
            }
        )

    def _step(self, chosen: Tensor, beta: float) -> Tensor:
        x = self.train_images[chosen]
        mu, log_var = self.model.encode(x)
        noise = torch.randn(mu.shape, generator=self.generator).to(self.device)
        logits = self.model.decode(mu + torch.exp(0.5 * log_var) * noise)
        terms = negative_elbo(logits, x, mu, log_var, beta=beta, free_bits=self.config.free_bits)
        self.optimizer.zero_grad()
        terms.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT)
        self.optimizer.step()
        return torch.stack([terms.loss, terms.reconstruction, terms.kl.sum()]).detach()

    def _validate(self) -> tuple[float, float]:
        if not len(self.valid_images):
            return float("nan"), float("nan")
        batches = [x.to(self.device) for x in self.valid_images.split(ENCODING_BATCH)]
        with torch.no_grad():
            return _score(self.model, batches, 1, self.seed)

    def result(self, seconds: float) -> FittedCVAE:
        """Freeze the model and measure its latent space over all images."""
        self.model.eval().requires_grad_(False)
        fitted = FittedCVAE(
            self.model,
            self.config,
            self.seed,
            pd.DataFrame(self.records).astype({"epoch": int}),
            np.zeros(0),
            0,
            True,
            seconds,
        )
        mu, log_var = fitted.encode(self.windows.flat())
        kl = kl_per_dim(torch.from_numpy(mu), torch.from_numpy(log_var)).numpy()
        active = int((mu.var(axis=0) > ACTIVE_VARIANCE).sum())
        collapsed = bool(kl.sum() <= MIN_KL or 2 * active < len(kl))
        return dataclasses.replace(fitted, kl=kl, active_units=active, collapsed=collapsed)


def _split(windows: AtomWindows, images: Tensor, validation: float) -> tuple[Tensor, Tensor]:
    """Images to train on and images of held-out time."""
    if not validation:
        return images, images[:0]
    train, valid = time_blocks(windows, validation=validation)
    return (
        images[torch.from_numpy(train[windows.time_index])],
        images[torch.from_numpy(valid[windows.time_index])],
    )


def _score(model: ConvVAE, batches: Sequence[Tensor], draws: int, seed: int) -> tuple[float, float]:
    """Mean reconstruction (over draws of z) and KL of images, nats per image."""
    generator = torch.Generator(device=batches[0].device).manual_seed(seed)
    reconstruction = kl = 0.0
    for x in batches:
        mu, log_var = model.encode(x)
        kl += float(kl_per_dim(mu, log_var).sum()) * len(x)
        for _ in range(draws):
            logits = model.decode(model.sample(mu, log_var, generator=generator))
            reconstruction += float(reconstruction_nats(logits, x).sum()) / draws
    n_images = sum(len(x) for x in batches)
    return reconstruction / n_images, kl / n_images


class _Count:
    """Progress over all seeds; epochs of several threads are counted one at a time."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0
        self.lock = threading.Lock()

    def __call__(self, _done: int, _total: int, text: str) -> None:
        with self.lock:
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.total, text)


@contextmanager
def _one_thread() -> Iterator[Any]:
    """Small images gain nothing from torch's threads, and sums of one thread are reproducible."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
