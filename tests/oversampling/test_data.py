"""Loading of molecules: named sets as published, CSV files as users write them."""

from __future__ import annotations

import gzip
import hashlib

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from labkit.errors import LabkitError, MissingDataError, ParameterError
from labkit.oversampling.data import load_molecules

LABELS = pd.DataFrame(
    {
        "smiles": ["CCO", "OCC", "C1CC", "c1ccccc1", "", "CN", "CC"],
        "sleepy": [1, 0, 1, 1, 0, np.nan, 0],
        "dizzy": [0, 1, 0, np.nan, 0, np.nan, 1],
    }
)


@pytest.fixture
def write(tmp_path):
    def to_csv(frame: pd.DataFrame | str, name: str = "mine.csv"):
        path = tmp_path / name
        path.write_text(frame if isinstance(frame, str) else frame.to_csv(index=False))
        return path

    return to_csv


def test_rows_that_are_not_molecules_are_reported_with_row_and_reason(write):
    table = load_molecules(write(LABELS))
    assert table.smiles.tolist() == ["CCO", "OCC", "c1ccccc1", "CC"]
    assert table.source_rows.tolist() == [0, 1, 3, 6]
    assert table.dropped["row"].tolist() == [2, 4, 5]
    assert table.dropped["reason"].tolist() == [
        "not a valid SMILES",
        "no SMILES",
        "no known target",
    ]


def test_duplicates_with_different_labels_are_kept_in_one_group(write):
    table = load_molecules(write(LABELS))
    assert table.canonical[0] == table.canonical[1] == "CCO"
    assert table.group[0] == table.group[1]
    assert table.Y[:2].tolist() == [[1, 0], [0, 1]]
    assert table.n_duplicates == 1
    assert len(set(table.group)) == 3


def test_unknown_labels_stay_unknown(write):
    table = load_molecules(write(LABELS))
    assert table.task == "multilabel"
    assert np.isnan(table.Y[2, 1])
    assert np.isnan(table.Y).sum() == 1


def test_checksum_is_that_of_the_content_compressed_or_not(write, tmp_path):
    path = write(LABELS)
    content = path.read_bytes()
    packed = tmp_path / "packed.csv.gz"
    packed.write_bytes(gzip.compress(content))
    expected = hashlib.sha256(content).hexdigest()
    assert load_molecules(path).sha256 == load_molecules(packed).sha256 == expected
    assert load_molecules(packed).name == "packed"


def test_tab_separated_files_are_read(write):
    path = write(LABELS.to_csv(index=False, sep="\t"), "mine.tsv")
    assert len(load_molecules(path)) == 4


def test_targets_can_be_chosen_and_ordered(write):
    table = load_molecules(write(LABELS), target_cols=["dizzy", "sleepy"])
    assert table.label_names == ["dizzy", "sleepy"]
    assert load_molecules(write(LABELS), target_cols="dizzy").label_names == ["dizzy"]


def test_text_columns_are_left_out_and_named_in_the_note(write):
    table = load_molecules(write(LABELS.assign(vendor="x")))
    assert table.label_names == ["sleepy", "dizzy"]
    assert "'vendor'" in table.note


