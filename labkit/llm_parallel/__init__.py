"""The best parallel strategy for training a large language model: predicted, explained, run.

Each layer imports only those before it::

    config, models, system  ->  columns  ->  rules, outcome
    ->  flops, parameters, network, systems  ->  memory, layers  ->  cost
    ->  runs, published  ->  calibrate, validation
    ->  space  ->  search, objective, tune, sensitivity, sweeps
    ->  settings  ->  evidence, real  ->  study  ->  plots  ->  widgets

`schedule` stands beside; `runtime` (torch) and `export` use config and rules, `estimate` and
`measure` use the runtime. Attributes are loaded on first use, so importing this package is cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

PRELOAD = (
    "labkit.llm_parallel.study",
    "labkit.llm_parallel.plots",
    "labkit.llm_parallel.widgets",
    "optuna",
)

_MODULES = (
    "calibrate",
    "config",
    "cost",
    "estimate",
    "evidence",
    "export",
    "flops",
    "measure",
    "memory",
    "models",
    "network",
    "objective",
    "parameters",
    "plots",
    "published",
    "real",
    "rules",
    "runs",
    "schedule",
    "search",
    "sensitivity",
    "settings",
    "space",
    "study",
    "sweeps",
    "system",
    "systems",
    "tune",
    "validation",
    "widgets",
)
_EXPORTS = {
    "Efficiency": "system",
    "Evidence": "evidence",
    "LLMParallelConfig": "settings",
    "LLMParallelResults": "study",
    "MODELS": "models",
    "ModelConfig": "config",
    "ParallelConfig": "config",
    "SYSTEMS": "systems",
    "SystemConfig": "system",
    "best_for_megatron": "study",
    "best_strategy": "study",
    "calibrate": "calibrate",
    "cards": "study",
    "compare_with_measured": "evidence",
    "exhaustive": "search",
    "find_best": "study",
    "guided_search": "study",
    "headlines": "study",
    "importance": "study",
    "laws": "study",
    "load_vtrain": "runs",
    "machine": "evidence",
    "measure": "measure",
    "memory_breakdown": "memory",
    "model_preset": "models",
    "pipeline_schedule": "schedule",
    "read_runs": "runs",
    "real_run": "real",
    "run_study": "study",
    "sbatch_script": "export",
    "scaling": "study",
    "search_experiment": "study",
    "search_space": "space",
    "simulate": "schedule",
    "step_time": "cost",
    "system_preset": "systems",
    "to_megatron_args": "export",
    "trace_memory": "estimate",
    "tune": "tune",
}
__all__ = list(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
