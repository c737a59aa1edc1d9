"""Convolutional variational autoencoder of contact images, and the objective it is trained on.

The encoder gives a Gaussian ``q(z|x) = N(mu, diag exp(log_var))`` over a short latent vector, the
decoder one logit per pixel of the image. Contacts lie in [0, 1], so the likelihood is Bernoulli per
pixel [1]_, summed over pixels; with ``KL_j`` the divergence of latent unit ``j`` from the standard
normal prior, averaged over a batch::

    L    = E_q[-log p(x|z)] + beta * sum_j max(KL_j, free_bits)
    KL_j = 1/2 mean_batch(mu_j^2 + exp(log_var_j) - 1 - log_var_j)

``beta`` rises from 0 to its final value while training warms up [2]_ and ``free_bits`` leaves each
unit that much information at no cost [3]_: together they keep the posterior from collapsing onto
the prior. With ``beta=1, free_bits=0`` L is the negative evidence lower bound (negative ELBO), in
nats per image. A soft contact of 0.5 costs ln 2 even when reconstructed exactly, so L has a floor
above 0, `bernoulli_floor`.

Shapes follow the layers: convolutions halve (stride 2) the image, the decoder mirrors them and pads
each transposed convolution so that every size comes back exactly, even, odd or 1.

Notation: ``x`` (batch, C, H, W) images; ``z`` (batch, latent_dim); ``mu``, ``log_var`` likewise.

References
----------
.. [1] Kingma and Welling, arXiv 1312.6114, appendix B (KL) and C.1 (Bernoulli decoder).
.. [2] Bowman et al., arXiv 1511.06349, section 3.1.
.. [3] Kingma et al., arXiv 1606.04934, appendix C.8.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.errors import ParameterError

MAX_LOG_VAR = 10.0
"""Log-variances are kept within this of 0, so that no step can overflow."""


class ConvVAE(nn.Module):
    """Variational autoencoder for images of any height, width and number of channels.

    Parameters
    ----------
    input_shape : tuple of int
        (C, H, W) of an image.
    latent_dim : int
        Latent units.
    filters : tuple of int
        Channels of each convolution.
    kernel : int
        Side of the filters, odd.
    strides : tuple of int
        Step of each convolution, as many as `filters`.
    dense : int
        Width of the layer between convolutions and latent space.
    background : Tensor of shape (C, H, W), optional
        Average image in [0, 1]. Its logits are where the decoder's bias starts, so that training
        begins at the mean image and not at gray. None starts at 0.5 everywhere.
    seed : int
        Initial weights; torch's global random state is neither read nor changed.

    Raises
    ------
    ParameterError
        If a size is not positive, the kernel is even or strides and filters differ in number.

    Examples
    --------
    >>> model = ConvVAE((1, 16, 41))
    >>> x = torch.rand(5, 1, 16, 41)
    >>> mu, log_var = model.encode(x)
    >>> mu.shape, model.decode(mu).shape
    (torch.Size([5, 8]), torch.Size([5, 1, 16, 41]))
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        *,
        latent_dim: int = 8,
        filters: Sequence[int] = (16, 32),
        kernel: int = 3,
        strides: Sequence[int] = (2, 2),
        dense: int = 64,
        background: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(input_shape, latent_dim, filters, kernel, strides, dense)
        self.input_shape = tuple(input_shape)
        self.latent_dim = latent_dim
        channels = [input_shape[0], *filters]
        sizes = _sizes(input_shape[1:], strides)
        self.folded = (channels[-1], *sizes[-1])
        n_folded = channels[-1] * sizes[-1][0] * sizes[-1][1]
        self.encoder = nn.Sequential(
            *_downwards(channels, kernel, strides),
            nn.Flatten(),
            _Linear(n_folded, dense),
            nn.ReLU(),
            _Linear(dense, 2 * latent_dim),
        )
        self.expand = nn.Sequential(
            _Linear(latent_dim, dense), nn.ReLU(), _Linear(dense, n_folded), nn.ReLU()
        )
        self.decoder = nn.Sequential(*_upwards(channels, kernel, strides, sizes))
        self.background = nn.Parameter(torch.zeros(self.input_shape))
        self._initialize(seed, background)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each of shape (batch, latent_dim)."""
        mu, log_var = self.encoder(x).chunk(2, dim=1)
        return mu, log_var.clamp(-MAX_LOG_VAR, MAX_LOG_VAR)

    def sample(
        self, mu: Tensor, log_var: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw z of q(z|x): standard deviation ``exp(log_var / 2)``."""
        noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
        return self.shift(mu, log_var, noise)

    @staticmethod
    def shift(mu: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
        """Turn standard normal noise into z of q(z|x)."""
        return mu + torch.exp(0.5 * log_var) * noise

    def decode(self, z: Tensor) -> Tensor:
        """Logits of the pixels, of shape (batch, C, H, W)."""
        return self.decoder(self.expand(z).view(-1, *self.folded)) + self.background

    def forward(
        self, x: Tensor, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits from one draw of z, and mu and log_var."""
        mu, log_var = self.encode(x)
        return self.decode(self.sample(mu, log_var, generator=generator)), mu, log_var

    def _initialize(self, seed: int, background: Tensor | None) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, _Conv | _ConvUp | _Linear):
                nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=generator)
                nn.init.zeros_(module.get_parameter("bias"))
        if background is not None:
            with torch.no_grad():
                self.background.copy_(torch.logit(background, eps=1e-3))


@dataclass(frozen=True)
class Objective:
    """What a training step minimizes and what it is made of, in nats per image.

    Attributes
    ----------
    loss : Tensor
        Reconstruction plus beta times the KL with free bits.
    reconstruction : Tensor
        -log p(x|z), summed over pixels, averaged over images.
    kl : Tensor of shape (latent_dim,)
        KL of each latent unit, without free bits or beta.
    """

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor

    @property
    def negative_elbo(self) -> Tensor:
        """Reconstruction plus KL, whatever beta and free bits were."""
        return self.reconstruction + self.kl.sum()


def kl_per_dim(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL divergence of each latent unit from N(0, 1), averaged over the batch, in nats.

    Parameters
    ----------
    mu, log_var : Tensor of shape (batch, latent_dim)

    Returns
    -------
    Tensor of shape (latent_dim,)

    Examples
    --------
    >>> kl_per_dim(torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2))
    tensor([0., 2.])
    """
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).mean(dim=0)


def reconstruction_nats(logits: Tensor, x: Tensor) -> Tensor:
    """Bernoulli -log p(x|z) of each image, summed over its pixels, shape (batch,)."""
    losses = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return losses.flatten(1).sum(dim=1)


def bernoulli_floor(x: Tensor) -> Tensor:
    """Lowest -log p(x|z) that any reconstruction of each image can have, shape (batch,)."""
    return F.binary_cross_entropy(x, x, reduction="none").flatten(1).sum(dim=1)


def negative_elbo(
    logits: Tensor,
    x: Tensor,
    mu: Tensor,
    log_var: Tensor,
    *,
    beta: float = 1.0,
    free_bits: float = 0.0,
) -> Objective:
    """Objective of a batch; with the defaults, its negative ELBO.

    Parameters
    ----------
    logits, x : Tensor of shape (batch, C, H, W)
        Output of the decoder and images in [0, 1].
    mu, log_var : Tensor of shape (batch, latent_dim)
    beta : float
        Weight of the KL.
    free_bits : float
        Nats of KL that each latent unit has at no cost.

    Returns
    -------
    Objective
    """
    kl = kl_per_dim(mu, log_var)
    summed = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    reconstruction = summed / len(x)
    return Objective(reconstruction + beta * kl.clamp(min=free_bits).sum(), reconstruction, kl)


def _sizes(size: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width before and after each convolution; an odd kernel divides, rounding up."""
    sizes = [(size[0], size[1])]
    for stride in strides:
        height, width = sizes[-1]
        sizes.append((-(-height // stride), -(-width // stride)))
    return sizes


def _downwards(channels: list[int], kernel: int, strides: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for (before, after), stride in zip(itertools.pairwise(channels), strides, strict=True):
        layers += [_Conv(before, after, kernel, stride, kernel // 2), nn.ReLU()]
    return layers


def _upwards(
    channels: list[int], kernel: int, strides: Sequence[int], sizes: list[tuple[int, int]]
) -> list[nn.Module]:
    """Mirror of the encoder; what a stride rounded away is padded back."""
    layers: list[nn.Module] = []
    for level in reversed(range(len(strides))):
        before, after, stride = channels[level + 1], channels[level], strides[level]
        height, width = ((n - 1) % stride for n in sizes[level])
        layers += [
            _ConvUp(before, after, kernel, stride, kernel // 2, (height, width)),
            nn.ReLU(),
        ]
    return layers[:-1]


class _Unset:
    """Layers whose weights `ConvVAE` draws: torch's generator is global, and threads share it."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class _Conv(_Unset, nn.Conv2d): ...


class _ConvUp(_Unset, nn.ConvTranspose2d): ...


class _Linear(_Unset, nn.Linear): ...


def _check(
    input_shape: Sequence[int],
    latent_dim: int,
    filters: Sequence[int],
    kernel: int,
    strides: Sequence[int],
    dense: int,
) -> None:
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ParameterError(f"input_shape={tuple(input_shape)}: give (channels, height, width).")
    if len(filters) != len(strides) or not filters:
        raise ParameterError(
            f"filters={tuple(filters)} and strides={tuple(strides)} differ in number or are empty; "
            "give one stride for each convolution."
        )
    if kernel < 1 or kernel % 2 == 0:
        raise ParameterError(f"kernel={kernel} has no center; use an odd number.")
    for name, values in {
        "latent_dim": [latent_dim],
        "dense": [dense],
        "filters": filters,
        "strides": strides,
    }.items():
        if min(values) < 1:
            raise ParameterError(f"{name}={min(values)} is not a size; use 1 or more.")