def test_labels_that_cannot_be_learned_are_named(write):
    frame = LABELS.assign(always=1, never=0, unknown=np.nan)
    problems = load_molecules(write(frame)).label_problems()
    assert dict(zip(problems["label"], problems["problem"], strict=True)) == {
        "always": "always positive",
        "never": "never positive",
        "unknown": "never known",
    }


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (LABELS, {"smiles_col": "smile"}, "Did you mean 'smiles'"),
        (LABELS, {"target_cols": ["sleapy"]}, "Did you mean 'sleepy'"),
        (LABELS, {"target_cols": []}, "empty"),
        (LABELS, {"target_cols": ["dizzy", "dizzy"]}, "twice"),
        (LABELS, {"task": "classification"}, '"multilabel" or "regression"'),
        (LABELS, {"n_molecules": 0}, "n_molecules=0"),
        (LABELS, {"n_molecules": 1.5}, "n_molecules=1.5"),
        (LABELS.rename(columns={"smiles": "drug"}), {}, "smiles_col is not given"),
        (LABELS.assign(SMILES="C"), {}, "several columns look like SMILES"),
        (LABELS.assign(dizzy=[0, 1, 2, 0, 1, 0, 1]), {"task": "multilabel"}, "has the value 2"),
        (LABELS.assign(dizzy=[0, 1, 2, 0, 1, 0, 1]), {}, "some columns are labels"),
        (
            LABELS.assign(dizzy=["0", "1", "yes", "0", "1", "0", "1"]),
            {"target_cols": ["dizzy"]},
            "'yes' in row 2",
        ),
        (LABELS.assign(dizzy=np.inf), {}, "not finite numbers"),
        (LABELS[["smiles"]], {}, "no numeric column"),
        (LABELS.assign(smiles="?"), {}, "no usable row among 7"),
        (LABELS.assign(sleepy=np.nan, dizzy=np.nan), {}, "no known target"),
        ("smiles,a\n", {}, "no rows"),
        ("smiles,a\nCC,1,\nC,0,\n", {}, "more cells than the header"),
        ("", {}, "can not be read as CSV"),
    ],
)
def test_unusable_input_is_an_error_that_says_what_is_wrong(write, frame, options, message):
    with pytest.raises(ParameterError, match=message):
        load_molecules(write(frame), **options)


def test_a_broken_compressed_file_is_one_clear_error(tmp_path):
    path = tmp_path / "broken.csv.gz"
    path.write_bytes(gzip.compress(LABELS.to_csv().encode())[:40])
    with pytest.raises(ParameterError, match="can not be read as CSV"):
        load_molecules(path)


def test_unknown_names_and_missing_files_are_told_apart(tmp_path):
    with pytest.raises(ParameterError, match="Did you mean 'sider'"):
        load_molecules("siderr")
    with pytest.raises(MissingDataError, match=r"nowhere\.csv"):
        load_molecules(tmp_path / "nowhere.csv")
    with pytest.raises(LabkitError, match="not a file"):
        load_molecules(tmp_path)


def test_sampling_is_reproducible_and_keeps_the_order(write):
    frame = pd.DataFrame({"smiles": ["C" * (i + 1) for i in range(50)], "a": [0, 1] * 25})
    path = write(frame)
    first, again = (load_molecules(path, n_molecules=10, seed=3) for _ in range(2))
    assert first.source_rows.tolist() == again.source_rows.tolist()
    assert len(first) == 10
    assert (np.diff(first.source_rows) > 0).all()
    assert np.array_equal(first.Y[:, 0], first.source_rows % 2)
    other = load_molecules(path, n_molecules=10, seed=4)
    assert first.source_rows.tolist() != other.source_rows.tolist()
    assert len(load_molecules(path, n_molecules=500)) == 50


def test_taken_rows_stay_aligned_and_may_repeat(write):
    table = load_molecules(write(LABELS)).take([3, 0, 1, 0])
    assert table.smiles.tolist() == ["CC", "CCO", "OCC", "CCO"]
    assert table.Y[:, 0].tolist() == [0, 1, 0, 1]
    assert table.group[1] == table.group[2] == table.group[3] != table.group[0]
    assert table.take(table.Y[:, 0] == 1).smiles.tolist() == ["CCO", "CCO"]


@pytest.fixture
def continuous(write):
    frame = pd.DataFrame({"smiles": ["C" * (i + 1) for i in range(8)], "a": np.arange(8.0)})
    return load_molecules(write(frame.assign(b=[5, np.nan, 1, 2, 3, 4, 4, 4])))


