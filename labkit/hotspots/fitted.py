"""A trained autoencoder: its choices, its latent space, and whether that has collapsed.

A variational autoencoder can end with a latent space that says nothing about the image (posterior
collapse); rankings made from it look plausible and mean nothing. A unit is *active* if its mean
varies from image to image, ``Var_x(mu_j) > 0.01`` [1]_. This cannot be had by the KL that free bits
give away, unlike a threshold on KL. Images of different atoms differ even where nothing moves, so
a unit that is the same in all windows of every atom, but for rounding, is not active either. A fit
has collapsed if its KL is at most 1 nat or fewer than half of its units are active.

References
----------
.. [1] Burda, Grosse and Salakhutdinov, arXiv 1509.00519, section 5.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from labkit.errors import LabkitError, ParameterError
from labkit.hotspots.cvae import ConvVAE, kl_per_dim, reconstruction_nats
from labkit.hotspots.optimization import reproducible
from labkit.hotspots.scores import ROUNDING, latent_scale
from labkit.hotspots.temporal import AtomWindows

ACTIVE_VARIANCE = 0.01
MIN_KL = 1.0
SETTLED = 0.01
"""Share of its value by which a loss may fall per epoch at the end of a finished fit."""
LAST_EPOCHS = 3
ENCODING_BATCH = 512


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


@dataclass(frozen=True, eq=False)
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
        Units whose mean varies from image to image, and from window to window of an atom.
    collapsed : bool
        Whether the latent space says nothing about the images.
    seconds : float
        Wall-clock time of the fit.
    motionless : bool
        Whether the latent space tells atoms apart but is the same in all windows of every atom.
    """

    model: ConvVAE
    config: CVAEConfig
    seed: int
    history: pd.DataFrame
    kl: np.ndarray
    active_units: int
    collapsed: bool
    seconds: float
    motionless: bool = False

    def encode(self, images: np.ndarray) -> Latent:
        """Mean and log-variance of images of shape (n_images, C, H, W)."""
        return encode_batches(self.model, self._pieces(images))

    def latent(self, windows: AtomWindows) -> np.ndarray:
        """Means of all windows, shape (n_atoms, n_windows, latent_dim)."""
        self._require_shape(windows.input_shape)
        mu = encode_batches(self.model, batches(windows)).mu
        return mu.reshape(windows.n_atoms, windows.n_windows, -1)

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """Decode the means of images: contacts in [0, 1], of the images' shape."""
        device = device_of(self.model)
        with torch.no_grad(), reproducible():
            parts = [
                torch.sigmoid(self.model.decode(self.model.encode(x.to(device))[0])).cpu()
                for x in self._pieces(images)
            ]
        return torch.cat(parts).numpy()

    def negative_elbo(self, images: np.ndarray, *, draws: int = 1, seed: int = 0) -> float:
        """Reconstruction plus KL of images, nats per image, averaged over draws of z."""
        with torch.no_grad(), reproducible():
            return sum(score(self.model, self._pieces(images), draws=draws, seed=seed))

    def _pieces(self, images: np.ndarray) -> Iterator[Tensor]:
        images = np.asarray(images, dtype=np.float32)
        self._require_shape(images.shape[1:])
        return iter(torch.tensor(images).split(ENCODING_BATCH))

    def _require_shape(self, shape: tuple[int, ...]) -> None:
        if shape != self.model.input_shape:
            raise ParameterError(
                f"images of shape {shape} do not fit a network trained on "
                f"{self.model.input_shape}; cut the windows in the same way."
            )


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
    still = [fit for fit in collapsed if fit.motionless]
    if still:
        raise CollapsedLatentError(
            f"Nothing moves: in {len(still)} of {len(fits)} fits the latent space tells atoms "
            "apart but is the same, but for rounding, in all windows of every atom; a ranking from "
            "it would be one of noise. Give a trajectory whose frames differ, and look at start, "
            "stop and step; if they do, use more epochs."
        )
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


def training_notes(fits: Sequence[FittedCVAE]) -> tuple[str, ...]:
    """What a reader of a ranking should know about the training: fits that ended too early.

    Parameters
    ----------
    fits : sequence of FittedCVAE

    Returns
    -------
    tuple of str
        Empty if the weight of the KL reached its final value in all fits and no loss was still
        falling at the end by more than 1 % of its value per epoch.
    """
    notes = []
    early = [fit for fit in fits if fit.config.epochs < fit.config.warmup]
    if early:
        config = early[0].config
        notes.append(
            f"Training ended in the warm-up ({_seeds(early, fits)}): epochs={config.epochs} are "
            f"fewer than warmup={config.warmup}, and the weight of the KL never reached "
            f"{config.beta:g}. Use more epochs."
        )
    falling = [fit for fit in fits if not _loss_fall(fit.history) <= SETTLED]
    if falling:
        worst = max(_loss_fall(fit.history) for fit in falling)
        found = f"The loss was still falling by {worst:.1%} per epoch at the end of training"
        if worst == np.inf:
            found = "One epoch cannot show whether the loss has settled"
        notes.append(
            f"{found} ({_seeds(falling, fits)}): scores may change with longer training. Use more "
            "epochs."
        )
    return tuple(notes)


