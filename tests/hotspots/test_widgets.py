"""Widgets show a first state without a browser, and follow their controls."""

from __future__ import annotations

from dataclasses import replace

import ipywidgets
import numpy as np
import pytest

from labkit.errors import LabkitError
from labkit.hotspots import view3d, widgets
from labkit.hotspots.contacts import compute_contacts
from labkit.hotspots.examples import example
from labkit.hotspots.scores import contact_scores

pytestmark = pytest.mark.usefixtures("figures")


@pytest.fixture(scope="module")
def system():
    return example("ergotamine", step=5)


@pytest.fixture(scope="module")
def contacts(system):
    return compute_contacts(system).pocket()


@pytest.fixture(scope="module")
def scores(contacts):
    return contact_scores(contacts)


@pytest.fixture(scope="module")
def latents(system) -> list[np.ndarray]:
    """Four latent spaces in which later atoms move more, each with its own noise."""
    rng = np.random.default_rng(0)
    width = np.linspace(0.5, 2.0, system.n_atoms)[:, None, None]
    return [width * rng.normal(size=(system.n_atoms, 30, 4)) for _ in range(4)]


def parts(box, kind) -> list:
    """All widgets of a kind inside a box."""
    found = [box] if isinstance(box, kind) else []
    for child in getattr(box, "children", ()):
        found += parts(child, kind)
    return found


def control(box, description):
    return next(
        w for w in parts(box, ipywidgets.Widget) if getattr(w, "description", "") == description
    )


def picture(box) -> bytes:
    return bytes(parts(box, ipywidgets.Image)[0].value)


def test_cutoff_explorer_recounts_from_the_stored_distances(contacts):
    box = widgets.cutoff_explorer(contacts)
    first = picture(box)
    assert first.startswith(b"\x89PNG")
    control(box, "cutoff (Å)").value = 6.0
    assert picture(box) != first
    words = parts(box, ipywidgets.HTML)[0].value
    mean = float((contacts.distances < 6.0).sum(axis=2).mean())
    assert f"touches {mean:.2f} residues on average" in words


def test_cutoff_explorer_reads_no_trajectory(contacts, system, monkeypatch):
    def refuse(*_args):
        raise AssertionError("a frame was read")

    monkeypatch.setattr(type(system.universe.trajectory), "_read_frame", refuse)
    box = widgets.cutoff_explorer(contacts)
    control(box, "cutoff (Å)").value = 5.0


def test_cutoff_explorer_shows_who_touches_whom_and_when(contacts):
    box = widgets.cutoff_explorer(contacts)
    first = picture(box)
    parts(box, ipywidgets.ToggleButtons)[0].value = "when"
    assert picture(box) != first


def test_cutoff_without_contacts_is_said_in_words(contacts):
    far = replace(contacts, distances=np.full_like(contacts.distances, 7.0))
    box = widgets.cutoff_explorer(far)
    assert "give a larger cutoff" in parts(box, ipywidgets.HTML)[0].value
    control(box, "cutoff (Å)").value = 7.5
    assert picture(box).startswith(b"\x89PNG")


def test_slider_ends_where_distances_end(contacts):
    assert control(widgets.cutoff_explorer(contacts), "cutoff (Å)").max == contacts.cutoff


def test_clicking_a_ligand_atom_shows_its_timeline(system, contacts, scores):
    box = widgets.atom_explorer(system, contacts, scores, score="flicker", n_frames=3)
    first = picture(box)
    atom = 7 if box.atom.value != 7 else 8
    box.view.picked = {"atom1": {"index": len(box.scene.pocket) + atom, "name": "X"}}
    assert box.atom.value == atom
    assert picture(box) != first


def test_clicking_the_pocket_or_nothing_changes_nothing(system, contacts):
    box = widgets.atom_explorer(system, contacts, n_frames=2)
    box.view.picked = {"atom1": {"index": 0, "name": "X"}}
    box.view.picked = {}
    assert box.atom.value == 0


