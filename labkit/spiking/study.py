"""One run of the study, step by step, so that the notebook, a sweep and a test do the same thing.

    graph -> networks (integer, float) -> tuning (validation papers only) -> diffusion, hybrid
          -> comparison on the test papers -> fit on the chip -> check in Lava

Test papers are scored with settings that are final: the untuned ones, which are fixed beforehand,
and those that the validation papers chose.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from labkit import __version__
from labkit.atomic import replace_text
from labkit.errors import ParameterError
from labkit.spiking.baselines import baseline_table
from labkit.spiking.config import SpikingConfig
from labkit.spiking.diffusion import FittedDiffusion, SpikingLabelDiffusion
from labkit.spiking.diffusion_parameters import preset
from labkit.spiking.float_sgnn import FloatSGNN, FloatSGNNParameters
from labkit.spiking.graphs import CitationGraph, load_citation_graph
from labkit.spiking.lava import LavaCheck, check_against_lava
from labkit.spiking.lava_process import MissingLavaError
from labkit.spiking.readout import (
    QueryScores,
    TieReport,
    accuracy_by_hops,
    dead,
    tie_aware_accuracy,
)
from labkit.spiking.resources import ResourceReport, estimate
from labkit.spiking.sgnn import SGNN, SGNNParameters, build_sgnn, run_notes
from labkit.spiking.spaces import ORNL_SPACE, SGNN_SPACE, Int, Space
from labkit.spiking.tuning import TUNING_RULES, TuningResult, default_start, tune

Progress = Callable[[int, int, str], None]
PACKAGES = ("numpy", "scipy", "torch", "torch-geometric", "scikit-learn", "optuna")
DIFFUSIONS = {
    "citations": "spiking diffusion",
    "citations + words": "spiking diffusion, word neighbors",
    "hybrid": "spiking hybrid",
}
"""Name of each diffusion in the table of all methods."""
QUICK_METHODS = ("label_spreading", "harmonic", "logistic", "sgc", "gcn")


@dataclass(frozen=True, eq=False)
class NetworkRuns:
    """Spiking networks with untuned settings on all test papers.

    Attributes
    ----------
    graph : CitationGraph
    scores : dict of str to QueryScores
        ``"integer"`` and ``"float"``.
    """

    graph: CitationGraph
    scores: dict[str, QueryScores]

    @property
    def reports(self) -> dict[str, TieReport]:
        """Accuracy under four rules for ties, by network."""
        return {n: tie_aware_accuracy(s, self.graph.labels) for n, s in self.scores.items()}

    @property
    def accuracy(self) -> pd.DataFrame:
        """One row a network and rule: network, rule, accuracy, low, high, n."""
        frames = [r.frame().assign(network=name) for name, r in self.reports.items()]
        return pd.concat(frames, ignore_index=True)[
            ["network", "rule", "accuracy", "low", "high", "n"]
        ]

    @property
    def by_hops(self) -> pd.DataFrame:
        """Expected accuracy of the integer network against the distance to a label."""
        return accuracy_by_hops(self.graph, self.scores["integer"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the integer scores should know: silence, saturation, wrap."""
        return run_notes(self.scores["integer"])


@dataclass(frozen=True, eq=False)
class LavaOutcome:
    """What became of the check in Lava.

    Attributes
    ----------
    message : str
        One line.
    check : LavaCheck or None
        None if it was not asked for, or Lava is not on this machine.
    """

    message: str
    check: LavaCheck | None = None

    def __repr__(self) -> str:
        return self.message


