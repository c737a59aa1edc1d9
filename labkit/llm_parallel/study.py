"""One run of the study, step by step, so that the notebook, a sweep and a test do the same thing.

model, machine -> memory and time of your strategy -> laws -> evidence (measured runs)
      -> all strategies -> importance -> search by measuring -> scaling -> real run
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labkit import __version__
from labkit.atomic import replace_text
from labkit.errors import ParameterError
from labkit.llm_parallel import sweeps
from labkit.llm_parallel.config import ParallelConfig
from labkit.llm_parallel.cost import StepTime, step_time
from labkit.llm_parallel.evidence import (
    CALIBRATED,
    SHIPPED,
    Evidence,
    compare_with_measured,
    machine,
)
from labkit.llm_parallel.export import write_export
from labkit.llm_parallel.export_megatron import to_megatron_args
from labkit.llm_parallel.memory import memory_breakdown
from labkit.llm_parallel.models import MODELS, model_preset
from labkit.llm_parallel.objective import SimulatedCluster
from labkit.llm_parallel.parameters import num_parameters
from labkit.llm_parallel.published import FRONTIER, frontier_runs
from labkit.llm_parallel.real import RealRun, real_run
from labkit.llm_parallel.search import SearchResult, exhaustive
from labkit.llm_parallel.sensitivity import sensitivity
from labkit.llm_parallel.settings import LLMParallelConfig
from labkit.llm_parallel.space import Space, search_space
from labkit.llm_parallel.system import SystemConfig
from labkit.llm_parallel.systems import system_preset
from labkit.llm_parallel.tune import TuningResult, tune

Progress = Callable[[int, int, str], None]
MEMORY_SHARE = 0.95
"""Of a device's memory that a strategy may use: measured peaks on Frontier were 2 to 4 % above such
formulas, for fragmentation and the libraries' own buffers."""
PACKAGES = ("numpy", "scipy", "pandas", "torch", "optuna")
GUIDED_TRIALS = 8
"""Measurements that ranking by the model gets in the search experiment."""
EXPERIMENT_DEVICES = 128
"""Most devices of the search experiment: a few measured minutes each, in reality."""