def _seeds(some: Sequence[FittedCVAE], fits: Sequence[FittedCVAE]) -> str:
    if len(some) == len(fits):
        return "all seeds" if len(fits) > 1 else f"seed {fits[0].seed}"
    return ("seeds " if len(some) > 1 else "seed ") + ", ".join(str(fit.seed) for fit in some)


def _loss_fall(history: pd.DataFrame) -> float:
    """Share of the negative ELBO lost per epoch at the end; of held-out time where there is any.

    The mean over the last epochs, `inf` after a single one.
    """
    loss = history["valid_loss"].to_numpy(dtype=float)
    if np.isnan(loss).any():
        loss = (history["reconstruction"] + history["kl"]).to_numpy(dtype=float)
    epochs = min(LAST_EPOCHS, len(loss) - 1)
    return float((loss[-1 - epochs] - loss[-1]) / (epochs * abs(loss[-1]))) if epochs else np.inf


def units_active(mu: np.ndarray) -> int:
    """Number of latent units whose mean varies from image to image, and in time if that is known.

    Parameters
    ----------
    mu : ndarray of shape (n_images, latent_dim) or (n_atoms, n_windows, latent_dim)
        With the second shape, units that are the same in all windows of every atom, but for
        rounding, are not counted.
    """
    mu = np.asarray(mu, dtype=np.float64)
    active = mu.reshape(-1, mu.shape[-1]).var(axis=0) > ACTIVE_VARIANCE
    if mu.ndim == 3:
        active &= mu.std(axis=1).max(axis=0) > ROUNDING * latent_scale(mu)
    return int(active.sum())


def has_collapsed(kl: np.ndarray, active_units: int) -> bool:
    """Whether a latent space says nothing: at most 1 nat, or fewer than half of its units active.

    Parameters
    ----------
    kl : ndarray of shape (latent_dim,)
        KL of each unit, nats.
    active_units : int
    """
    return bool(kl.sum() <= MIN_KL or 2 * active_units < len(kl))


def batches(windows: AtomWindows, index: np.ndarray | None = None) -> Iterator[Tensor]:
    """Images of `AtomWindows.flat`, all or some, cut out a batch at a time."""
    index = np.arange(windows.n_images) if index is None else index
    for first in range(0, len(index), ENCODING_BATCH):
        yield torch.from_numpy(windows.take(index[first : first + ENCODING_BATCH]))


def mean_image(windows: AtomWindows, index: np.ndarray) -> Tensor:
    """Average of some images of `AtomWindows.flat`, shape (1, window, n_residues)."""
    total = sum(x.sum(dim=0, dtype=torch.float64) for x in batches(windows, index))
    return torch.as_tensor(total / len(index), dtype=torch.float32)


def encode_batches(model: ConvVAE, images: Iterable[Tensor]) -> Latent:
    """Mean and log-variance of all batches of images."""
    device = device_of(model)
    with torch.no_grad(), reproducible():
        parts = [model.encode(x.to(device)) for x in images]
    mu, log_var = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return Latent(mu, log_var)


def score(
    model: ConvVAE, images: Iterable[Tensor], *, draws: int = 1, seed: int = 0
) -> tuple[float, float]:
    """Mean reconstruction, over draws of z, and KL of batches of images, nats per image."""
    device, generator = device_of(model), torch.Generator().manual_seed(seed)
    reconstruction = kl = 0.0
    n_images = 0
    for x in images:
        x = x.to(device)
        mu, log_var = model.encode(x)
        kl += float(kl_per_dim(mu, log_var).sum()) * len(x)
        for _ in range(draws):
            noise = torch.randn(mu.shape, generator=generator).to(device)
            logits = model.decode(model.shift(mu, log_var, noise))
            reconstruction += float(reconstruction_nats(logits, x).sum()) / draws
        n_images += len(x)
    return reconstruction / n_images, kl / n_images


def device_of(model: ConvVAE) -> torch.device:
    """Where a model's weights are."""
    return model.background.device