@dataclass(frozen=True, eq=False)
class SpikingResults:
    """Everything that a run found.

    Attributes
    ----------
    config : SpikingConfig
    graph : CitationGraph
    networks : NetworkRuns
    tuning : TuningResult or None
    diffusion : dict of str to FittedDiffusion
        ``"citations"``, and with words ``"citations + words"`` and ``"hybrid"``.
    table : DataFrame
        All methods on the test papers, those of this study first.
    chip : ResourceReport
        Of the integer network.
    lava : LavaOutcome
    """

    config: SpikingConfig
    graph: CitationGraph
    networks: NetworkRuns
    tuning: TuningResult | None
    diffusion: dict[str, FittedDiffusion]
    table: pd.DataFrame
    chip: ResourceReport
    lava: LavaOutcome

    def headline(self) -> dict[str, float | str]:
        """Main numbers, the same names for the same choices."""
        reports, rule = self.networks.reports, self.config.tie_rule
        numbers: dict[str, float | str] = {
            "n_papers": float(self.graph.n_papers),
            "n_citations": float(self.graph.n_edges),
            "tie_rule": rule,
            "tied_queries": reports["integer"].tied,
            "silent_queries": dead(self.networks.scores["integer"]),
            "out_of_range": float(self._out_of_range()),
            "cores": self.chip.value("cores by memory"),
        }
        for name, report in reports.items():
            numbers |= {f"{name}_{each}": getattr(report, each) for each in (rule, "unique", "any")}
        if self.tuning is not None:
            numbers["tuned_by"] = self.tuning.tie_rule
            numbers["tuned_validation"] = self.tuning.best_value
            numbers["untuned_validation"] = self.tuning.untuned_value
        for row in self.table.itertuples():
            if row.provenance == "measured here" and row.accuracy == row.accuracy:
                numbers[f"test_{_key(row.method)}"] = float(row.accuracy)
        if self.lava.check is not None:
            numbers["lava_exact"] = float(self.lava.check.exact)
        return numbers

    def export(self, directory: str | Path) -> list[Path]:
        """Write tables, the tuned settings and provenance to a folder.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; files of an earlier export are replaced.

        Returns
        -------
        list of Path
            accuracy.csv, methods.csv, hops.csv, resources.csv, trials.csv (if tuned),
            settings.json, provenance.json.
        """
        folder = Path(directory).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ParameterError(
                f"out_dir={str(directory)!r} cannot be made ({exc.strerror}); name another folder."
            ) from exc
        tables = {
            "accuracy": self.networks.accuracy,
            "methods": self.table,
            "hops": self.networks.by_hops,
            "resources": self.chip.frame,
        }
        if self.tuning is not None:
            tables["trials"] = self.tuning.trials
        texts = {f"{name}.csv": frame.to_csv(index=False) for name, frame in tables.items()}
        best = None if self.tuning is None else vars(self.tuning.best)
        texts["settings.json"] = _json({"untuned": vars(_integers(self.config)), "tuned": best})
        texts["provenance.json"] = _json(self._provenance())
        for name, text in texts.items():
            replace_text(folder / name, text)
        return [folder / name for name in texts]

    def _out_of_range(self) -> int:
        """How often a weight, current or voltage of the integer network did not fit."""
        counters = self.networks.scores["integer"].counters
        return sum(counters[name] for name in ("scores_at_limit", "u_wrapped", "v_saturated"))

    def _provenance(self) -> dict[str, Any]:
        return {
            "graph": {
                "name": self.graph.name,
                "split": self.graph.split,
                "notes": list(self.graph.notes),
                **self.graph.source,
            },
            "config": self.config.as_dict(),
            "notes": list(self.networks.notes),
            "lava": self.lava.message,
            "versions": {"labkit": __version__, "python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in PACKAGES},
        }


def load_graph(config: SpikingConfig) -> CitationGraph:
    """Citation graph of a configuration.

    Raises
    ------
    MissingDataError
        Its files are neither on this machine nor to be had.
    """
    return load_citation_graph(config.dataset, split=config.split, seed=config.seed)


def integer_network(config: SpikingConfig, graph: CitationGraph) -> SGNN:
    """Integer network with untuned settings."""
    return SGNN(graph, _integers(config))


def run_networks(config: SpikingConfig, graph: CitationGraph) -> NetworkRuns:
    """Score the test papers with the untuned integer and float networks."""
    integer = integer_network(config, graph).run(
        graph.test, backend=config.backend, threads=config.n_jobs
    )
    real = FloatSGNN(graph, _floats(config, graph)).run(graph.test)
    return NetworkRuns(graph, {"integer": integer, "float": real})


def tune_network(
    config: SpikingConfig, graph: CitationGraph, *, progress: Progress | None = None
) -> TuningResult | None:
    """Tune on the validation papers; None without trials or without such papers.

    Parameters
    ----------
    config : SpikingConfig
        With tie_rule="any", by which a network that never decides is perfect, "expected" is tuned.
    graph : CitationGraph
    progress : callable, optional
        Called with trials done, in all, and a text.

    Returns
    -------
    TuningResult or None
    """
    if not config.n_trials or not len(graph.validation):
        return None

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, f"trial {done}")

    integer = config.precision == "int"
    start = _integers(config) if integer else _floats(config, graph)
    return tune(
        graph,
        space=_space(config),
        n_trials=config.n_trials,
        sampler=config.sampler,
        storage=config.storage,
        n_jobs=config.n_jobs,
        seed=config.seed,
        precision=config.precision,
        tie_rule=config.tie_rule if config.tie_rule in TUNING_RULES else "expected",
        start=start,
        backend=config.backend,
        progress=report,
    )


