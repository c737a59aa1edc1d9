"""Splits: every row once, duplicates on one side, DeepChem's scaffold order, kept label rates."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from labkit.errors import ParameterError
from labkit.oversampling.data import load_molecules
from labkit.oversampling.molecules import MoleculeTable
from labkit.oversampling.splits import KINDS, Split, parent_compounds, scaffolds, split

POOL = (
    *("C" * n for n in range(1, 9)),
    *("C" * n + "c1ccccc1" for n in range(1, 6)),
    *("C" * n + "C1CCCC1" for n in range(1, 6)),
    *("C" * n + "c1ccncc1" for n in range(1, 6)),
    "c1ccc2ccccc2c1",
    "[Na+].CCC(=O)[O-]",
    "C[C@H](O)F",
    "C[C@@H](O)F",
)


def _table(smiles: list[str], Y: np.ndarray | None = None, task="multilabel") -> MoleculeTable:
    canonical = np.array([Chem.CanonSmiles(s) for s in smiles], dtype=object)
    if Y is None:
        Y = np.random.default_rng(len(smiles)).random((len(smiles), 3)) < 0.3
    return MoleculeTable(
        name="made",
        smiles=np.array(smiles, dtype=object),
        canonical=canonical,
        targets=pd.DataFrame(np.asarray(Y, dtype=float)).add_prefix("label "),
        task=task,
        source_rows=np.arange(len(smiles)),
        group=pd.factorize(canonical)[0],
        dropped=pd.DataFrame(columns=["row", "smiles", "reason"]),
        sha256="",
    )


@pytest.fixture(scope="module")
def nci():
    return load_molecules("nci_simulated", n_molecules=1500)


def _sides(found: Split, n: int) -> np.ndarray:
    side = np.full(n, -1)
    for number, part in enumerate((found.train, found.valid, found.test)):
        assert (side[part] == -1).all()
        side[part] = number
    return side


@settings(max_examples=60, deadline=None)
@given(
    smiles=st.lists(st.sampled_from(POOL), min_size=30, max_size=90),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
)
def test_every_row_is_on_one_side_and_duplicates_are_never_divided(smiles, kind, seed):
    table = _table(smiles)
    try:
        found = split(table, kind, fractions=(0.6, 0.2, 0.2), seed=seed)
    except ParameterError:
        assume(False)  # a few large groups may not fill three sides
    side = _sides(found, len(table))
    assert (side >= 0).all()
    for canonical in set(table.canonical):
        assert len(set(side[table.canonical == canonical])) == 1
    again = split(table, kind, fractions=(0.6, 0.2, 0.2), seed=seed)
    assert again.digest == found.digest
    assert np.array_equal(again.test, found.test)


@pytest.mark.parametrize("kind", KINDS)
def test_fractions_are_kept_on_real_molecules(nci, kind):
    found = split(nci, kind, fractions=(0.7, 0.2, 0.1))
    shares = np.array([len(part) for part in (found.train, found.valid, found.test)]) / len(nci)
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.02)


@pytest.mark.parametrize("kind", ["random", "stratified", "group"])
def test_another_seed_is_another_split_and_another_digest(nci, kind):
    digests = {split(nci, kind, seed=seed).digest for seed in range(5)}
    assert len(digests) == 5


def test_scaffold_split_does_not_depend_on_the_seed(nci):
    assert split(nci, "scaffold", seed=1).digest == split(nci, "scaffold", seed=2).digest


def test_digest_tells_sides_apart(nci):
    """Validation and test swapped have the same rows but not the same digest."""
    a = split(nci, "random", fractions=(0.8, 0.2, 0.0))
    b = split(nci, "random", fractions=(0.8, 0.0, 0.2))
    assert np.array_equal(a.valid, b.test)
    assert a.digest != b.digest


def test_random_split_without_duplicates_has_exact_sizes():
    found = split(_table(["C" * n for n in range(1, 108)]))
    assert (len(found.train), len(found.valid), len(found.test)) == (85, 11, 11)


def _deepchem(smiles: list[str]) -> tuple[list[int], list[int], list[int]]:
    """Scaffold split as DeepChem documents it, written with dictionaries and lists."""
    sets = defaultdict(list)
    for i, text in enumerate(smiles):
        mol = Chem.MolFromSmiles(text)
        sets[MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=False)].append(i)
    train, valid, test = [], [], []
    for rows in sorted(sets.values(), key=lambda s: (len(s), s[0]), reverse=True):
        if len(train) + len(rows) > 0.8 * len(smiles):
            if len(train) + len(valid) + len(rows) > 0.9 * len(smiles):
                test += rows
            else:
                valid += rows
        else:
            train += rows
    return train, valid, test


def test_scaffold_split_follows_the_rule_of_deepchem(nci):
    found = split(nci, "scaffold")
    for ours, theirs in zip(
        (found.train, found.valid, found.test), _deepchem(nci.smiles), strict=True
    ):
        assert ours.tolist() == sorted(theirs)


def test_no_scaffold_is_on_two_sides(nci):
    found, names = split(nci, "scaffold"), scaffolds(nci)
    train, valid, test = (set(names[part]) for part in (found.train, found.valid, found.test))
    assert len(train) + len(valid) + len(test) == len(train | valid | test)


def test_sider_scaffold_test_side_has_the_size_of_deepchem(labkit_data):
    """143 molecules by DeepChem's rule; scikit-fingerprints' own rule gives 142."""
    found = split(load_molecules("sider"), "scaffold")
    assert (len(found.train), len(found.valid), len(found.test)) == (1141, 143, 143)


def test_stratified_split_keeps_the_rate_of_rare_labels_better_than_chance(nci):
    rare = nci.Y.sum(axis=0).argsort()[:4]

    def deviation(kind, seed):
        rows = split(nci, kind, seed=seed).test
        return np.abs(nci.Y[rows][:, rare].mean(axis=0) / nci.Y[:, rare].mean(axis=0) - 1).mean()

    stratified = np.mean([deviation("stratified", seed) for seed in range(5)])
    assert stratified < 0.15
    assert stratified < 0.5 * np.mean([deviation("random", seed) for seed in range(5)])


def test_stratified_split_takes_unknown_labels(nci):
    Y = np.where(np.random.default_rng(0).random(nci.Y.shape) < 0.5, np.nan, nci.Y)
    found = split(_table(list(nci.smiles), Y), "stratified")
    assert len(found.test) == pytest.approx(150, abs=8)


def test_user_groups_stay_whole_also_through_duplicates():
    """Rows 0 and 2 are the same molecule, so the groups a and b become one."""
    smiles = ["CCO", "CCC", "OCC", *("C" * n for n in range(4, 24))]
    groups = ["a", "a", "b", "b", *(f"g{i}" for i in range(19))]
    table = _table(smiles)
    for seed in range(20):
        found = split(table, "group", fractions=(0.6, 0.2, 0.2), seed=seed, groups=groups)
        side = _sides(found, len(smiles))
        assert len(set(side[:4])) == 1


def test_salts_and_stereoisomers_share_a_parent_compound():
    smiles = ["C[C@H](O)F", "C[C@@H](O)F", "CC(O)F.[Na+].[Cl-]", "CCC"]
    parents = parent_compounds(_table(smiles))
    assert parents[0] == parents[1] == parents[2] != parents[3]
    smiles += ["C" * n for n in range(4, 24)]
    for seed in range(20):
        found = split(_table(smiles), "group", fractions=(0.6, 0.2, 0.2), seed=seed)
        side = _sides(found, len(smiles))
        assert len(set(side[:3])) == 1


def test_clintox_duplicates_are_on_one_side_of_every_split(labkit_data):
    table = load_molecules("clintox")
    assert table.n_duplicates == 19
    for kind in KINDS:
        found = split(table, kind)
        sides = [set(table.canonical[part]) for part in (found.train, found.valid, found.test)]
        assert sum(map(len, sides)) == len(set().union(*sides))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "butina"}, "random, scaffold, stratified, group"),
        ({"fractions": (0.8, 0.2)}, "three numbers"),
        ({"fractions": (0.8, 0.3, -0.1)}, "none negative"),
        ({"fractions": (0.8, 0.1, 0.2)}, "add up to 1"),
        ({"fractions": (float("nan"), 0.5, 0.5)}, "add up to 1"),
        ({"fractions": (0.0, 0.5, 0.5)}, "nothing for training"),
        ({"fractions": (0.98, 0.01, 0.01)}, "validation empty"),
        ({"kind": "group", "groups": ["a"]}, "one for each of 20 rows"),
        ({"kind": "group", "groups": ["a"] * 19 + [None]}, "1 missing"),
        ({"kind": "random", "groups": ["a"] * 20}, 'kind="group"'),
        ({"kind": "group", "groups": ["a"] * 20}, "empty"),
    ],
)
def test_bad_requests_are_errors_that_say_what_is_allowed(options, message):
    with pytest.raises(ParameterError, match=message):
        split(_table(["C" * n for n in range(1, 21)]), **options)


def test_continuous_effects_cannot_be_stratified():
    with pytest.raises(ParameterError, match="threshold"):
        split(_table(list(POOL), task="regression"), "stratified")
