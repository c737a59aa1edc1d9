"""Controls redraw from the study's own numbers, and show a first state without a browser."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import pytest

from labkit.oversampling import widgets as controls

pytestmark = pytest.mark.usefixtures("figures")


def picture_of(box):
    return next(child for child in box.children if isinstance(child, widgets.Image))


def control(box, description):
    found = [w for w in box.children[0].children if w.description == description]
    return found[0]


def test_imbalance_explorer_redraws_for_every_sampler(small_study):
    box = controls.imbalance_explorer(small_study.preview)
    choose, seen = control(box, "sampler"), set()
    for sampler in choose.options:
        choose.value = sampler
        seen.add(bytes(picture_of(box).value))
    assert len(seen) == len(choose.options)


def test_imbalance_explorer_follows_the_share(small_study):
    box = controls.imbalance_explorer(small_study.preview, sampler="BalancedClones")
    first = bytes(picture_of(box).value)
    assert first.startswith(b"\x89PNG")
    control(box, "P (share)").value = 0.9
    assert bytes(picture_of(box).value) != first


def test_threshold_explorer_starts_with_the_rarest_effect_of_the_test_set(small_study):
    box = controls.threshold_explorer(small_study.results, model="forest")
    y, _ = small_study.results.test_predictions(model="forest")
    counts = dict(zip(small_study.table.label_names, y.sum(axis=0), strict=True))
    positive = {name: n for name, n in counts.items() if n > 0}
    assert counts[control(box, "effect").value] == min(positive.values())


@pytest.mark.parametrize(("cut", "precision", "recall"), [(0.5, 0.5, 0.5), (0.05, 0.4, 1.0)])
def test_precision_and_recall_by_hand(cut, precision, recall):
    positive = np.array([True, True, False, False, False])
    probability = np.array([0.9, 0.1, 0.6, 0.2, 0.3])
    p, r, f1 = controls.precision_recall_f1(positive, probability >= cut)
    assert (p, r) == pytest.approx((precision, recall))
    assert f1 == pytest.approx(2 * p * r / (p + r))


def test_leakage_explorer_toggles_between_the_orders(small_study):
    box = controls.leakage_explorer(small_study.leakage)
    order = control(box, "order")
    honest = picture_of(box).value
    order.value = order.options[1]
    leaky = picture_of(box).value
    order.value = order.options[0]
    assert leaky != honest
    assert picture_of(box).value == honest


def test_atom_explorer_explains_another_molecule_on_request(small_study):
    box = controls.atom_explorer(small_study.results, model="hybrid", n_molecules=3)
    drawing = box.children[1]
    molecule = control(box, "molecule")
    assert len(molecule.options) == 3
    first = drawing.value
    molecule.value = molecule.options[1][1]
    assert "<img" in first
    assert drawing.value != first
    effect = control(box, "effect")
    effect.value = effect.options[-1]
    assert effect.value in drawing.value
