"""The autoencoder's objective against closed forms, Monte Carlo and torch's own distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from labkit.errors import ParameterError
from labkit.hotspots.cvae import (
    ConvVAE,
    bernoulli_floor,
    kl_per_dim,
    negative_elbo,
    reconstruction_nats,
)


@pytest.fixture(scope="module")
def posterior() -> tuple[torch.Tensor, torch.Tensor]:
    """Means and log-variances of five images, away from the prior on both sides."""
    generator = torch.Generator().manual_seed(3)
    return 2 * torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)


def test_kl_is_the_divergence_that_sampling_finds(posterior):
    mu, log_var = (p.double() for p in posterior)
    q, prior = Normal(mu, torch.exp(0.5 * log_var)), Normal(0.0, 1.0)
    z = ConvVAE((1, 4, 4), latent_dim=4).sample(
        mu.expand(40_000, 5, 4),
        log_var.expand(40_000, 5, 4),
        generator=torch.Generator().manual_seed(0),
    )
    draws = (q.log_prob(z) - prior.log_prob(z)).mean(dim=1)
    standard_error = draws.std(dim=0) / math.sqrt(len(draws))
    assert ((draws.mean(dim=0) - kl_per_dim(mu, log_var)).abs() < 3 * standard_error).all()


def test_kl_is_that_of_torch_distributions_and_zero_at_the_prior(posterior):
    mu, log_var = posterior
    q = Normal(mu, torch.exp(0.5 * log_var))
    torch.testing.assert_close(
        kl_per_dim(mu, log_var), kl_divergence(q, Normal(0.0, 1.0)).mean(dim=0)
    )
    assert kl_per_dim(torch.zeros(3, 2), torch.zeros(3, 2)).abs().max() == 0


def test_samples_have_the_mean_and_the_variance_of_the_posterior(posterior):
    mu, log_var = posterior
    n = 20_000
    z = ConvVAE((1, 4, 4), latent_dim=4).sample(
        mu.expand(n, 5, 4), log_var.expand(n, 5, 4), generator=torch.Generator().manual_seed(1)
    )
    variance = torch.exp(log_var)
    # A variance of n normal draws has relative standard error sqrt(2 / n); 4 of them for 20 units.
    assert ((z.var(dim=0) / variance - 1).abs() < 4 * math.sqrt(2 / n)).all()
    assert ((z.mean(dim=0) - mu).abs() < 4 * torch.sqrt(variance / n)).all()


def test_reconstruction_is_the_bernoulli_likelihood_summed_over_pixels():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 2, 3, 5, generator=generator)
    x = torch.randint(0, 2, logits.shape, generator=generator).float()
    expected = -Bernoulli(logits=logits).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(reconstruction_nats(logits, x), expected)


def test_no_reconstruction_is_better_than_the_image_itself():
    x = torch.rand(8, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    floor = bernoulli_floor(x)
    torch.testing.assert_close(reconstruction_nats(torch.logit(x), x), floor)
    for shift in (-0.1, 0.1):
        assert (reconstruction_nats(torch.logit(x) + shift, x) > floor).all()
    binary = (x > 0.5).float()
    assert bernoulli_floor(binary).abs().max() == 0


def test_objective_is_reconstruction_plus_weighted_kl_above_the_free_bits(posterior):
    mu, log_var = posterior
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(5, 1, 3, 3, generator=generator)
    x = torch.rand(5, 1, 3, 3, generator=generator)
    kl = kl_per_dim(mu, log_var)
    free = float(kl.median()) + 0.01
    terms = negative_elbo(logits, x, mu, log_var, beta=0.3, free_bits=free)
    above = sum(max(float(k), free) for k in kl)
    expected = float(reconstruction_nats(logits, x).mean()) + 0.3 * above
    assert float(terms.loss) == pytest.approx(expected, rel=1e-6)
    assert float(terms.negative_elbo) == pytest.approx(
        float(terms.reconstruction + kl.sum()), rel=1e-6
    )
    plain = negative_elbo(logits, x, mu, log_var)
    torch.testing.assert_close(plain.loss, plain.negative_elbo)


def test_units_below_the_free_bits_are_not_pulled_to_the_prior():
    mu = torch.tensor([[0.1, 2.0], [-0.1, -2.0]], requires_grad=True)
    log_var = torch.zeros(2, 2, requires_grad=True)
    x = torch.full((2, 1, 2, 2), 0.5)
    negative_elbo(torch.zeros_like(x), x, mu, log_var, free_bits=0.25).loss.backward()
    assert mu.grad is not None
    assert mu.grad[:, 0].abs().max() == 0  # KL 0.005 of the first unit is free
    torch.testing.assert_close(mu.grad[:, 1], mu[:, 1].detach() / 2)  # dKL/dmu = mu / batch


def test_the_bound_lies_below_the_evidence_of_a_model_that_can_be_integrated():
    """One latent unit: p(x) by quadrature; -ELBO >= -log p(x), equal at the true posterior only."""
    weight = torch.tensor([1.5, -1.0, 0.5], dtype=torch.double)
    x = torch.tensor([1.0, 0.0, 1.0], dtype=torch.double)
    z = torch.linspace(-8, 8, 4001, dtype=torch.double)
    likelihood = Bernoulli(logits=z[:, None] * weight).log_prob(x).sum(dim=1)
    joint = torch.exp(likelihood + Normal(0.0, 1.0).log_prob(z))
    evidence = float(torch.log(torch.trapezoid(joint, z)))
    mean = torch.trapezoid(joint * z, z) / math.exp(evidence)
    variance = torch.trapezoid(joint * (z - mean) ** 2, z) / math.exp(evidence)
    bounds = []
    for mu, var in ((mean, variance), (torch.tensor(0.0), torch.tensor(1.0))):
        q = torch.exp(Normal(mu, var.sqrt()).log_prob(z))
        reconstruction = -torch.trapezoid(q * likelihood, z)
        kl = kl_per_dim(mu.reshape(1, 1), torch.log(var).reshape(1, 1))
        bounds.append(float(reconstruction + kl.sum()))
    assert -evidence < bounds[0] < bounds[1]
    assert bounds[0] + evidence < 0.01  # the posterior is nearly normal


@pytest.mark.parametrize(
    "shape", [(1, 43, 41), (3, 17, 5), (2, 16, 302), (1, 1, 1), (1, 16, 1), (1, 2, 7), (4, 5, 2)]
)
@pytest.mark.parametrize(
    ("filters", "kernel", "strides"),
    [((4, 6), 3, (2, 2)), ((4, 4, 4), 3, (1, 2, 1)), ((3,), 5, (3,)), ((2, 3), 1, (2, 4))],
)
def test_every_size_comes_back_exactly(shape, filters, kernel, strides):
    model = ConvVAE(shape, filters=filters, kernel=kernel, strides=strides, dense=8, latent_dim=3)
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    logits, mu, log_var = model(x)
    assert logits.shape == x.shape
    assert mu.shape == log_var.shape == (2, 3)


def test_the_decoder_starts_at_the_average_image():
    background = torch.linspace(0.05, 0.95, 35).reshape(1, 5, 7)
    model = ConvVAE((1, 5, 7), background=background)
    with torch.no_grad():
        for layer in model.decoder:
            for p in layer.parameters():
                p.zero_()
    torch.testing.assert_close(
        torch.sigmoid(model.decode(torch.ones(1, 8)))[0], background, rtol=1e-5, atol=1e-6
    )


def test_an_average_of_exactly_0_or_1_stays_finite():
    model = ConvVAE((1, 2, 2), background=torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    assert torch.isfinite(model.decode(torch.zeros(1, 8))).all()


def test_weights_follow_the_seed_and_the_global_random_state_stays_as_it_was():
    before = torch.get_rng_state()
    first, same, other = (ConvVAE((1, 6, 6), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
    assert not torch.equal(first.encoder[0].weight, other.encoder[0].weight)


def test_gradients_are_those_of_finite_differences():
    model = ConvVAE((1, 3, 4), latent_dim=2, filters=(2,), strides=(2,), dense=3).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, 3, 4, dtype=torch.double, generator=generator)
    noise = torch.randn(2, 2, dtype=torch.double, generator=generator)

    def loss(images: torch.Tensor) -> torch.Tensor:
        mu, log_var = model.encode(images)
        logits = model.decode(model.shift(mu, log_var, noise))
        return negative_elbo(logits, x, mu, log_var).loss

    assert torch.autograd.gradcheck(loss, x.clone().requires_grad_())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "kernel=4 has no center"),
        ({"filters": (8, 8), "strides": (2,)}, r"filters=\(8, 8\) and strides=\(2,\)"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"strides": (2, 0)}, "strides=0"),
        ({"input_shape": (16, 41)}, r"input_shape=\(16, 41\)"),
        ({"input_shape": (1, 16, 0)}, r"input_shape=\(1, 16, 0\)"),
    ],
)
def test_networks_that_cannot_be_built_name_the_size(options, message):
    with pytest.raises(ParameterError, match=message):
        ConvVAE(**({"input_shape": (1, 8, 8)} | options))


def test_a_soft_contact_of_one_half_costs_ln_2():
    assert float(bernoulli_floor(torch.full((1, 1, 1, 1), 0.5))) == pytest.approx(np.log(2))
