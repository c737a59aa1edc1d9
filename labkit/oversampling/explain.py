r"""Which atoms of one molecule speak for one effect, in the eyes of a trained graph network.

Two answers that need not agree:

- **Attribution**, for one effect: integrated gradients [1]_ of the logit along the straight path
  from an all-zero atom matrix to the molecule's own,
  :math:`a_v = \sum_f x_{vf} \int_0^1 \partial z / \partial x_{vf}(\alpha x)\,d\alpha`, with bonds
  and fingerprint kept as they are. The attributions of all atoms sum to
  :math:`z(x) - z(0)` (completeness), up to the error of the midpoint rule. No network was trained
  on empty atoms: where ``baseline`` is far from neutral (it was for GIN in our tests) the
  attributions say little, so look at it first.
- **Attention**, the same for all effects: the weights with which AttentiveFP's last read-out step
  sums the atoms; they sum to 1. Attention is no explanation of a prediction; it shows where the
  read-out looks.

References
----------
.. [1] Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017, eq. 1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labkit.errors import ParameterError
from labkit.oversampling.featurize import GraphBatch, featurize
from labkit.oversampling.models import HybridGNN
from labkit.oversampling.results import StudyResults
from labkit.oversampling.training import MoleculeEstimator, fingerprint_name


@dataclass(frozen=True)
class AtomAttribution:
    """Explanation of one prediction, atom by atom in the order of the SMILES.

    Attributes
    ----------
    smiles : str
        The molecule.
    output : int
        Column of the effect among the targets.
    prediction : float
        Probability of the effect, or its value for regression.
    attribution : ndarray of shape (n_atoms,)
        Share of each atom in the logit (regression: in units of the target); positive speaks for
        the effect.
    baseline : float
        Logit (or value) of the same bonds and fingerprint with empty atoms.
    total : float
        Logit (or value) of the molecule; ``baseline + attribution.sum()`` up to discretization.
    attention : ndarray of shape (n_atoms,), or None
        Read-out weights, for AttentiveFP only.
    """

    smiles: str
    output: int
    prediction: float
    attribution: np.ndarray
    baseline: float
    total: float
    attention: np.ndarray | None


def explain_molecule(
    estimator: MoleculeEstimator,
    smiles: str,
    output: int,
    *,
    steps: int = 64,
    fingerprint: str | None = None,
) -> AtomAttribution:
    """Attribute the prediction of one effect to the atoms of one molecule.

    Parameters
    ----------
    estimator : MoleculeEstimator
        Trained network, standard or hybrid.
    smiles : str
        The molecule.
    output : int
        Column of the effect among the targets.
    steps : int
        Points of the path integral.
    fingerprint : str, optional
        As for `MoleculeEstimator.predict_smiles`.

    Returns
    -------
    AtomAttribution

    Raises
    ------
    ParameterError
        If the SMILES cannot be read or there is no such effect.
    """
    model = estimator.trained_model()
    if not 0 <= output < estimator.n_outputs_:
        raise ParameterError(
            f"output={output} is no effect of this network; use 0 to {estimator.n_outputs_ - 1}."
        )
    packed = featurize([smiles], fingerprint=fingerprint or fingerprint_name(estimator.n_bits_))
    if len(packed) == 0:
        raise ParameterError(f"smiles={smiles!r} is not a molecule that RDKit can read.")
    batch = packed.batch([0]).to(estimator.device_)
    scale = float(estimator.target_scale_[output])
    shift = float(estimator.target_mean_[output])
    with torch.no_grad():
        total, baseline = (
            float(model(b)[0, output]) * scale + shift for b in (batch, _scaled(batch, 0.0))
        )
    regression = estimator.task == "regression"
    return AtomAttribution(
        smiles=smiles,
        output=output,
        prediction=total if regression else float(torch.sigmoid(torch.tensor(total))),
        attribution=_integrated_gradients(model, batch, output, steps) * scale,
        baseline=baseline,
        total=total,
        attention=readout_attention(model, batch),
    )


def explain_best_hit(results: StudyResults, *, model: str = "hybrid") -> AtomAttribution:
    """Explain the test molecule whose rarest effects the network is most sure of, and right.

    Parameters
    ----------
    results : StudyResults
        Multilabel study with a graph network.
    model : {"hybrid", "gnn"}
        The network of the first seed without resampling is explained.

    Returns
    -------
    AtomAttribution
        For the effect and molecule with the highest predicted probability relative to the effect's
        frequency, among effects that the molecule has.

    Raises
    ------
    ParameterError
        If no such network was trained.
    """
    if (model, "none") not in results.models:
        raise ParameterError(
            f"model={model!r} is no graph network of this study; add 'gnn' or 'hybrid' to models."
        )
    y, probability = results.test_predictions(model=model)
    frequency = np.clip(np.nanmean(results.table.Y, axis=0), 1e-3, None)
    lift = np.where(y == 1, probability / frequency, -np.inf)
    row, output = np.unravel_index(int(np.argmax(lift)), lift.shape)
    smiles = str(results.table.smiles[results.splits[0].test[row]])
    return explain_molecule(
        results.models[model, "none"], smiles, int(output), fingerprint=results.config.fingerprint
    )


def readout_attention(model: HybridGNN, batch: GraphBatch) -> np.ndarray | None:
    """Weights of the atoms in AttentiveFP's last read-out step.

    Parameters
    ----------
    model : HybridGNN
        Network in evaluation mode.
    batch : GraphBatch
        One or more molecules.

    Returns
    -------
    ndarray of shape (n_atoms,), or None
        They sum to 1 over each molecule; None for other encoders.
    """
    if model.encoder_name != "attentivefp":
        return None
    layer: Any = model.encoder.mol_conv
    seen: list[tuple[Tensor, ...]] = []

    def remember(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs)

    hook = layer.register_forward_pre_hook(remember)
    try:
        with torch.no_grad():
            model.embed(batch)
            last = seen[-1]
            _, (_, weights) = layer(*last, return_attention_weights=True)
    finally:
        hook.remove()
    return weights.mean(dim=1).cpu().numpy()


def _scaled(batch: GraphBatch, factor: float) -> GraphBatch:
    return dataclasses.replace(batch, x=batch.x * factor)


def _integrated_gradients(
    model: HybridGNN, batch: GraphBatch, output: int, steps: int
) -> np.ndarray:
    """Midpoint rule over the path, one gradient at a time (peptides have hundreds of atoms)."""
    gradient = torch.zeros_like(batch.x)
    for step in range(steps):
        x = (batch.x * ((step + 0.5) / steps)).requires_grad_()
        logit = model(dataclasses.replace(batch, x=x))[0, output]
        gradient += torch.autograd.grad(logit, x)[0] / steps
    return (gradient * batch.x).sum(dim=1).cpu().numpy()
