"""What a run of the study does: one frozen set of choices, with presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.choices import not_allowed, preset_changes, require_folder, require_whole
from labkit.errors import ParameterError
from labkit.llm_parallel.config import MAX_SIZE, RECOMPUTE, SCHEDULES, ModelConfig, ParallelConfig
from labkit.llm_parallel.models import MODELS, model_preset
from labkit.llm_parallel.rules import check
from labkit.llm_parallel.system import SystemConfig
from labkit.llm_parallel.systems import SYSTEMS, system_preset

ENGINES = ("model", "optuna", "deephyper", "random")
MEASURED = ("published", "vtrain-multi", "vtrain-single")
LAUNCHERS = ("local", "slurm")
MAX_SEED = 2**31 - 1
MAX_PROCESSES = 64
"""Processes of the real run; each takes about 300 MiB."""


@dataclass(frozen=True)
class LLMParallelConfig:
    """Choices of one run of the study.

    Attributes
    ----------
    preset : str
        Name of the preset that the choices started from.
    model, system : str
        Names of `MODELS` and `SYSTEMS`.
    n_devices, global_batch_size : int
        Devices to use, and sequences of one step of all of them.
    tp, pp, virtual_pp, micro_batch_size, zero_stage : int
        Your strategy, which is taken apart and compared with the best one; what is left of the
        devices is data parallel.
    recompute, schedule : str
    sequence_parallel, flash_attention : bool
        See `ParallelConfig`.
    measured : {"published", "vtrain-multi", "vtrain-single"}
        Measured runs on which the cost model is tested and calibrated: the tables of two papers,
        or one of the data sets of vTrain.
    runs_csv : str, optional
        Your own measured runs on `system`; they calibrate the model for everything after.
    engine : {"model", "optuna", "deephyper", "random"}
        What proposes strategies to the noisy, failing cluster of the search experiment.
    n_trials : int
        Strategies that it may measure; 0 leaves the experiment out.
    storage : str, optional
        File in which the engine keeps its trials, to go on after a kill.
    run_real : bool
        Train a small model for real, with `real_tp` * `real_pp` * `real_dp` processes.
    real_tp, real_pp, real_dp, real_steps : int
    launcher : {"local", "slurm"}
        Where the processes of the real run start.
    seed : int
        Of the search experiment and the real run.
    out_dir : str, optional
        Folder for exported files; None means no export.

    Examples
    --------
    >>> config = LLMParallelConfig.from_preset("quick", tp=8, n_trials=None)
    >>> config.tp, config.n_trials, config.preset
    (8, 30, 'quick')
    >>> config.strategy().label()
    'TP8 PP16 DP8 b1 ZeRO-1 full'
    """

    preset: str = "custom"
    model: str = "gpt-175b"
    system: str = "frontier"
    n_devices: int = 1024
    global_batch_size: int = 5120
    tp: int = 4
    pp: int = 16
    virtual_pp: int = 1
    micro_batch_size: int = 1
    zero_stage: int = 1
    recompute: str = "full"
    schedule: str = "1f1b"
    sequence_parallel: bool = False
    flash_attention: bool = True
    measured: str = "published"
    runs_csv: str | None = None
    engine: str = "optuna"
    n_trials: int = 30
    storage: str | None = None
    run_real: bool = True
    real_tp: int = 2
    real_pp: int = 1
    real_dp: int = 1
    real_steps: int = 5
    launcher: str = "local"
    seed: int = 0
    out_dir: str | None = None

    @classmethod
    def from_preset(cls, preset: str = "quick", **overrides: Any) -> LLMParallelConfig:
        """A preset with some choices changed, checked.

        Parameters
        ----------
        preset : {"quick", "standard", "full"}
            Where to start.
        **overrides
            Fields of this class; None means "as in the preset".

        Returns
        -------
        LLMParallelConfig

        Raises
        ------
        ParameterError
            If the preset or a field is not known, a value is not allowed, or the strategy does
            not suit the model and the devices.
        """
        given = preset_changes(preset, overrides, PRESETS)
        return dataclasses.replace(PRESETS[preset], **given).validate()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def model_config(self) -> ModelConfig:
        """Shape of the model."""
        return model_preset(self.model)

    def system_config(self) -> SystemConfig:
        """The machine, with shipped constants."""
        return system_preset(self.system)

    def strategy(self) -> ParallelConfig:
        """Your strategy; the devices that tp and pp leave over are data parallel."""
        names = (
            *("tp", "pp", "virtual_pp", "micro_batch_size", "zero_stage", "recompute"),
            *("schedule", "sequence_parallel", "flash_attention", "global_batch_size"),
        )
        values = {name: getattr(self, name) for name in names}
        return ParallelConfig(dp=self.n_devices // (self.tp * self.pp), **values)

    def real_model(self) -> ModelConfig:
        """Shape of the small model that is trained for real: two layers a stage."""
        return model_preset("gpt-tiny", num_layers=2 * self.real_pp)

    def real_strategy(self) -> ParallelConfig:
        """Strategy of the real run, in 64-bit numbers so that equality can be told."""
        return ParallelConfig(
            tp=self.real_tp,
            pp=self.real_pp,
            dp=self.real_dp,
            global_batch_size=4 * self.real_pp * self.real_dp,
            param_dtype="float64",
            grad_dtype="float64",
        )

    def validate(self) -> LLMParallelConfig:
        """Check every choice, and the strategy against model and devices.

        Returns
        -------
        LLMParallelConfig
            Itself.

        Raises
        ------
        ParameterError
            Naming the field, its value and what is allowed.
        """
        for name, allowed in {
            "model": MODELS,
            "system": SYSTEMS,
            "measured": MEASURED,
            "engine": ENGINES,
            "launcher": LAUNCHERS,
            "recompute": RECOMPUTE,
            "schedule": SCHEDULES,
        }.items():
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in allowed:
                raise ParameterError(not_allowed(name, getattr(self, name), allowed))
        positive = ("n_devices", "global_batch_size", "tp", "pp", "virtual_pp", "micro_batch_size")
        limits = dict.fromkeys(positive, (1, MAX_SIZE))
        limits |= dict.fromkeys(("real_tp", "real_pp", "real_dp"), (1, MAX_PROCESSES))
        limits |= {"zero_stage": (0, 3), "n_trials": (0, 100_000), "real_steps": (2, 10_000)}
        limits |= {"seed": (0, MAX_SEED)}
        for name, (low, high) in limits.items():
            require_whole(name, getattr(self, name), low=low, high=high)
        for name in ("sequence_parallel", "flash_attention", "run_real"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(f"{name}={getattr(self, name)!r}: use True or False.")
        self._check_strategy()
        self._check_files()
        return self

    def _check_strategy(self) -> None:
        machine = self.system_config()
        if self.n_devices > machine.max_devices:
            raise ParameterError(
                f"n_devices={self.n_devices}: {machine.name} has {machine.max_devices:,}."
            )
        if self.n_devices % (self.tp * self.pp):
            raise ParameterError(
                f"n_devices={self.n_devices} is no multiple of tp * pp = {self.tp} * {self.pp} = "
                f"{self.tp * self.pp}; change one of the three."
            )
        check(self.model_config(), self.strategy(), n_devices=self.n_devices)
        processes = self.real_tp * self.real_pp * self.real_dp
        if self.run_real and processes > MAX_PROCESSES:
            raise ParameterError(
                f"real_tp * real_pp * real_dp = {processes} processes; use {MAX_PROCESSES} at most."
            )
        heads = self.real_model().heads
        if self.run_real and heads % self.real_tp:
            raise ParameterError(
                f"real_tp={self.real_tp}: the small model has {heads} heads; use 1, 2 or 4."
            )

    def _check_files(self) -> None:
        for name in ("runs_csv", "storage", "out_dir"):
            value: Any = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ParameterError(f"{name}={value!r}: use a path as text, or None.")
        if self.out_dir is not None:
            require_folder("out_dir", self.out_dir)
        if self.storage is not None:
            file = Path(self.storage).expanduser()
            if file.is_dir():
                raise ParameterError(f"storage={self.storage!r} is a folder; name a file in it.")
            require_folder("storage", file.parent)
        if self.runs_csv is not None and not Path(self.runs_csv).expanduser().is_file():
            raise ParameterError(f"runs_csv={self.runs_csv!r} is no file; name a table of runs.")


QUICK = LLMParallelConfig(preset="quick")
STANDARD = LLMParallelConfig(
    preset="standard", measured="vtrain-multi", n_trials=64, real_pp=2, real_steps=8
)
FULL = LLMParallelConfig(
    preset="full",
    model="gpt-1t",
    n_devices=3072,
    global_batch_size=9600,
    tp=8,
    pp=64,
    measured="vtrain-single",
    n_trials=200,
    real_pp=2,
    real_dp=2,
    real_steps=10,
)
PRESETS = {config.preset: config for config in (QUICK, STANDARD, FULL)}
"""``quick``: 175B on 1,024 devices, published runs, two processes, under a minute, no network.
``standard``: with measured runs. ``full``: 1T on 3,072 devices, eight processes."""
