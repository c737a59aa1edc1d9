"""Interactive views of the study; each shows its first state when executed headless."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import ipywidgets as widgets
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure, SubFigure

from labkit.oversampling import plots
from labkit.oversampling.config import SAMPLER_NAMES
from labkit.oversampling.explain import explain_molecule
from labkit.oversampling.imbalance import imbalance_report
from labkit.oversampling.leakage import LeakageResults
from labkit.oversampling.plots.colors import GRAY, HONEST_COLOR, LEAKY_COLOR
from labkit.oversampling.preview import SamplerPreview
from labkit.oversampling.results import StudyResults
from labkit.viz import draw_molecule
from labkit.viz.style import MPLSTYLE, OKABE_ITO, new_axes

_WIDE = {"description_width": "110px"}


def imbalance_explorer(preview: SamplerPreview, *, sampler: str = "MLROS") -> widgets.VBox:
    """Live view of what a sampler does to the label counts of the training molecules.

    Parameters
    ----------
    preview : SamplerPreview
        Of `preview_samplers`.
    sampler : str
        Sampler shown first.

    Returns
    -------
    VBox
        Controls above a figure that is redrawn at every change.
    """
    config = preview.config
    choose = widgets.Dropdown(
        options=list(SAMPLER_NAMES.values()), value=sampler, description="sampler"
    )
    size = widgets.FloatSlider(
        value=min(config.P, 1.0), min=0.05, max=1.0, step=0.05, description="P (share)"
    )
    neighbors = widgets.IntSlider(value=min(config.k, 20), min=1, max=20, description="k neighbors")

    def draw() -> bytes:
        return _before_and_after(preview, choose.value, size.value, neighbors.value)

    return _live([choose, size, neighbors], draw)


def _before_and_after(preview: SamplerPreview, sampler: str, P: float, k: int) -> bytes:
    made = preview.resample(sampler, P=P, k=k)
    before = preview.before
    after = imbalance_report(made.rows.Y)
    ax = new_axes(width_in=8.2, height_in=4.2)
    order = np.argsort(-before.labels["n_positive"].to_numpy(), kind="stable")
    x = np.arange(len(order))
    ax.plot(
        x,
        before.labels["irlbl"].to_numpy()[order],
        "o-",
        color=GRAY,
        label=f"before: MeanIR {before.mean_ir:.2f}, SCUMBLE {before.scumble:.3f}",
    )
    ax.plot(
        x,
        after.labels["irlbl"].to_numpy()[order],
        "o-",
        color=OKABE_ITO["vermillion"],
        label=f"after: MeanIR {after.mean_ir:.2f}, SCUMBLE {after.scumble:.3f}",
    )
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(plots.plain_number)
    names = np.asarray(preview.train.label_names, dtype=object)[order]
    if len(names) <= 40:
        ax.set_xticks(x, names, rotation=60, ha="right", fontsize=8)
    ax.set_ylabel("imbalance ratio IRLbl")
    counts = made.summary()
    ax.set_title(
        f"{sampler}: {len(preview.train)} → {counts['n_after']} rows, "
        f"{counts['n_synthetic']} synthetic; one molecule at most {counts['max_copies']} times"
    )
    ax.legend()
    return _png(ax.figure)


def threshold_explorer(results: StudyResults, *, model: str, sampler: str = "none") -> widgets.VBox:
    """Precision, recall and F1 of one effect as its decision threshold moves.

    Parameters
    ----------
    results : StudyResults
        Of `run_study`; the first seed's test predictions are shown.
    model, sampler : str
        Which arm.

    Returns
    -------
    VBox
        Dropdown of effects, threshold slider, figure and one line of numbers.
    """
    y, probability = results.test_predictions(model=model, sampler=sampler)
    names = list(results.table.label_names)
    rarest = int(np.argmin(np.where(np.nansum(y, 0) > 0, np.nansum(y, 0), np.inf)))
    effect = widgets.Dropdown(options=names, value=names[rarest], description="effect")
    cut = widgets.FloatSlider(
        value=0.5, min=0.01, max=0.99, step=0.01, description="threshold", continuous_update=False
    )

    def draw() -> bytes:
        label = names.index(effect.value)
        known = ~np.isnan(y[:, label])
        return _threshold_figure(y[known, label] == 1, probability[known, label], cut.value)

    return _live([effect, cut], draw)


def _threshold_figure(positive: np.ndarray, probability: np.ndarray, cut: float) -> bytes:
    grid = np.linspace(0.01, 0.99, 99)
    curves = np.array([precision_recall_f1(positive, probability >= g) for g in grid])
    now = precision_recall_f1(positive, probability >= cut)
    ax = new_axes(width_in=7.2, height_in=3.6)
    for column, (name, color) in enumerate(
        [("precision", "blue"), ("recall", "orange"), ("F1", "black")]
    ):
        ax.plot(grid, curves[:, column], color=OKABE_ITO[color], label=f"{name} {now[column]:.2f}")
    ax.axvline(cut, color=OKABE_ITO["vermillion"], linewidth=1.2)
    ax.set_xlabel("decision threshold on the predicted probability")
    ax.set_ylim(-0.02, 1.02)
    ax.set_title(
        f"{positive.sum()} of {len(positive)} test molecules have the effect; "
        f"{int((probability >= cut).sum())} are predicted to"
    )
    ax.legend(title=f"at {cut:.2f}", loc="upper right")
    return _png(ax.figure)


def precision_recall_f1(positive: np.ndarray, predicted: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and F1 of one label; 0 where nothing is predicted or positive."""
    hits = float((positive & predicted).sum())
    precision = hits / predicted.sum() if predicted.any() else 0.0
    recall = hits / positive.sum() if positive.any() else 0.0
    return precision, recall, 2 * hits / max(positive.sum() + predicted.sum(), 1)