@dataclass(frozen=True, eq=False)
class LLMParallelResults:
    """Everything that a run found.

    Attributes
    ----------
    config : LLMParallelConfig
    machine : SystemConfig
    step : StepTime
        Of your strategy.
    memory : DataFrame
        Of your strategy, by stage and component, bytes.
    evidence : Evidence
    found : SearchResult
    importance : DataFrame
    trials, guided : TuningResult or None
        Search by measuring, by the engine chosen and by ranking with the model.
    scaling : DataFrame
    real : RealRun
    """

    config: LLMParallelConfig
    machine: SystemConfig
    step: StepTime
    memory: pd.DataFrame
    evidence: Evidence
    found: SearchResult
    importance: pd.DataFrame
    trials: TuningResult | None
    guided: TuningResult | None
    scaling: pd.DataFrame
    real: RealRun

    def headline(self) -> dict[str, float | str]:
        """Main numbers, the same names for the same choices."""
        step = self.step
        numbers: dict[str, float | str] = {
            "n_parameters": float(num_parameters(self.config.model_config())),
            "strategy": self.config.strategy().label(),
            "model_seconds": float(step.total[0]),
            "model_hfu": float(step.hfu[0]),
            "model_mfu": float(step.mfu[0]),
            "memory_gib": float(step.memory_bytes[0]) / 2**30,
            "fits": float(step.fits[0]),
            "n_strategies": float(self.found.n_points),
            "n_feasible": float(self.found.n_feasible),
        }
        if not self.found.frame.empty:
            best = self.found.frame.iloc[0]
            numbers |= {"best_strategy": best.label, "best_model_seconds": float(best.seconds)}
            numbers |= {"best_model_hfu": float(best.hfu), "best_model_mfu": float(best.mfu)}
        for name, method in (("shipped", SHIPPED), ("calibrated", CALIBRATED)):
            rows = self.evidence.predictions(method)
            if len(rows):
                error = np.abs(rows["predicted"] / rows["measured"] - 1)
                numbers[f"measured_mape_{name}"] = float(error.mean())
        for name, trials in (("search", self.trials), ("guided", self.guided)):
            if trials is not None:
                numbers[f"{name}_best_seconds"] = trials.best_seconds
                numbers[f"{name}_failed"] = float(trials.n_failed)
        if self.real.losses is not None:
            numbers["real_loss_difference"] = self.real.difference
        return numbers

    def export(self, directory: str | Path) -> list[Path]:
        """Write tables, launch files and provenance to a folder.

        The launch files are those of the fastest strategy that Megatron-LM has words for, as zero
        bubbles, which often win, have none; provenance.json says which other format refused it.

        Parameters
        ----------
        directory : str or Path
            Made if it does not exist; files of an earlier export are replaced.

        Returns
        -------
        list of Path
            memory.csv, best.csv, pareto.csv, errors.csv, predictions.csv, constants.csv,
            importance.csv, scaling.csv, trials.csv (if measured), provenance.json, and the launch
            files in ``launch/``.
        """
        folder = Path(directory).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ParameterError(
                f"out_dir={str(directory)!r} cannot be made ({exc.strerror}); name another folder."
            ) from exc
        tables = {
            "memory": self.memory.reset_index(),
            "best": self.found.frame,
            "pareto": self.found.pareto,
            "errors": self.evidence.errors,
            "predictions": self.evidence.rows,
            "constants": self.evidence.calibration.frame,
            "importance": self.importance,
            "scaling": self.scaling,
        }
        if self.trials is not None:
            tables["trials"] = self.trials.trials
        texts = {f"{name}.csv": frame.to_csv(index=False) for name, frame in tables.items()}
        provenance = self._provenance()
        written = [folder / name for name in (*texts, "provenance.json")]
        launched = best_for_megatron(self.config, self.found) or best_strategy(self.found)
        if launched is not None:
            model = self.config.model_config()
            launch = write_export(folder / "launch", model, launched, system=self.machine)
            provenance["launch"] = {"strategy": launched.label(), "refused": launch.refused}
            written += launch.files.values()
        texts["provenance.json"] = json.dumps(provenance, indent=1, default=str) + "\n"
        for name, text in texts.items():
            replace_text(folder / name, text)
        return written

    def _provenance(self) -> dict[str, Any]:
        return {
            "config": self.config.as_dict(),
            "machine": {"name": self.machine.name, "sources": dict(self.machine.sources)},
            "constants": vars(self.machine.efficiency),
            "measured on": self.evidence.system.name,
            "real run": self.real.message,
            "versions": {"labkit": __version__, "python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in PACKAGES},
        }


def cards(config: LLMParallelConfig, system: SystemConfig) -> pd.DataFrame:
    """Facts of the model and the machine with their sources, one row each."""
    shape = config.model_config()
    source = MODELS[config.model][1]
    model_facts = {
        "parameters": f"{num_parameters(shape) / 1e9:,.1f} billion",
        "layers, hidden size, heads": f"{shape.num_layers}, {shape.hidden_size:,}, {shape.heads}",
        "sequence, vocabulary": f"{shape.seq_length:,}, {shape.vocab_size:,}",
    }
    rows = [(config.model, name, value, source) for name, value in model_facts.items()]
    links = ", ".join(f"{link.bandwidth / 1e9:g} of {link.size}" for link in system.links)
    machine_facts = {
        "peak_flops": ("peak, 16 bits", f"{system.peak_flops / 1e12:g} Tflop/s"),
        "hbm_bytes": ("memory", f"{system.hbm_bytes / 2**30:.4g} GiB"),
        "hbm_bandwidth": ("memory bandwidth", f"{system.hbm_bandwidth / 1e12:.3g} TB/s"),
        "node_size": ("devices of a node", f"{system.node_size}"),
        "links": ("links in a node", f"{links} GB/s" if links else "none"),
        "nic_bandwidth": (
            "network of a node",
            f"{system.nics_per_node} cards of {system.nic_bandwidth / 1e9:g} GB/s",
        ),
    }
    of = f"{system.name} ({system.device})"
    rows += [
        (of, name, value, system.sources.get(field, ""))
        for field, (name, value) in machine_facts.items()
    ]
    return pd.DataFrame(rows, columns=["of", "what", "value", "source"])


def laws(config: LLMParallelConfig, system: SystemConfig) -> dict[str, pd.DataFrame]:
    """Sweep the four laws around your strategy."""
    return sweeps.laws(config.model_config(), system, strategy=config.strategy())


def find_best(
    config: LLMParallelConfig, system: SystemConfig, *, progress: Progress | None = None
) -> SearchResult:
    """Compute all strategies of the devices.

    Parameters
    ----------
    config : LLMParallelConfig
    system : SystemConfig
    progress : callable, optional
        Called with strategies done, in all, and a text.
    """
    return exhaustive(strategies(config, system), top=200, progress=_counted(progress, ""))


def strategies(config: LLMParallelConfig, system: SystemConfig) -> Space:
    """All strategies of the devices of a configuration, with room for what memory is lost to."""
    roomy = system.replace(hbm_bytes=MEMORY_SHARE * system.hbm_bytes)
    return search_space(config.model_config(), roomy, config.n_devices, config.global_batch_size)


def best_strategy(found: SearchResult) -> ParallelConfig | None:
    """Return the fastest strategy, None where none can run."""
    return None if found.frame.empty else _strategy(found.frame.iloc[0])


def best_for_megatron(config: LLMParallelConfig, found: SearchResult) -> ParallelConfig | None:
    """Return the fastest strategy that Megatron-LM has words for, None where there is none.

    Its main branch has no zero-bubble schedules, for example.
    """
    model = config.model_config()
    for place in range(len(found.frame)):
        strategy = _strategy(found.frame.iloc[place])
        try:
            to_megatron_args(model, strategy)
        except ParameterError:
            continue
        return strategy
    return None


def importance(config: LLMParallelConfig, system: SystemConfig) -> pd.DataFrame:
    """Share out the variance of throughput among the choices, exactly."""
    return sensitivity(strategies(config, system))


def search_experiment(
    config: LLMParallelConfig, system: SystemConfig, *, progress: Progress | None = None
) -> TuningResult | None:
    """Let the engine measure strategies of a simulated cluster; None where `n_trials` is 0.

    The cluster is the model with other constants, noise and failures, on at most
    `EXPERIMENT_DEVICES` devices: an engine sees its measurements only.
    """
    if not config.n_trials:
        return None
    space, cluster = _experiment(config, system)
    return tune(
        space,
        cluster,
        engine=config.engine,
        n_trials=config.n_trials,
        seed=config.seed,
        storage=config.storage,
        progress=_counted(progress, "trial"),
    )


def guided_search(config: LLMParallelConfig, system: SystemConfig) -> TuningResult | None:
    """Measure the strategies that the model ranks first on the cluster of `search_experiment`."""
    if not config.n_trials:
        return None
    space, cluster = _experiment(config, system)
    return tune(space, cluster, engine="model", n_trials=GUIDED_TRIALS, seed=config.seed)


def scaling(config: LLMParallelConfig, system: SystemConfig) -> pd.DataFrame:
    """Weak and strong scaling: on Frontier of the models of the study, elsewhere of yours."""
    if system.name == "frontier":
        studied = [model_preset(name) for name in sweeps.SCALING_STUDIES]
        frames = [sweeps.frontier_scaling(model, system) for model in studied]
        return pd.concat(frames, ignore_index=True)
    model, replica = config.model_config(), config.strategy()
    batch = replica.global_batch_size // replica.dp
    counts = [k for k in range(1, replica.dp + 1) if replica.dp % k == 0]
    devices = [replica.n_devices // replica.dp * k for k in counts]
    one = replica.replace(dp=1, global_batch_size=batch)
    fixed = replica.replace(dp=1)
    frames = [
        sweeps.weak_scaling(model, one, system, devices).assign(kind="weak"),
        sweeps.strong_scaling(model, fixed, system, devices).assign(kind="strong"),
    ]
    return pd.concat(frames, ignore_index=True).assign(model=model.name, system=system.name)


def headlines(system: SystemConfig | None = None) -> pd.DataFrame:
    """Published utilization of the Frontier study beside the model's, one row a model.

    Returns
    -------
    DataFrame
        model, strategy, hfu_published, hfu_model, mfu_published, mfu_model: shares of the peak.
        The published MFU is 3/4 of the published HFU, as recomputation was full.
    """
    runs = frontier_runs()
    frontier = system_preset("frontier") if system is None else system
    times = step_time(runs.model, runs.parallel, frontier)
    published = FRONTIER["hfu_percent"].to_numpy() / 100
    return pd.DataFrame(
        {
            "model": FRONTIER["model"],
            "strategy": [runs.parallel.row(i).label() for i in range(len(runs))],
            "hfu_published": published,
            "hfu_model": times.hfu,
            "mfu_published": 0.75 * published,
            "mfu_model": times.mfu,
        }
    )


def run_study(config: LLMParallelConfig, *, progress: Progress | None = None) -> LLMParallelResults:
    """Run all steps.

    Parameters
    ----------
    config : LLMParallelConfig
    progress : callable, optional
        Called in the long steps, with what is done, all, and a text.

    Returns
    -------
    LLMParallelResults
    """
    config.validate()
    system = machine(config)
    shape, strategy = config.model_config(), config.strategy()
    return LLMParallelResults(
        config,
        system,
        step_time(shape, strategy, system),
        memory_breakdown(shape, strategy),
        compare_with_measured(config),
        find_best(config, system, progress=progress),
        importance(config, system),
        search_experiment(config, system, progress=progress),
        guided_search(config, system),
        scaling(config, system),
        real_run(config),
    )


def _experiment(config: LLMParallelConfig, system: SystemConfig) -> tuple[Space, SimulatedCluster]:
    """Return what the engines search, in the manner of the paper: most points may be started.

    Stages divide both layers and devices; an engine has to learn what fits and what is fast.
    """
    model = config.model_config()
    n_devices, batch = config.n_devices, config.global_batch_size
    while n_devices > EXPERIMENT_DEVICES and n_devices % 2 == 0 and batch % 2 == 0:
        n_devices, batch = n_devices // 2, batch // 2
    space = search_space(
        model,
        system,
        n_devices,
        batch,
        tp=[t for t in (1, 2, 4, 8) if n_devices % t == 0 and model.heads % t == 0],
        pp=[p for p in range(1, 65) if model.num_layers % p == 0 and n_devices % p == 0],
        micro_batch_size=[1, 2, 4, 8],
        zero_stage=[0, 1],
        recompute=["none", "full"],
        virtual_pp=1,
        schedule="1f1b",
        sequence_parallel=False,
    )
    return space, SimulatedCluster(model, system, seed=config.seed)


def _counted(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(done, total, what)


def _strategy(row: pd.Series) -> ParallelConfig:
    values = {name: row[name] for name in ParallelConfig.__dataclass_fields__}
    return ParallelConfig(
        **{k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
    )