def run_diffusion(config: SpikingConfig, graph: CitationGraph) -> dict[str, FittedDiffusion]:
    """Spiking label diffusion with the settings chosen for the graph; empty if it is left out.

    Returns
    -------
    dict of str to FittedDiffusion
        ``"citations"``, and with words ``"citations + words"`` and ``"hybrid"``.
    """
    if not config.diffusion:
        return {}
    kinds = {"citations": "citations"}
    if graph.features is not None:
        kinds |= {"citations + words": "diffusion", "hybrid": "hybrid"}
    return {
        name: SpikingLabelDiffusion(preset(graph.name, kind)).fit(graph)
        for name, kind in kinds.items()
    }


def compare(
    config: SpikingConfig,
    graph: CitationGraph,
    networks: NetworkRuns,
    tuning: TuningResult | None,
    diffusion: dict[str, FittedDiffusion],
) -> pd.DataFrame:
    """All methods on the test papers: columns of `baseline_table`, this study's own rows first.

    The tuned network meets the test papers here, once.
    """
    rule = config.tie_rule
    untuned = networks.reports
    words = "citations + words" if config.features else "citations"
    rows = [
        _row("spiking, integer", untuned["integer"], rule, words),
        _row("spiking, float", untuned["float"], rule, words),
    ]
    if tuning is not None:
        scores = _tuned_scores(config, graph, tuning)
        kind = "integer" if config.precision == "int" else "float"
        report = tie_aware_accuracy(scores, graph.labels)
        rows.append(_row(f"spiking, {kind}, tuned", report, rule, words))
    for name, fitted in diffusion.items():
        uses = "citations" if name == "citations" else "citations + words"
        row = _row(DIFFUSIONS[name], fitted.report(graph.test), rule, uses)
        if name == "hybrid":
            row["note"] = "its linear readout is trained off-chip, in floating point"
        rows.append(row)
    own = pd.DataFrame(rows)
    if not config.baseline_seeds:
        return own
    which = QUICK_METHODS if config.preset == "quick" else (*QUICK_METHODS, "gat")
    others = baseline_table(graph, seeds=range(config.baseline_seeds), which=which)
    return pd.concat([own.reindex(columns=others.columns), others], ignore_index=True)