def leakage_explorer(leakage: LeakageResults) -> widgets.VBox:
    """Toggle between splitting first and oversampling first.

    Parameters
    ----------
    leakage : LeakageResults
        Of `leakage_lab`.

    Returns
    -------
    VBox
        Toggle and sampler controls above the flow of molecules and the score.
    """
    samplers = [s for s in leakage.scores["sampler"].unique() if s != "none"]
    order = widgets.ToggleButtons(
        options=["split first (honest)", "oversample first (LEAKY)"],
        description="order",
        style={"button_width": "190px"},
    )
    sampler = widgets.Dropdown(options=samplers, description="sampler")

    def draw() -> bytes:
        leaky = order.value.startswith("oversample")
        return _leakage_figure(leakage, sampler.value, leaky)

    return _live([order, sampler], draw)


def _leakage_figure(leakage: LeakageResults, sampler: str, leaky: bool) -> bytes:
    protocol = "LEAKY" if leaky else "train-only"
    scores = leakage.scores.query("sampler == @sampler and protocol == @protocol")
    base = leakage.scores.query("sampler == 'none'")["macro_f1"].mean()
    with plt.style.context(MPLSTYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.4), width_ratios=[2, 1])
    overlap = leakage.overlap[leakage.overlap["protocol"] == protocol]
    plots.split_flow(overlap, sampler, ax=left)
    value = scores["macro_f1"].mean()
    right.bar(
        ["no\nresampling", sampler],
        [base, value],
        color=[GRAY, LEAKY_COLOR if leaky else HONEST_COLOR],
    )
    for x, height in enumerate([base, value]):
        right.text(x, height + 0.01, f"{height:.2f}", ha="center")
    right.set_ylim(0, 1.05)
    right.set_ylabel("macro F1 (forest)")
    return _png(figure)


def atom_explorer(results: StudyResults, *, model: str, n_molecules: int = 12) -> widgets.VBox:
    """Atoms that speak for an effect, for one test molecule at a time.

    Parameters
    ----------
    results : StudyResults
        Of `run_study`, with a graph network among its models.
    model : str
        ``"gnn"`` or ``"hybrid"``; the network of the first seed without resampling is explained.
    n_molecules : int
        Molecules to choose from: those with the highest predicted chance of the effect.

    Returns
    -------
    VBox
        Dropdowns of effects and molecules above the colored drawing.
    """
    estimator = results.models[model, "none"]
    y, probability = results.test_predictions(model=model)
    smiles = results.table.smiles[results.splits[0].test]
    names = list(results.table.label_names)
    effect = widgets.Dropdown(options=names, description="effect", style=_WIDE)
    molecule = widgets.Dropdown(description="molecule", style=_WIDE, layout={"width": "420px"})
    picture = widgets.HTML()

    def choices() -> list[tuple[str, int]]:
        label = names.index(effect.value)
        top = np.argsort(-probability[:, label], kind="stable")[:n_molecules]
        options = []
        for rank, row in enumerate(top.tolist(), start=1):
            known = {1.0: "has it", 0.0: "does not have it"}.get(y[row, label], "not measured")
            options.append((f"{rank}: predicted {probability[row, label]:.2f}, {known}", row))
        return options

    def draw(_change: object = None) -> None:
        if molecule.value is None:
            return
        label = names.index(effect.value)
        explained = explain_molecule(
            estimator, str(smiles[molecule.value]), label, fingerprint=results.config.fingerprint
        )
        picture.value = draw_molecule(
            explained.smiles,
            explained.attribution.tolist(),
            label=f"for {effect.value}",
            unit="log-odds",
            width_px=560,
            height_px=300,
        ).to_html()

    def refill(_change: object = None) -> None:
        molecule.options = choices()
        molecule.index = 0
        draw()

    effect.observe(refill, names="value")
    molecule.observe(draw, names="value")
    refill()
    return widgets.VBox([widgets.HBox([effect, molecule]), picture])


def _live(controls: list[widgets.Widget], draw: Callable[[], bytes]) -> widgets.VBox:
    """Controls above a picture that follows them."""
    picture = widgets.Image(value=draw(), format="png")
    picture.layout.max_width = "100%"
    for control in controls:
        control.style.description_width = _WIDE["description_width"]
        control.observe(lambda _change: setattr(picture, "value", draw()), names="value")
    return widgets.VBox([widgets.HBox(controls), picture])


def _png(figure: Figure | SubFigure) -> bytes:
    """Picture of the figure, which is then closed so that the notebook does not show it twice."""
    buffer = BytesIO()
    whole = figure.figure if isinstance(figure, SubFigure) else figure
    whole.savefig(buffer, format="png", dpi=120)
    plt.close(whole)
    return buffer.getvalue()
