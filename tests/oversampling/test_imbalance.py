"""Imbalance measures against hand calculations, brute force and published facts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from labkit.errors import ParameterError
from labkit.oversampling.imbalance import (
    cooccurrence,
    cvir,
    imbalance_report,
    irlbl,
    mean_ir,
    read_labels,
    scumble,
)

NAN = float("nan")

# Four rows, three labels: counts 4, 2, 1; IRLbl 1, 2, 4.
Y_TINY = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]])


def label_matrices(with_nan: bool = True) -> st.SearchStrategy[np.ndarray]:
    entries = st.sampled_from([0.0, 1.0, NAN] if with_nan else [0.0, 1.0])
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 6))
    return shapes.flatmap(lambda shape: arrays(float, shape, elements=entries, fill=st.nothing()))


def naive_measures(Y: np.ndarray) -> dict[str, object]:
    """Every measure by plain loops over the definition; products instead of logarithms."""
    n, q = Y.shape
    counts = [sum(1 for i in range(n) if Y[i, j] == 1) for j in range(q)]
    ratios = [max(counts) / c if c else None for c in counts]
    occurring = [r for r in ratios if r is not None]
    rows = []
    for i in range(n):
        active = [ratios[j] for j in range(q) if Y[i, j] == 1]
        value = 0.0
        if active:
            value = 1 - math.prod(active) ** (1 / len(active)) / (sum(active) / len(active))
        rows.append(value)
    per_label = []
    for j in range(q):
        having = [rows[i] for i in range(n) if Y[i, j] == 1]
        per_label.append(sum(having) / len(having) if having else NAN)
    return {
        "irlbl": [NAN if r is None else r for r in ratios],
        "mean_ir": sum(occurring) / len(occurring) if occurring else NAN,
        "scumble": sum(rows) / n,
        "instance": rows,
        "label": per_label,
        "labelsets": len({tuple(j for j in range(q) if Y[i, j] == 1) for i in range(n)}),
    }


def test_tiny_example_agrees_with_hand_calculation() -> None:
    np.testing.assert_allclose(irlbl(Y_TINY), [1, 2, 4])
    assert mean_ir(Y_TINY) == pytest.approx(7 / 3)
    # Deviations from 7/3 are -4/3, -1/3, 5/3: variance (16 + 1 + 25) / 9 / 2 = 7/3.
    assert cvir(Y_TINY) == pytest.approx(math.sqrt(7 / 3) / (7 / 3))
    # Row 0: 1 - 8^(1/3) / (7/3) = 1/7. Row 1: 1 - sqrt(2) / 1.5.
    expected = [1 / 7, 1 - math.sqrt(2) / 1.5, 0, 0]
    np.testing.assert_allclose(scumble(Y_TINY, per="instance"), expected)
    assert scumble(Y_TINY) == pytest.approx(sum(expected) / 4)
    np.testing.assert_allclose(
        scumble(Y_TINY, per="label"),
        [sum(expected) / 4, sum(expected) / 2, expected[0]],
    )


@settings(deadline=None, max_examples=150)
@given(label_matrices())
def test_measures_agree_with_plain_loops(Y: np.ndarray) -> None:
    expected = naive_measures(Y)
    np.testing.assert_allclose(irlbl(Y), expected["irlbl"])
    np.testing.assert_allclose(mean_ir(Y), expected["mean_ir"])
    # Logarithms against products: equal to a few rounding errors of numbers of order 1.
    np.testing.assert_allclose(scumble(Y), expected["scumble"], atol=1e-12)
    np.testing.assert_allclose(scumble(Y, per="instance"), expected["instance"], atol=1e-12)
    np.testing.assert_allclose(scumble(Y, per="label"), expected["label"], atol=1e-12)
    assert imbalance_report(Y).n_labelsets == expected["labelsets"]


@settings(deadline=None, max_examples=60)
@given(label_matrices(), st.integers(0, 1000))
def test_measures_do_not_depend_on_the_order_of_rows_and_labels(Y: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(Y.shape[0]), rng.permutation(Y.shape[1])
    shuffled = Y[rows][:, columns]
    np.testing.assert_allclose(irlbl(shuffled), irlbl(Y)[columns])
    np.testing.assert_allclose(
        scumble(shuffled, per="instance"), scumble(Y, per="instance")[rows], atol=1e-12
    )
    before, after = imbalance_report(Y), imbalance_report(shuffled)
    for name in ("cardinality", "n_labelsets", "n_single_labelsets", "mean_ir", "n_missing"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(label_matrices(), st.integers(2, 4))
def test_repeating_every_row_changes_no_ratio_and_leaves_no_single_labelset(
    Y: np.ndarray, times: int
) -> None:
    repeated = np.tile(Y, (times, 1))
    np.testing.assert_allclose(irlbl(repeated), irlbl(Y))
    assert scumble(repeated) == pytest.approx(scumble(Y), abs=1e-12)
    assert imbalance_report(repeated).n_single_labelsets == 0


@settings(deadline=None, max_examples=100)
@given(label_matrices())
def test_scumble_lies_between_zero_and_one_and_is_zero_for_rows_with_one_label(
    Y: np.ndarray,
) -> None:
    per_row = scumble(Y, per="instance")
    assert ((per_row >= 0) & (per_row < 1)).all()
    assert (per_row[(Y == 1).sum(axis=1) <= 1] == 0).all()


@settings(deadline=None, max_examples=100)
@given(label_matrices())
def test_missing_labels_are_counted_and_never_positive_or_negative(Y: np.ndarray) -> None:
    report = imbalance_report(Y)
    assert report.n_missing == np.isnan(Y).sum()
    assert report.n_known + report.n_missing == Y.size
    table = report.labels
    assert (table.n_positive + table.n_negative + table.n_missing == len(Y)).all()
    assert table.n_positive.tolist() == np.nansum(Y, axis=0).tolist()
    np.testing.assert_allclose(irlbl(Y), irlbl(np.nan_to_num(Y)))


def test_hundreds_of_large_ratios_do_not_overflow() -> None:
    # 400 rare labels beside a frequent one: the product of the ratios is 1000^400.
    Y = np.zeros((1000, 401))
    Y[:, 0] = 1
    Y[0, 1:] = 1
    value = scumble(Y, per="instance")[0]
    log_mean = 400 * math.log(1000) / 401
    assert value == pytest.approx(1 - math.exp(log_mean) / ((1 + 400 * 1000) / 401))


def test_labels_that_never_occur_are_left_out_of_mean_ir() -> None:
    with_empty = np.column_stack([Y_TINY, np.zeros(4)])
    assert math.isnan(irlbl(with_empty)[3])
    assert mean_ir(with_empty) == mean_ir(Y_TINY)
    assert cvir(with_empty) == cvir(Y_TINY)
    assert not imbalance_report(with_empty).labels.minority[3]


def test_more_than_64_labels_are_told_apart_in_labelsets() -> None:
    Y = np.eye(200, dtype=int)
    report = imbalance_report(np.vstack([Y, Y[:50]]))
    assert (report.n_labelsets, report.n_single_labelsets) == (200, 150)


@pytest.mark.parametrize(
    "container",
    [
        lambda Y: Y.tolist(),
        lambda Y: Y.astype(bool),
        lambda Y: Y.astype(np.float32),
        lambda Y: pd.DataFrame(Y),
        lambda Y: pd.DataFrame(Y).astype("Int8"),
        sparse.csr_matrix,
        sparse.csc_array,
        sparse.coo_array,
    ],
    ids=["list", "bool", "float32", "frame", "nullable", "csr_matrix", "csc_array", "coo_array"],
)
def test_every_container_gives_the_same_report(container) -> None:
    expected = imbalance_report(Y_TINY)
    report = imbalance_report(container(Y_TINY))
    pd.testing.assert_series_equal(report.summary(), expected.summary())
    pd.testing.assert_frame_equal(report.labels, expected.labels)


def test_missing_labels_are_read_from_every_container_that_can_hold_them() -> None:
    Y = np.array([[1, NAN], [0, 1]])
    nullable = pd.DataFrame({"a": [1, 0], "b": [pd.NA, 1]}).astype("Int64")
    for container in (
        Y,
        Y.tolist(),
        pd.DataFrame(Y),
        nullable,
        sparse.csr_array(Y),
        [[1, None], [0, 1]],
    ):
        labels = read_labels(container)
        assert labels.known.tolist() == [[True, False], [True, True]]
        assert labels.positive.tolist() == [[True, False], [False, True]]


def test_report_names_labels_that_cannot_be_learned() -> None:
    Y = pd.DataFrame(
        {"ok": [1, 0, 1], "none": [0, 0, 0], "all": [1, 1, 1], "unknown": [NAN, NAN, NAN]}
    )
    notes = imbalance_report(Y).notes
    assert any("never measured: unknown" in note for note in notes)
    assert any("never positive: none" in note for note in notes)
    assert any("never negative: all" in note for note in notes)
    assert imbalance_report(Y_TINY[:, 1:]).notes == []


def test_report_shows_as_a_table_with_names_escaped() -> None:
    html = imbalance_report(Y_TINY, label_names=["a<b", "liver", "skin"])._repr_html_()
    assert "mean_ir" in html
    assert "liver" in html
    assert "a<b" not in html


def test_cooccurrence_counts_joint_rows_and_keeps_names() -> None:
    Y = pd.DataFrame({"a": [1, 1, 1], "b": [1, NAN, 0]})
    joint = cooccurrence(Y)
    assert joint.loc["a", "b"] == 1
    assert joint.loc["a", "a"] == 3
    assert list(joint.columns) == ["a", "b"]
    np.testing.assert_array_equal(cooccurrence(sparse.csr_array(Y_TINY)), Y_TINY.T @ Y_TINY)


def test_a_label_matrix_without_any_positive_has_no_ratio() -> None:
    report = imbalance_report(np.zeros((3, 2)))
    assert math.isnan(report.mean_ir)
    assert math.isnan(report.max_ir)
    assert report.scumble == 0
    assert report.n_without_positive == 3


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.array([0, 1]), "reshape"),
        (np.zeros((0, 3)), "at least one row"),
        (np.zeros((3, 0)), "at least one row and one label"),
        (np.array([[0, 2]]), r"2 in row 0, label '1'; allowed are 0, 1 and nan"),
        (np.array([[0.5, 1.0]]), "0.5 in row 0"),
        (np.array([[-1, 1]]), "-1 in row 0"),
        (np.array([[np.inf, 1]]), "inf in row 0"),
        (pd.DataFrame({"liver": ["yes"]}), "0, 1 or nan"),
        ([[1, 0], [1]], "0, 1 or nan"),
        (np.zeros((2, 2, 2)), "shape"),
    ],
)
def test_bad_labels_are_refused_with_what_was_given_and_what_is_allowed(Y, message) -> None:
    with pytest.raises(ParameterError, match=message):
        imbalance_report(Y)


def test_wrong_number_of_names_and_unknown_scumble_kind_are_refused() -> None:
    with pytest.raises(ParameterError, match="2 names, but Y has 3 labels"):
        imbalance_report(Y_TINY, label_names=["a", "b"])
    with pytest.raises(ParameterError, match="'instance'"):
        scumble(Y_TINY, per="row")


# Measured with an independent prototype and, for the counts, in the MoleculeNet tables.
FACTS = {
    "sider": (1427, 27, 0, 15.32, 1088, 967, 4.504, 59.9, 2.506, 0.0800, 0),
    "tox21": (7831, 12, 16026, 0.749, 395, 215, 2.557, 5.1, 0.506, 0.0147, 4959),
    "clintox": (1478, 2, 0, 1.012, 3, 0, 6.679, 12.4, 1.202, 0.0058, 0),
    "toxcast": (8576, 617, 3757732, 14.77, 4460, 4223, 24.75, 92.7, 0.932, 0.1321, 2390),
}


@pytest.mark.data
@pytest.mark.parametrize("name", FACTS)
def test_real_data_have_the_known_imbalance(name: str, labkit_data: Path) -> None:
    frame = pd.read_csv(labkit_data / "oversampling" / f"{name}.csv.gz").iloc[:, 1:]
    report = imbalance_report(frame)
    n, q, missing, cardinality, sets, single, mean, largest, cv, mix, empty = FACTS[name]
    assert (report.n_samples, report.n_labels, report.n_missing) == (n, q, missing)
    assert (report.n_labelsets, report.n_single_labelsets) == (sets, single)
    assert report.n_without_positive == empty
    # The table gives three or four digits.
    assert report.cardinality == pytest.approx(cardinality, rel=1e-3)
    assert report.mean_ir == pytest.approx(mean, rel=5e-4)
    assert report.max_ir == pytest.approx(largest, rel=1e-2)
    assert report.cvir == pytest.approx(cv, rel=1e-3)
    assert report.scumble == pytest.approx(mix, abs=6e-5)
