"""Explanations: completeness, symmetry, and a known cause that has to be found."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import ParameterError
from labkit.oversampling.explain import explain_best_hit, explain_molecule, readout_attention
from labkit.oversampling.featurize import featurize
from labkit.oversampling.models import ENCODERS
from labkit.oversampling.training import MoleculeEstimator

CARBONS = [f"{'C' * n}{end}" for n in range(2, 12) for end in ("O", "C", "Cl", "=O")]
AMINES = [f"{'C' * n}N" for n in range(1, 14)] + [f"NC{'C' * n}Cl" for n in range(1, 14)]


@pytest.fixture(scope="module", params=ENCODERS)
def amine_finder(request) -> MoleculeEstimator:
    """Network that was taught one effect, a nitrogen atom, and one that is its opposite."""
    smiles = AMINES + CARBONS
    packed = featurize(smiles, fingerprint="ecfp4:128")
    has_nitrogen = np.array([[float("N" in s)] for s in smiles])
    options = {"encoder": request.param, "hidden": 32, "dropout": 0.0, "epochs": 40}
    options |= {"lr": 0.003, "batch_size": 8, "device": "cpu"}
    model = MoleculeEstimator(fingerprint=False, **options)
    return model.fit(packed, np.hstack([has_nitrogen, 1 - has_nitrogen]))


@pytest.mark.parametrize("smiles", ["CCCN", "OCCCCN", "[Na+].[Cl-]", "C"])
def test_attributions_sum_to_the_logit_less_that_of_empty_atoms(amine_finder, smiles):
    found = explain_molecule(amine_finder, smiles, 0, steps=200)
    explained = found.attribution.sum()
    # Midpoint rule over a piecewise smooth path: the error falls with the number of steps.
    assert explained == pytest.approx(found.total - found.baseline, rel=0.02, abs=0.02)


def test_prediction_is_that_of_the_estimator(amine_finder):
    found = explain_molecule(amine_finder, "CCCN", 0)
    assert found.prediction == pytest.approx(amine_finder.predict_smiles(["CCCN"])[0, 0], rel=1e-5)
    assert found.prediction > 0.5


def test_atoms_that_symmetry_makes_equal_get_equal_shares(amine_finder):
    benzene = explain_molecule(amine_finder, "c1ccccc1", 0)
    assert np.ptp(benzene.attribution) < 1e-3
    ends = explain_molecule(amine_finder, "CCNCC", 0).attribution
    np.testing.assert_allclose(ends, ends[::-1], atol=1e-3)


def test_order_of_atoms_in_the_smiles_does_not_matter(amine_finder):
    forward = explain_molecule(amine_finder, "OCCCN", 0).attribution
    backward = explain_molecule(amine_finder, "NCCCO", 0).attribution
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-3)


# To a trained GIN, which sums neighbors without weights, empty atoms look like an amine already;
# the module says that such a baseline spoils the attribution.
SOUND = [encoder for encoder in ENCODERS if encoder != "gin"]


@pytest.mark.parametrize("amine_finder", SOUND, indirect=True)
def test_the_atom_that_causes_the_effect_is_found(amine_finder):
    found = explain_molecule(amine_finder, "CCCCCN", 0)
    assert found.attribution.argmax() == 5
    against = explain_molecule(amine_finder, "CCCCCN", 1)
    assert against.attribution.argmin() == 5


def test_attention_belongs_to_attentivefp_and_sums_to_one_over_each_molecule(amine_finder):
    batch = featurize(["CCCN", "C", "[Na+].[Cl-]"], fingerprint="ecfp4:128").batch([0, 1, 2])
    weights = readout_attention(amine_finder.trained_model(), batch)
    if amine_finder.encoder != "attentivefp":
        assert weights is None
        return
    assert (weights >= 0).all()
    np.testing.assert_allclose(np.bincount(batch.batch, weights), 1.0, rtol=1e-5)
    alone = explain_molecule(amine_finder, "CCCN", 0).attention
    np.testing.assert_allclose(weights[:4], alone, rtol=1e-4)


def test_hybrid_and_regression_networks_are_explained_in_units_of_the_target():
    smiles = ["C" * n for n in range(1, 25)]
    packed = featurize(smiles, fingerprint="ecfp4:128")
    weight = np.array([[14.0 * n + 2] for n in range(1, 25)])
    model = MoleculeEstimator("regression", "gin", hidden=16, epochs=60, lr=0.01, device="cpu")
    model.fit(packed, weight)
    found = explain_molecule(model, "CCCCCC", 0, steps=200)
    assert found.prediction == pytest.approx(model.predict_smiles(["CCCCCC"])[0, 0], rel=1e-5)
    assert found.baseline + found.attribution.sum() == pytest.approx(found.total, rel=0.02, abs=1)


@pytest.mark.parametrize(
    ("smiles", "output", "message"),
    [
        ("C1CC", 0, r"smiles='C1CC' is not a molecule that RDKit can read"),
        ("CCO", 2, r"output=2 is no effect of this network; use 0 to 1"),
        ("CCO", -1, r"output=-1 is no effect"),
    ],
)
def test_what_cannot_be_explained_is_refused(amine_finder, smiles, output, message):
    with pytest.raises(ParameterError, match=message):
        explain_molecule(amine_finder, smiles, output)


def test_the_best_hit_is_a_test_molecule_that_has_the_effect(small_study):
    results = small_study.results
    found = explain_best_hit(results, model="hybrid")
    test = results.splits[0].test
    rows = test[results.table.smiles[test] == found.smiles]
    assert results.table.Y[rows, found.output].tolist() == [1.0]
    _, probability = results.test_predictions(model="hybrid")
    row = np.flatnonzero(test == rows[0])[0]
    assert found.prediction == pytest.approx(probability[row, found.output], abs=1e-5)


def test_explaining_a_model_that_was_not_trained_names_what_to_add(small_study):
    with pytest.raises(ParameterError, match="'gnn' is no graph network of this study; add"):
        explain_best_hit(small_study.results, model="gnn")