def test_list_does_the_same_as_a_click_and_marks_the_atom(system, contacts):
    box = widgets.atom_explorer(system, contacts, n_frames=2)
    first = picture(box)
    box.atom.value = 5
    assert picture(box) != first
    marked = box.view._ngl_msg_archive[-1]["kwargs"]["sele"]
    assert marked == f"@{len(box.scene.pocket) + 5}"
    second = picture(box)
    box.cutoff.value = 6.0
    assert picture(box) != second


def test_list_begins_with_the_highest_score(system, contacts, scores):
    box = widgets.atom_explorer(system, contacts, scores, score="flicker", n_frames=2)
    best = scores["flicker"].idxmax()
    assert box.atom.label == f"1: {best} ({scores['flicker'].max():.2f})"


def test_player_says_which_frame_it_shows(system, contacts):
    box = widgets.atom_explorer(system, contacts, n_frames=3)
    assert box.frame.value.startswith(f"frame {system.frames[0]};")
    box.view.frame = 2
    assert box.frame.value.startswith(f"frame {system.frames[-1]};")


def test_drawing_stands_in_where_nglview_cannot_show(system, contacts, scores, monkeypatch, caplog):
    def refuse(*_args, **_options):
        raise LabkitError("nglview wants another front end")

    monkeypatch.setattr(view3d, "show_scene", refuse)
    box = widgets.atom_explorer(system, contacts, scores, score="flicker", n_frames=2)
    assert "<img" in box.view.value
    assert "another front end" in caplog.text
    first, drawing = picture(box), box.view.value
    box.atom.index = 20
    assert picture(box) != first
    assert box.view.value != drawing


def bundle(box) -> dict[str, str]:
    return parts(box, ipywidgets.Output)[0].outputs[0]["data"]


def test_score_explorer_shows_every_score_by_atom_and_by_fragment(system, scores):
    box = widgets.score_explorer(system, scores)
    column, seen = control(box, "score"), set()
    assert {value for _, value in column.options} == set(scores.columns)
    for _, value in column.options:
        column.value = value
        seen.add(picture(box))
    assert len(seen) == len(column.options)
    by_atom, drawing = picture(box), bundle(box)["text/html"]
    control(box, "fragments").value = "rings"
    assert picture(box) != by_atom
    assert bundle(box)["text/html"] != drawing


@pytest.mark.parametrize("scheme", ["rings", "brics", "murcko"])
def test_a_fragment_has_the_mean_score_of_its_atoms(system, scores, scheme):
    values = scores["flicker"].to_numpy()
    names, means, ids = widgets.grouped(system, values, scheme)
    assert len(names) == len(means) == ids.max() + 1
    for fragment in range(len(names)):
        assert means[fragment] == pytest.approx(values[ids == fragment].mean())
    names, same, ids = widgets.grouped(system, values, widgets.ATOMS)
    np.testing.assert_array_equal(same[ids], values)


def test_score_explorer_is_flat_first_and_solid_on_request(system, scores):
    box = widgets.score_explorer(system, scores, score="flicker")
    assert "<script" not in bundle(box)["text/html"]
    assert "contact flicker" in bundle(box)["text/plain"]
    parts(box, ipywidgets.ToggleButtons)[0].value = "3D"
    assert "3Dmol-min.js" in bundle(box)["text/html"]


def test_smaller_ensembles_change_latent_scores_only(system, scores, latents):
    table = scores.assign(latent_spread=widgets.ensemble_spread(latents))
    for size in (1, 2):
        few = widgets.ensemble_score(table, "latent_spread", latents, size)
        np.testing.assert_allclose(few, widgets.ensemble_spread(latents[:size]))
    for size, column in ((4, "latent_spread"), (1, "flicker")):
        same = widgets.ensemble_score(table, column, latents, size)
        np.testing.assert_array_equal(same, table[column])


def test_agreement_of_ensembles_is_said_where_there_are_enough(system, scores, latents):
    table = scores.assign(latent_spread=widgets.ensemble_spread(latents))
    box = widgets.score_explorer(system, table, latents=latents)
    words = parts(box, ipywidgets.HTML)[0]
    assert words.value == "agreement of two ensembles of 4 needs 8 networks"
    control(box, "networks").value = 2
    assert words.value.startswith("two ensembles of 2 that share no network")
    assert "(3 pairs)" in words.value
    control(box, "score").value = "flicker"
    assert words.value == "this score needs no network"
