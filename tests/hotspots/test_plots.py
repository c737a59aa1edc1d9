"""Figures show the numbers they are given, name them with units, and can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from labkit.errors import ParameterError
from labkit.hotspots import plots
from labkit.hotspots.contacts import ContactMatrices
from labkit.hotspots.plots.colors import GRAY, VERDICT_COLORS, series_style
from labkit.hotspots.plots.labels import name_points
from labkit.hotspots.quantities import QUANTITIES, quantity_label
from labkit.hotspots.scores import SCORES
from labkit.viz.style import OKABE_ITO, new_axes

pytestmark = pytest.mark.usefixtures("figures")


def tiny_contacts() -> ContactMatrices:
    """Two atoms, three residues, four frames of two replicas; A touches TYR1 in half of them."""
    distances = np.full((4, 2, 3), np.inf, dtype=np.float32)
    distances[:, 0, 0] = [3.0, 5.0, 3.5, 6.0]
    distances[:, 1, 0] = [4.0, 4.6, 4.4, 4.7]
    distances[:, 1, 2] = [7.0, 3.0, 7.0, 7.0]
    return ContactMatrices(
        distances=distances,
        cutoff=8.0,
        atom_names=("A", "B"),
        residue_labels=("TYR1", "GLY2", "ASP3"),
        residue_indices=np.arange(3),
        frames=np.array([10, 20, 30, 40]),
        replica=np.array([0, 0, 1, 1]),
    )


def labels(axis) -> list[str]:
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_heatmap_counts_the_atoms_that_touch_a_residue():
    ax = plots.contact_heatmap(tiny_contacts())
    assert labels(ax.yaxis) == ["TYR1", "ASP3"]
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_array_equal(shown, [[2, 0, 2, 0], [0, 1, 0, 0]])


def test_heatmap_marks_where_another_trajectory_begins():
    ax = plots.contact_heatmap(tiny_contacts())
    assert [line.get_xdata()[0] for line in ax.lines] == [1.5]


def test_frames_are_named_by_their_trajectory_index():
    ax = plots.contact_heatmap(tiny_contacts())
    ax.figure.canvas.draw()
    place = {text: x for x, text in zip(ax.get_xticks(), labels(ax.xaxis), strict=True)}
    assert place["20"] == pytest.approx(1.0)
    assert ax.get_xlabel() == "frame"


def test_long_trajectories_are_averaged_in_blocks_and_keep_their_frames():
    frames = 5000
    contacts = replace(
        tiny_contacts(),
        distances=np.tile(tiny_contacts().distances, (frames // 4, 1, 1)),
        frames=np.arange(frames),
        replica=np.zeros(frames, dtype=int),
    )
    ax = plots.contact_heatmap(contacts)
    shown = np.asarray(ax.images[0].get_array())
    assert shown.shape[1] <= 1200
    assert shown[0].mean() == pytest.approx(1.0, abs=0.05)
    left, right = ax.images[0].get_extent()[:2]
    assert (left, right) == pytest.approx((-0.5, frames - 0.5), abs=5)


def test_occupancy_is_the_share_of_frames_below_the_cutoff():
    contacts = tiny_contacts()
    ax = plots.occupancy_map(contacts)
    expected = contacts.occupancy(4.5)
    shown = pd.DataFrame(np.asarray(ax.images[0].get_array()), labels(ax.yaxis), labels(ax.xaxis))
    assert shown.loc["A", "TYR1"] == 0.5
    for atom in shown.index:
        for residue in shown.columns:
            assert shown.loc[atom, residue] == expected.loc[atom, residue]


def test_atoms_of_a_fragment_stand_together_under_its_name():
    ax = plots.occupancy_map(
        tiny_contacts(), fragments=np.array([1, 0]), fragment_names=("head", "tail")
    )
    assert labels(ax.yaxis) == ["B", "A"]
    assert [text.get_text() for text in ax.texts] == ["head", "tail"]


@pytest.mark.parametrize("figure", [plots.contact_heatmap, plots.occupancy_map])
def test_a_cutoff_without_contacts_is_refused_by_name(figure):
    with pytest.raises(ParameterError, match=r"cutoff=1.0 Å.*larger cutoff"):
        figure(tiny_contacts(), cutoff=1.0)


def test_timeline_shows_distances_of_one_atom_only_while_in_contact():
    ax = plots.contact_timeline(tiny_contacts(), "B")
    assert labels(ax.yaxis)[:2] == ["TYR1", "ASP3"]
    touching = ax.images[1].get_array()
    np.testing.assert_allclose(touching[0].compressed(), [4.0, 4.4], atol=1e-6)
    assert touching.mask[0].tolist() == [False, True, False, True]
    shares = [text.get_text() for text in ax.texts]
    assert shares[1:3] == ["50%", "25%"]
    assert ax.get_title(loc="left") + ax.get_title() == "B: 2 residues within 4.5 Å"


def test_timeline_takes_positions_and_refuses_unknown_atoms():
    ax = plots.contact_timeline(tiny_contacts(), 0)
    assert (ax.get_title(loc="left") + ax.get_title()).startswith("A: 1 residue within")
    for atom in ("C9", 2, -1):
        with pytest.raises(ParameterError, match=rf"atom={atom!r}.*below 2 or one of A, B"):
            plots.contact_timeline(tiny_contacts(), atom)


def figures_of(small_run) -> dict[str, Callable[[], object]]:
    """Every figure of the study on the small run, by name."""
    run, table = small_run, small_run.table.frame
    images = run.windows.images[[0, 5], 3][:, None]
    rng = np.random.default_rng(0)
    planted = pd.DataFrame(
        {
            "score": ["flicker", "latent_spread"],
            "auroc": [0.5, 1.0],
            "ratio": [0.2, 3.0],
            "ratio_shuffled": [0.9, 1.1],
        }
    )
    panel = pd.DataFrame(
        [
            {"target": t, "score": s, "auroc": x, "low": x - 0.2, "high": x + 0.2}
            for t in ("tyk2", "mcl1", "cdk2", "hif2a")
            for s, x in zip(("latent_spread", "rmsf"), rng.uniform(0.3, 0.7, 2), strict=True)
        ]
    )
    mean = panel.drop(columns="target").groupby("score", as_index=False).mean()
    return {
        "contact_heatmap": lambda: plots.contact_heatmap(run.contacts),
        "occupancy_map": lambda: plots.occupancy_map(
            run.contacts,
            min_occupancy=0.0,
            fragments=run.fragments.ids,
            fragment_names=run.fragments.names,
        ),
        "contact_timeline": lambda: plots.contact_timeline(run.contacts, 0),
        "latent_scatter": lambda: plots.latent_scatter(
            run.latents[0], fragments=run.fragments.ids, fragment_names=run.fragments.names
        ),
        "latent_scatter by score": lambda: plots.latent_scatter(
            run.latents[0], values=table["score"].to_numpy()
        ),
        "rank_plot": lambda: plots.rank_plot(run.table),
        "rank_plot of fragments": lambda: plots.rank_plot(run.fragment_table),
        "seed_agreement_matrix": lambda: plots.seed_agreement_matrix(run.scores_by_seed()),
        "reconstruction_gallery": lambda: plots.reconstruction_gallery(
            images, run.fits[0].reconstruct(images), ["first", "sixth"]
        ),
        "loss_curves": lambda: plots.loss_curves(run.fits),
        "baseline_plot": lambda: plots.baseline_plot(run.scores),
        "clustering_agreement": lambda: plots.clustering_agreement(run.clusters),
        "growth_plot": lambda: plots.growth_plot(
            run.growth, table["score"], verdicts=table["verdict"]
        ),
        "planted_plot": lambda: plots.planted_plot(planted),
        "sar_plot": lambda: plots.sar_plot(panel, mean=mean),
        "pca_against_cvae": lambda: plots.pca_against_cvae(run.scores, verdicts=table["verdict"]),
    }


FIGURES = (
    "contact_heatmap",
    "occupancy_map",
    "contact_timeline",
    "latent_scatter",
    "latent_scatter by score",
    "rank_plot",
    "rank_plot of fragments",
    "seed_agreement_matrix",
    "reconstruction_gallery",
    "loss_curves",
    "baseline_plot",
    "clustering_agreement",
    "growth_plot",
    "planted_plot",
    "sar_plot",
    "pca_against_cvae",
)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_of_a_real_ligand_can_be_read(small_run, name):
    drawn = figures_of(small_run)[name]()
    axes = [drawn] if isinstance(drawn, Axes) else list(np.ravel(drawn))
    assert all(isinstance(ax, Axes) for ax in axes)
    figure = axes[0].figure
    figure.canvas.draw()
    assert max(figure.get_size_inches()) < 12
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            assert not overlapping(axis), f"{name}: {overlapping(axis)}"


def overlapping(axis) -> list[tuple[str, str]]:
    """Neighboring tick labels that cover each other; slanted ones are left out."""
    shown = [t for t in axis.get_ticklabels() if t.get_text() and t.get_visible()]
    shown = [t for t in shown if t.get_rotation() in (0, 90)]
    boxes = [(tick.get_text(), tick.get_window_extent().padded(-0.5)) for tick in shown]
    return [(a, b) for (a, first), (b, second) in pairwise(boxes) if first.overlaps(second)]


def test_every_public_figure_is_looked_at():
    drawn = {name.split(" ")[0] for name in FIGURES}
    assert drawn == {name for name in plots.__all__ if name != "colors"}


def test_rank_plot_shows_score_interval_and_verdict_of_each_row():
    table = pd.DataFrame(
        {
            "atom": ["C1", "C2", "C3"],
            "score": [1.0, 3.0, 2.0],
            "score_low": [0.5, 2.5, 1.0],
            "score_high": [1.2, 3.5, 3.0],
            "verdict": ["anchor", "dynamic", "undetermined"],
        }
    )
    ax = plots.rank_plot(table)
    assert labels(ax.yaxis) == ["C2", "C3", "C1"]
    dots = {line.get_label(): (line.get_xdata()[0], line.get_color()) for line in ax.lines}
    assert dots["dynamic"] == (3.0, VERDICT_COLORS["dynamic"])
    assert dots["anchor"] == (1.0, VERDICT_COLORS["anchor"])
    assert dots["undetermined"][1] == GRAY
    spans = [segment[:, 0].tolist() for c in ax.collections for segment in c.get_segments()]
    assert sorted(spans) == [[0.5, 1.2], [1.0, 3.0], [2.5, 3.5]]
    assert labels(plots.rank_plot(table, top=2).yaxis) == ["C2", "C3"]


def test_table_without_intervals_is_refused_with_its_columns():
    with pytest.raises(ParameterError, match="table has the columns atom, score"):
        plots.rank_plot(pd.DataFrame({"atom": ["C1"], "score": [1.0]}))


def test_seed_agreement_is_spearmans_correlation():
    scores = pd.DataFrame({"seed 0": [1.0, 2.0, 3.0, 4.0], "seed 1": [1.0, 8.0, 27.0, 64.0]})
    shown = np.asarray(plots.seed_agreement_matrix(scores).images[0].get_array())
    np.testing.assert_allclose(shown, 1.0)
    scores["seed 2"] = [4.0, 3.0, 2.0, 1.0]
    shown = np.asarray(plots.seed_agreement_matrix(scores).images[0].get_array())
    assert shown[0, 2] == pytest.approx(-1.0)


def test_clusterings_are_averaged_over_seeds_within_and_between_methods():
    pairs = pd.DataFrame(
        [
            ("pca/kmeans/0", "pca/kmeans/1", 0.9, 0.8),
            ("pca/kmeans/0", "cvae/kmeans/0", 0.2, 0.3),
            ("cvae/kmeans/0", "pca/kmeans/1", 0.4, 0.5),
        ],
        columns=["a", "b", "ari", "ami"],
    )
    ax = plots.clustering_agreement(pairs)
    assert labels(ax.yaxis) == ["PCA, k-means", "latent, k-means"]
    shown = np.asarray(ax.images[0].get_array())
    np.testing.assert_allclose(shown, [[0.9, 0.3], [0.3, np.nan]])
    shown = np.asarray(plots.clustering_agreement(pairs, index="ami").images[0].get_array())
    np.testing.assert_allclose(shown, [[0.8, 0.4], [0.4, np.nan]])
    with pytest.raises(ParameterError, match=r"index='rand' is not allowed; use 'ari', 'ami'"):
        plots.clustering_agreement(pairs, index="rand")


def test_baseline_panels_state_their_correlation_and_leave_constants_out():
    scores = pd.DataFrame(
        {"latent_spread": [1.0, 2.0, 3.0], "rmsf": [3.0, 2.0, 1.0], "flicker": np.nan},
        index=pd.Index(["C1", "C2", "C3"], name="atom"),
    )
    axes = plots.baseline_plot(scores, baselines=("rmsf", "flicker"))
    assert len(axes) == 1
    assert "−1.00" in axes[0].get_title() + axes[0].get_title(loc="left")
    with pytest.raises(ParameterError, match="at least one of flicker that is not constant"):
        plots.baseline_plot(scores, baselines=("flicker",))


def test_gallery_states_the_error_of_each_reconstruction():
    seen = np.zeros((2, 1, 16, 5), dtype=np.float32)
    made = seen + np.array([0.0, 0.25], dtype=np.float32).reshape(2, 1, 1, 1)
    axes = plots.reconstruction_gallery(seen, made, ["C1", "C2"])
    titles = [ax.get_title() + ax.get_title(loc="left") for ax in axes[1]]
    assert titles == ["error 0.000", "error 0.250"]
    with pytest.raises(ParameterError, match="got 1 titles, images of shape"):
        plots.reconstruction_gallery(seen, made, ["C1"])


def test_latent_plane_has_the_axes_of_largest_variance(small_run):
    ax = plots.latent_scatter(small_run.latents[0])
    points = ax.collections[0].get_offsets()
    latent = small_run.latents[0].reshape(-1, small_run.latents[0].shape[2])
    values = np.linalg.eigvalsh(np.cov(latent.T))[::-1]
    np.testing.assert_allclose(np.var(points, axis=0, ddof=1), values[:2], rtol=1e-4)
    assert f"{values[0] / values.sum():.0%}" in ax.get_xlabel()
    with pytest.raises(ParameterError, match=r"latent has shape \(3, 4\)"):
        plots.latent_scatter(np.zeros((3, 4)))


def test_atoms_without_hydrogen_stand_hollow_in_the_strip():
    growth = pd.DataFrame({"atom": ["C1", "C2", "N1"], "free_volume_A3": [10.0, 60.0, np.nan]})
    ax = plots.growth_plot(growth, [1.0, 2.0, 3.0])
    offsets = {tuple(p) for c in ax.collections for p in np.asarray(c.get_offsets()).tolist()}
    assert {(10.0, 1.0), (60.0, 2.0)} <= offsets
    (strip,) = [p for p in offsets if p[1] == 3.0]
    assert strip[0] < 10.0
    assert "Å³" in ax.get_xlabel()


def test_planted_ratios_are_drawn_before_and_after_shuffling():
    frame = pd.DataFrame(
        {"score": ["latent_spread"], "auroc": [0.9], "ratio": [3.0], "ratio_shuffled": [1.1]}
    )
    left, right = plots.planted_plot(frame)
    assert 0.9 in [line.get_xdata()[0] for line in left.lines]
    assert {3.0, 1.1} <= {float(x) for line in right.lines for x in line.get_xdata()}
    assert 0.5 in [line.get_xdata()[0] for line in left.lines if len(line.get_xdata()) == 2]


def test_affinity_panel_draws_each_interval_and_the_line_of_chance():
    panel = pd.DataFrame(
        [
            {"target": "tyk2", "score": "rmsf", "auroc": 0.55, "low": 0.2, "high": 0.8},
            {"target": "mcl1", "score": "rmsf", "auroc": 0.4, "low": 0.1, "high": 0.7},
        ]
    )
    ax = plots.sar_plot(panel)
    spans = [tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert {(0.2, 0.8), (0.1, 0.7), (0.5, 0.5)} <= set(spans)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["tyk2", "mcl1"]


def test_every_score_has_a_name_and_a_unit_or_is_a_count():
    assert set(SCORES) <= set(QUANTITIES)
    assert quantity_label("rmsf") == "RMSF (Å)"
    for column in SCORES:
        assert "(" in quantity_label(column)


def test_series_differ_in_color_or_marker_and_use_safe_colors():
    styles = series_style([str(i) for i in range(24)])
    assert len(set(styles.values())) == 24
    assert {to_hex(color).upper() for color, _ in styles.values()} <= set(OKABE_ITO.values())


def test_names_cover_neither_points_nor_one_another():
    rng = np.random.default_rng(3)
    x, y = rng.random((2, 40))
    ax = new_axes()
    ax.scatter(x, y)
    name_points(ax, x, y, [f"C{i}" for i in range(40)], range(12))
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) >= 8
    pixels = ax.transData.transform(np.column_stack([x, y]))
    assert all(box.count_contains(pixels) == 0 for box in boxes)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
