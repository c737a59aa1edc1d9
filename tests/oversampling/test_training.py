"""Training: learnable tasks are learned, seeds and units mean what they say, rows stay aligned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rdkit import Chem

from labkit.errors import ParameterError
from labkit.oversampling.featurize import featurize
from labkit.oversampling.graphs import parse
from labkit.oversampling.models import ENCODERS
from labkit.oversampling.resampling import clone_weights
from labkit.oversampling.simulated import nci_smiles
from labkit.oversampling.training import MoleculeEstimator

N_TRAIN, N_MOLECULES = 160, 220


@pytest.fixture(scope="module")
def smiles() -> list[str]:
    """Real molecules, none larger than 25 atoms, so that training takes a second."""
    found = []
    for text in nci_smiles():
        mol = parse(text)
        if mol is not None and 3 <= mol.GetNumAtoms() <= 25:
            found.append(text)
        if len(found) == N_MOLECULES:
            break
    return [found[i] for i in np.random.default_rng(0).permutation(N_MOLECULES)]


@pytest.fixture(scope="module")
def packed(smiles):
    return featurize(smiles, fingerprint="ecfp4:256")


@pytest.fixture(scope="module")
def labels(smiles) -> np.ndarray:
    """Facts about the structure: has an aromatic atom, has a carbonyl group, has nitrogen."""
    patterns = [Chem.MolFromSmarts(s) for s in ("a", "C=O", "[#7]")]
    mols = [Chem.MolFromSmiles(s) for s in smiles]
    return np.array([[m.HasSubstructMatch(p) for p in patterns] for m in mols], dtype=float)


@pytest.fixture(scope="module")
def sizes(packed) -> np.ndarray:
    """Number of atoms and of bonds of each molecule, as targets of a regression."""
    return np.column_stack([packed.n_atoms, np.diff(packed.bond_ptr)]).astype(float)


def quick(**options) -> MoleculeEstimator:
    small = {"hidden": 16, "epochs": 2, "lr": 0.01, "batch_size": 20, "device": "cpu"}
    return MoleculeEstimator(**(small | options))


TRAIN, TEST = np.arange(N_TRAIN), np.arange(N_TRAIN, N_MOLECULES)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_learns_what_the_graph_shows(packed, labels, encoder):
    model = quick(encoder=encoder, fingerprint=False, hidden=32, dropout=0.0, epochs=40)
    model.fit(packed, labels[TRAIN, :2], rows=TRAIN)
    right = (model.predict(packed, TEST) == labels[TEST, :2]).mean(axis=0)
    # 60 molecules: 0.9 is 2 and 6 standard errors above the more common answer (0.78 and 0.52).
    assert right.min() >= 0.9


@pytest.mark.parametrize("loss", ["bce", "pos_weight", "focal", "asymmetric"])
def test_every_loss_ranks_molecules_by_a_learnable_label(packed, labels, loss):
    model = quick(loss=loss, encoder="gin", epochs=20).fit(packed, labels[TRAIN], rows=TRAIN)
    score, y = model.predict_proba(packed, TEST)[:, 0], labels[TEST, 0] == 1
    auc = (score[y][:, None] > score[~y][None, :]).mean()
    assert auc >= 0.95


def test_regression_is_in_the_units_of_the_targets(packed, sizes):
    model = quick(task="regression", encoder="gin", epochs=40, fingerprint=False)
    prediction = model.fit(packed, sizes[TRAIN], rows=TRAIN).predict(packed, TEST)
    residual = ((prediction - sizes[TEST]) ** 2).mean(axis=0)
    assert (residual < 0.2 * sizes[TEST].var(axis=0)).all()


def test_another_unit_for_the_target_gives_the_same_prediction_in_that_unit(packed, sizes):
    model = quick(task="regression")
    plain = model.fit(packed, sizes[TRAIN], rows=TRAIN).predict(packed, TEST)
    other = model.fit(packed, 1000 * sizes[TRAIN] - 7, rows=TRAIN).predict(packed, TEST)
    # float32 rounding of the scaled targets, amplified by two epochs of training
    np.testing.assert_allclose(other, 1000 * plain - 7, rtol=1e-3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_same_seed_gives_the_same_network_to_the_last_bit(packed, labels, encoder):
    fits = [
        quick(encoder=encoder, seed=s, epochs=1).fit(packed, labels[TRAIN], rows=TRAIN)
        for s in (5, 5, 6)
    ]
    first, again, other = (f.predict_proba(packed, TEST) for f in fits)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_training_leaves_the_random_numbers_of_others_alone(packed, labels):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    quick(epochs=1).fit(packed, labels[TRAIN], rows=TRAIN)
    assert torch.equal(torch.rand(4), expected)


def test_clones_by_index_equal_copies_of_the_molecules(smiles, packed, labels):
    rows = np.array([*range(20), 3, 3, 7, 11, 3])
    copies = featurize([smiles[i] for i in rows], fingerprint="ecfp4:256")
    by_index = quick().fit(packed, labels[rows], rows=rows)
    by_copy = quick().fit(copies, labels[rows])
    assert np.array_equal(by_index.predict_proba(packed, TEST), by_copy.predict_proba(packed, TEST))


def test_full_batch_training_on_clones_equals_training_with_integer_weights(packed, labels):
    rows = np.array([*range(30), 3, 3, 7, 11, 3, 29])
    options = {"batch_size": 1000, "dropout": 0.0, "epochs": 5}
    cloned = quick(**options).fit(packed, labels[rows], rows=rows)
    weighted = quick(**options).fit(
        packed, labels[:30], rows=np.arange(30), sample_weight=clone_weights(rows, 30)
    )
    # Adam divides by the size of the gradient, which amplifies float32 rounding in its first steps.
    np.testing.assert_allclose(
        cloned.predict_proba(packed, TEST), weighted.predict_proba(packed, TEST), atol=1e-3
    )


def test_own_fingerprints_replace_those_of_the_molecules(packed, labels):
    rows = np.arange(40)
    bits = packed.fingerprint[rows].astype(np.float32)
    plain = quick().fit(packed, labels[rows], rows=rows)
    same = quick().fit(packed, labels[rows], rows=rows, fingerprint=bits)
    halved = quick().fit(packed, labels[rows], rows=rows, fingerprint=0.5 * bits)
    predictions = [m.predict_proba(packed, TEST) for m in (plain, same, halved)]
    assert np.array_equal(predictions[0], predictions[1])
    assert not np.allclose(predictions[0], predictions[2])
    own = packed.fingerprint[TEST].astype(np.float32)
    assert np.array_equal(plain.predict_proba(packed, TEST, fingerprint=own), predictions[0])


def test_a_label_that_is_never_known_changes_nothing_for_the_others(packed, labels):
    unknown = np.full((N_MOLECULES, 1), np.nan)
    flipped = np.column_stack([labels, unknown])
    model = quick().fit(packed, flipped[TRAIN], rows=TRAIN)
    assert np.isfinite(model.predict_proba(packed, TEST)).all()
    assert model.model_.head[-1].weight.shape[0] == 4
    assert model.history_["train_loss"].notna().all()


def test_unknown_targets_do_not_enter_the_scaling_of_a_regression(packed, sizes):
    Y = sizes[TRAIN].copy()
    Y[::2, 0] = np.nan
    model = quick(task="regression", epochs=1).fit(packed, Y, rows=TRAIN)
    assert model.target_mean_[0] == pytest.approx(sizes[TRAIN][1::2, 0].mean())
    assert model.target_scale_[0] == pytest.approx(sizes[TRAIN][1::2, 0].std())


def test_a_constant_regression_target_is_predicted_near_its_value(packed):
    Y = np.full((N_TRAIN, 1), 4.0)
    model = quick(task="regression", epochs=20).fit(packed, Y, rows=TRAIN)
    np.testing.assert_allclose(model.predict(packed, TEST), 4.0, atol=0.5)


def test_predictions_for_smiles_stay_in_line_when_some_cannot_be_read(packed, labels, smiles):
    model = quick().fit(packed, labels[TRAIN], rows=TRAIN)
    mixed = ["not a molecule", smiles[200], "", "C1CC", smiles[201], "CN(C)(C)C"]
    result = model.predict_smiles(mixed)
    assert np.isnan(result[[0, 2, 3, 5]]).all()
    np.testing.assert_allclose(result[[1, 4]], model.predict_proba(packed, [200, 201]), rtol=1e-5)


@pytest.mark.parametrize("nothing", [[], ["bad", "worse"]], ids=["no SMILES", "only bad SMILES"])
def test_nothing_to_predict_gives_an_array_of_the_right_shape(packed, labels, nothing):
    model = quick(epochs=1).fit(packed, labels[TRAIN], rows=TRAIN)
    result = model.predict_smiles(nothing)
    assert result.shape == (len(nothing), 3)
    assert np.isnan(result).all()


def test_a_fingerprint_of_another_length_is_refused(packed, labels):
    model = quick(epochs=1).fit(packed, labels[TRAIN], rows=TRAIN)
    with pytest.raises(ParameterError, match=r"2048 bits but the network was trained on 256"):
        model.predict_smiles(["CCO"], fingerprint="ecfp4:2048")


def test_prediction_does_not_depend_on_the_other_molecules_asked_for(packed, labels):
    model = quick().fit(packed, labels[TRAIN], rows=TRAIN)
    together = model.predict_proba(packed)
    alone = np.concatenate([model.predict_proba(packed, [i]) for i in TEST[:10]])
    np.testing.assert_allclose(together[TEST[:10]], alone, rtol=1e-4)


def test_early_stopping_keeps_the_epoch_with_the_lowest_validation_loss(packed, labels):
    # Validation labels say the opposite of training labels: every epoch makes them worse.
    model = quick(epochs=30, patience=2, encoder="gin")
    valid = (TEST, 1 - labels[TEST])
    model.fit(packed, labels[TRAIN], rows=TRAIN, valid=valid)
    history = model.history_
    assert len(history) < 30
    assert len(history) == history["valid_loss"].argmin() + 1 + 2
    p = np.clip(model.predict_proba(packed, TEST), 1e-7, 1 - 1e-7)
    loss = -(valid[1] * np.log(p) + (1 - valid[1]) * np.log(1 - p)).mean()
    assert loss == pytest.approx(history["valid_loss"].min(), rel=1e-4)


def test_without_patience_validation_is_recorded_and_all_epochs_run(packed, labels):
    model = quick(epochs=3).fit(packed, labels[TRAIN], rows=TRAIN, valid=(TEST, labels[TEST]))
    assert model.history_.columns.tolist() == ["epoch", "train_loss", "valid_loss"]
    assert model.history_["epoch"].tolist() == [1, 2, 3]


def test_progress_is_told_after_every_epoch(packed, labels):
    told = []
    quick(epochs=3).fit(
        packed, labels[:20], rows=np.arange(20), progress=lambda *a: told.append(a[:2])
    )
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_refitting_the_head_changes_the_head_of_a_copy_only(packed, labels):
    model = quick().fit(packed, labels[TRAIN], rows=TRAIN)
    before = model.predict_proba(packed, TEST)
    embedding = model.embed(packed, TRAIN)
    assert embedding.shape == (N_TRAIN, model.model_.embedding_dim)
    refitted = model.refit_head(embedding, 1 - labels[TRAIN], epochs=40)
    assert np.array_equal(model.predict_proba(packed, TEST), before)
    assert np.array_equal(refitted.embed(packed, TEST), model.embed(packed, TEST))
    # It was told the opposite, and says the opposite.
    after = refitted.predict_proba(packed, TEST)
    assert np.corrcoef(after[:, 0], before[:, 0])[0, 1] < 0


def test_one_molecule_and_one_label_can_be_trained(packed):
    model = quick(epochs=1).fit(packed, np.array([[1.0]]), rows=np.array([0]))
    assert model.predict_proba(packed).shape == (N_MOLECULES, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "classification"}, r"task='classification' is not known; use one of multilabel"),
        ({"task": "regression", "loss": "bce"}, r"loss='bce' does not fit task='regression'"),
        ({"loss": "mse"}, r"loss='mse' does not fit task='multilabel'"),
        ({"epochs": 0}, r"epochs=0 is too few"),
        ({"lr": 0.0}, r"lr=0.0 is not a learning rate"),
        ({"patience": 0}, r"patience=0 is too few"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, message):
    with pytest.raises(ParameterError, match=message):
        MoleculeEstimator(**options)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": np.arange(5)}, r"Y has shape \(3, 3\) for 5 rows"),
        ({"rows": np.array([0, 1, 999])}, r"rows reach from 0 to 999 but there are 220 molecules"),
        ({"rows": np.array([0, 1, -1])}, r"rows reach from -1 to 1"),
        ({"Y": np.full((3, 3), np.nan)}, r"has no known value"),
        ({"Y": np.zeros((0, 3)), "rows": np.zeros(0, int)}, r"there is nothing to fit"),
        ({"fingerprint": np.zeros((3, 9))}, r"fingerprint has shape \(3, 9\); give \(3, 256\)"),
        ({"sample_weight": np.array([1.0, -1, 1])}, r"give 3 finite weights of 0 or more"),
        ({"sample_weight": np.zeros(3)}, r"not all 0"),
    ],
)
def test_training_data_that_do_not_fit_together_are_refused(packed, labels, wrong, message):
    given = {"Y": labels[:3], "rows": np.arange(3)} | wrong
    with pytest.raises(ParameterError, match=message):
        quick().fit(packed, given.pop("Y"), **given)


def test_a_hybrid_network_without_fingerprints_is_refused(smiles, labels):
    bare = featurize(smiles[:5], fingerprint="none")
    with pytest.raises(ParameterError, match=r"featurized with fingerprint='none'"):
        quick().fit(bare, labels[:5])
    assert quick(fingerprint=False).fit(bare, labels[:5]).predict_smiles(["CCO"]).shape == (1, 3)


def test_patience_without_validation_rows_is_refused(packed, labels):
    with pytest.raises(ParameterError, match=r"patience=2 needs validation rows"):
        quick(patience=2).fit(packed, labels[TRAIN], rows=TRAIN)


def test_predicting_before_fitting_is_refused(packed):
    with pytest.raises(ParameterError, match=r"not trained yet; call fit first"):
        quick().predict_proba(packed)


def test_regression_has_no_probabilities(packed, sizes):
    model = quick(task="regression", epochs=1).fit(packed, sizes[TRAIN], rows=TRAIN)
    with pytest.raises(ParameterError, match=r"has no probabilities; use predict"):
        model.predict_proba(packed)


def test_a_device_that_is_not_there_is_refused_by_name(packed, labels):
    wrong = {"gpu": r"device='gpu' is not known"}
    if not torch.cuda.is_available():
        wrong["cuda"] = r"device='cuda' but no GPU is to be had; use auto or cpu"
    for device, message in wrong.items():
        with pytest.raises(ParameterError, match=message):
            quick(device=device).fit(packed, labels[TRAIN], rows=TRAIN)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_the_same_network_as_the_cpu_up_to_rounding(packed, labels):
    options = {"dropout": 0.0, "epochs": 3}
    cpu, gpu = (
        quick(device=d, **options).fit(packed, labels[TRAIN], rows=TRAIN) for d in ("cpu", "cuda")
    )
    assert next(gpu.model_.parameters()).is_cuda
    np.testing.assert_allclose(
        gpu.predict_proba(packed, TEST), cpu.predict_proba(packed, TEST), atol=0.02
    )