def chip_fit(
    config: SpikingConfig, graph: CitationGraph, diffusion: dict[str, FittedDiffusion]
) -> dict[str, ResourceReport]:
    """What the networks need of a Loihi 2 chip, with the operations of one query or one run."""
    network = integer_network(config, graph)
    query = int(graph.test[0])
    built = build_sgnn(graph, network.parameters, [query])
    reports = {"one query at a time": estimate(built, network.trace(query))}
    for name, fitted in diffusion.items():
        if name != "citations" or len(diffusion) == 1:
            reports[DIFFUSIONS[name]] = estimate(fitted.to_network(), fitted)
    return reports


def lava_check(config: SpikingConfig, graph: CitationGraph) -> LavaOutcome:
    """Run the first windows in Lava too and compare every value of every step.

    A Lava that is not on this machine is a message, not an error.
    """
    if not config.compare_lava:
        return LavaOutcome("The check in Lava was not asked for; set compare_lava=True.")
    queries = graph.test[: config.lava_queries]
    parameters = _integers(config)
    network = build_sgnn(graph, parameters, queries)
    steps = len(queries) * parameters.window
    try:
        check = check_against_lava(network, steps, backend=config.backend)
    except MissingLavaError as missing:
        return LavaOutcome(str(missing))
    verdict = "equal" if check.exact else "NOT equal"
    values = int(check.frame["values"].sum())
    return LavaOutcome(
        f"{values:,} values of {steps} steps are {verdict} to those of Lava {check.version}.", check
    )


def run_study(config: SpikingConfig, *, progress: Progress | None = None) -> SpikingResults:
    """Run all steps.

    Parameters
    ----------
    config : SpikingConfig
    progress : callable, optional
        Called while tuning, with trials done, in all, and a text.

    Returns
    -------
    SpikingResults
    """
    config.validate()
    graph = load_graph(config)
    networks = run_networks(config, graph)
    tuning = tune_network(config, graph, progress=progress)
    diffusion = run_diffusion(config, graph)
    table = compare(config, graph, networks, tuning, diffusion)
    chip = chip_fit(config, graph, diffusion)["one query at a time"]
    lava = lava_check(config, graph)
    return SpikingResults(config, graph, networks, tuning, diffusion, table, chip, lava)


def _integers(config: SpikingConfig) -> SGNNParameters:
    """Untuned integers; unlabeled papers stay refractory for the whole window."""
    usual = SGNNParameters(features=config.features)
    return usual.replace(window=config.window, ref_other=max(usual.ref_other, config.window))


def _space(config: SpikingConfig) -> Space:
    """What the tuner may change; a window beyond its limits stays as it was chosen."""
    space = SGNN_SPACE if config.precision == "int" else ORNL_SPACE
    name = "window" if config.precision == "int" else "simtime"
    limits = next(d for d in space if d.name == name)
    inside = isinstance(limits, Int) and limits.low <= config.window <= limits.high
    if not inside:
        return space.without(name)
    return space


def _floats(config: SpikingConfig, graph: CitationGraph) -> FloatSGNNParameters:
    published: FloatSGNNParameters = default_start(graph, "float")
    return published.replace(simtime=config.window, features=config.features)


def _tuned_scores(config: SpikingConfig, graph: CitationGraph, tuning: TuningResult) -> QueryScores:
    if config.precision == "float":
        return FloatSGNN(graph, tuning.best).run(graph.test)
    return SGNN(graph, tuning.best).run(graph.test, backend=config.backend, threads=config.n_jobs)


def _row(method: str, report: TieReport, rule: str, uses: str) -> dict[str, Any]:
    low, high = report.intervals[rule]
    return {
        "method": method,
        "accuracy": float(getattr(report, rule)),
        "low": low,
        "high": high,
        "n_seeds": 1,
        "spread": float("nan"),
        "uses": uses,
        "provenance": "measured here",
        "source": "labkit",
        "note": "" if rule == "expected" else f"ties by the rule {rule!r}",
    }


def _key(method: str) -> str:
    """Name of a method as part of a recorded number's name."""
    return "_".join("".join(c if c.isalnum() else " " for c in method.lower()).split())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"