def test_continuous_values_are_taken_as_regression_and_thresholded_by_quantile(continuous):
    assert continuous.task == "regression"
    labels = continuous.threshold(quantile=0.5)
    assert labels.task == "multilabel"
    assert labels.Y[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert np.isnan(labels.Y[1, 1])
    assert np.nansum(labels.Y[:, 1]) == 1  # strictly above the median 4


@pytest.mark.parametrize(
    ("options", "positive"),
    [
        ({"value": 5.0}, [6, 7]),
        ({"value": 2.0, "direction": "below"}, [0, 1]),
        ({"value": [1.0, 4.0]}, [2, 3, 4, 5, 6, 7]),
        ({"value": {"b": 0.0, "a": 6.0}}, [7]),
    ],
)
def test_thresholds_may_be_values_for_all_or_for_each_effect(continuous, options, positive):
    labels = continuous.threshold(**options)
    assert np.flatnonzero(labels.Y[:, 0]).tolist() == positive
    assert np.isnan(labels.Y[1, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantile": 1.0}, "between 0 and 1"),
        ({"direction": "up"}, '"above" or "below"'),
        ({"value": [1.0]}, "2 of them"),
        ({"value": {"a": 1.0}}, "no threshold for b"),
        ({"value": float("nan")}, "not finite"),
    ],
)
def test_bad_thresholds_are_errors(continuous, options, message):
    with pytest.raises(ParameterError, match=message):
        continuous.threshold(**options)


def test_labels_cannot_be_thresholded_again(write):
    with pytest.raises(ParameterError, match="has labels already"):
        load_molecules(write(LABELS)).threshold()


def test_simulated_set_says_so_everywhere_and_is_the_same_each_time():
    table = load_molecules("nci_simulated", n_molecules=300, seed=1)
    assert table.simulated
    assert all("simulated" in name for name in table.label_names)
    for text in (table.name, table.citation, table.note, repr(table)):
        assert "simulated" in text.lower()
    again = load_molecules("nci_simulated", n_molecules=300, seed=1)
    assert table.sha256 == again.sha256
    pd.testing.assert_frame_equal(table.targets, again.targets)
    assert table.probability.shape == table.Y.shape
    assert len(load_molecules("nci_simulated").dropped) == 8


def test_thresholded_simulated_effects_keep_their_true_probability():
    """Normal noise of known size, so the probability above the quantile is a normal tail."""
    effects = load_molecules(
        "nci_simulated", task="regression", target_cols=["simulated effect 03"]
    )
    for direction, sign in (("above", 1), ("below", -1)):
        labels = effects.threshold(quantile=0.8, direction=direction)
        cut = np.quantile(effects.Y, 0.8)
        expected = norm.cdf(sign * (effects.expected - cut) / effects.noise_sd)
        np.testing.assert_allclose(labels.probability, expected, atol=1e-12)
        standard_error = np.sqrt((expected * (1 - expected)).sum()) / len(expected)
        assert abs(labels.Y.mean() - expected.mean()) < 4 * standard_error


@pytest.mark.parametrize(
    ("name", "rows", "labels", "missing", "dropped", "duplicates", "fragments"),
    [
        ("sider", 1427, 27, 0.0, 0, 0, 182),
        ("tox21", 7831, 12, 17.0, 8, 0, 244),
        ("clintox", 1478, 2, 0.0, 0, 19, 14),
        ("toxcast", 8576, 617, 71.0, 0, 0, 1734),
        ("biogen_adme", 3521, 6, 46.4, 0, 0, 4),
    ],
)
def test_real_sets_have_the_published_size(
    name, rows, labels, missing, dropped, duplicates, fragments, labkit_data
):
    """Rows and labels as in MoleculeNet (chemprop's copy); the rest counted with RDKit 2026.9.1."""
    table = load_molecules(name)
    assert len(table) + len(table.dropped) == rows
    assert table.n_labels == labels
    assert len(table.dropped) == dropped
    assert table.n_duplicates == duplicates
    summary = table.summary()
    assert summary["missing values (%)"] == pytest.approx(missing, abs=0.3)
    assert summary["records of several fragments"] == fragments
    assert not len(table.label_problems())
    assert not table.simulated
    assert table.citation
    assert table.dropped["reason"].str.contains("valence").all()


def test_named_sets_take_a_choice_of_labels_and_only_their_own_task(labkit_data):
    assert load_molecules("tox21", target_cols=["SR-p53", "NR-AR"]).Y.shape[1] == 2
    assert load_molecules("oversampling/sider").name == "sider"
    with pytest.raises(ParameterError, match="regression set"):
        load_molecules("biogen_adme", task="multilabel")
    with pytest.raises(ParameterError, match="multilabel set"):
        load_molecules("sider", task="regression")
