"""Losses: against formulas in NumPy, with unknown entries, and with clones against weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from labkit.errors import ParameterError
from labkit.oversampling.featurize import featurize
from labkit.oversampling.losses import (
    LOSSES,
    MAX_POSITIVE_WEIGHT,
    MULTILABEL_LOSSES,
    MaskedLoss,
    positive_weights,
)
from labkit.oversampling.models import HybridGNN
from labkit.oversampling.resampling import MLROS, clone_weights

FLOATS = ("x", "edge_attr", "fingerprint")
BALANCE = np.array([3.0, 0.5, 1.0])


def make_loss(kind: str, **options) -> MaskedLoss:
    return MaskedLoss(kind, positive_weight=BALANCE if kind == "pos_weight" else None, **options)


def example(n: int = 40, unknown: float = 0.3, seed: int = 0):
    """Logits and targets in float64, some targets unknown."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2.0, size=(n, 3))
    target = (rng.random((n, 3)) < 0.4).astype(float)
    target[rng.random((n, 3)) < unknown] = np.nan
    return logits, target


def by_formula(kind: str, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Element-wise loss as the papers write it, default parameters; no care for large logits."""
    p = 1 / (1 + np.exp(-z))
    if kind == "mse":
        return (z - y) ** 2
    if kind == "asymmetric":
        shifted = np.maximum(p - 0.05, 0)
        return np.where(y == 1, -np.log(p), -(shifted**4) * np.log(1 - shifted))
    if kind == "pos_weight":
        return -BALANCE * y * np.log(p) - (1 - y) * np.log(1 - p)
    right = np.where(y == 1, p, 1 - p)
    return -np.log(right) * ((1 - right) ** 2 if kind == "focal" else 1)


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_is_the_papers_formula_averaged_over_known_entries(kind):
    logits, target = example()
    expected = np.nanmean(np.where(np.isnan(target), np.nan, by_formula(kind, logits, target)))
    value = make_loss(kind)(torch.tensor(logits), torch.tensor(target))
    # pos_weight is kept in float32
    assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_an_unknown_entry_has_no_loss_and_no_gradient(kind):
    logits, target = example()
    z = torch.tensor(logits, requires_grad=True)
    value = make_loss(kind)(z, torch.tensor(target))
    value.backward()
    unknown = np.isnan(target)
    assert (z.grad.numpy()[unknown] == 0).all()
    assert (z.grad.numpy()[~unknown] != 0).mean() > 0.9  # asymmetric drops easy negatives
    elsewhere = torch.where(torch.tensor(unknown), z.detach() + 50, z.detach())
    assert make_loss(kind)(elsewhere, torch.tensor(target)).item() == value.item()


def test_focal_loss_without_focus_is_cross_entropy():
    z, y = map(torch.tensor, example())
    plain = make_loss("bce")(z, y)
    torch.testing.assert_close(make_loss("focal", gamma=0.0)(z, y), plain, rtol=1e-12, atol=0)


def test_asymmetric_loss_without_asymmetry_is_cross_entropy():
    z, y = map(torch.tensor, example())
    loss = make_loss("asymmetric", gamma_positive=0.0, gamma_negative=0.0, margin=0.0)
    torch.testing.assert_close(loss(z, y), make_loss("bce")(z, y), rtol=1e-12, atol=0)


def test_focal_loss_gives_easy_entries_less_of_the_gradient_than_cross_entropy_does():
    z = torch.tensor([[4.0], [0.0]], requires_grad=True)
    y = torch.ones(2, 1)
    share = []
    for kind in ("bce", "focal"):
        (gradient,) = torch.autograd.grad(make_loss(kind)(z, y), z)
        share.append((gradient[0] / gradient.sum()).item())
    assert share[1] < 0.01 < share[0]


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("size", [30.0, 1000.0])
def test_loss_and_gradient_stay_finite_at_extreme_outputs(kind, size):
    z = torch.tensor([[size, -size, size], [-size, size, -size]], requires_grad=True)
    value = make_loss(kind)(z, torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("kind", LOSSES)
def test_a_batch_without_any_known_entry_costs_nothing(kind):
    z = torch.randn(4, 3, requires_grad=True)
    value = make_loss(kind)(z, torch.full((4, 3), float("nan")))
    value.backward()
    assert value.item() == 0
    assert (z.grad == 0).all()


@pytest.mark.parametrize("kind", MULTILABEL_LOSSES)
def test_clones_equal_integer_weights_in_loss_and_gradient_of_a_whole_network(kind):
    smiles = ["CCO", "c1ccccc1O", "CCN", "CC(=O)O", "CCCl", "c1ccncc1", "O", "CC#N"]
    packed = featurize(smiles, fingerprint="ecfp4:64")
    rng = np.random.default_rng(1)
    Y = (rng.random((len(smiles), 3)) < [0.6, 0.4, 0.2]).astype(float)
    Y[0] = 1.0
    Y[3, 1] = np.nan
    clones = MLROS(P=1.0, random_state=0).fit_indices(Y)
    weight = clone_weights(clones, len(Y))
    assert weight.max() > 1
    torch.manual_seed(0)
    sizes = {"hidden": 16, "fingerprint_dim": 64, "dropout": 0.0}
    model = HybridGNN(packed.node_dim, packed.edge_dim, 3, **sizes).double()
    outcomes = []
    for rows, w in ((clones, None), (np.arange(len(Y)), weight)):
        balance = positive_weights(Y[rows], w) if kind == "pos_weight" else None
        loss = MaskedLoss(kind, positive_weight=balance)
        batch = packed.batch(rows)
        floats = {name: getattr(batch, name).double() for name in FLOATS}
        batch = dataclasses.replace(batch, **floats)
        w_tensor = None if w is None else torch.tensor(w)
        value = loss(model(batch), torch.tensor(Y[rows]), w_tensor)
        outcomes.append((value, *torch.autograd.grad(value, list(model.parameters()))))
    for cloned, weighted in zip(*outcomes, strict=True):
        torch.testing.assert_close(cloned, weighted, rtol=1e-6, atol=1e-12)


def test_positive_weights_balance_each_label():
    Y = np.array([[1, 1, 0, np.nan], [0, 1, 0, np.nan], [0, 0, 0, 1], [0, np.nan, 0, np.nan]])
    weights = positive_weights(Y)
    assert weights.tolist() == [3.0, 0.5, 1.0, 1.0]
    learnable = Y[:, :2]
    positives, negatives = (learnable == 1).sum(axis=0), (learnable == 0).sum(axis=0)
    assert (weights[:2] * positives == negatives).all()


def test_a_label_seen_once_in_a_thousand_does_not_drown_the_others():
    Y = np.zeros((1000, 1))
    Y[0] = 1
    assert positive_weights(Y).tolist() == [MAX_POSITIVE_WEIGHT]


@pytest.mark.parametrize(
    ("kind", "weight", "message"),
    [
        ("hinge", None, r"loss='hinge' is not known; use one of bce"),
        ("pos_weight", None, r"loss='pos_weight' needs positive_weight"),
        ("bce", BALANCE, r"loss='bce' takes no positive_weight"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(kind, weight, message):
    with pytest.raises(ParameterError, match=message):
        MaskedLoss(kind, positive_weight=weight)
