"""What a study runs: one frozen set of choices, with presets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.choices import not_allowed, preset_changes, require_whole
from labkit.errors import ParameterError
from labkit.oversampling.losses import LOSSES, MULTILABEL_LOSSES
from labkit.oversampling.models import ENCODERS
from labkit.oversampling.resampling import SAMPLERS
from labkit.oversampling.training import TASKS

MODELS = ("forest", "boosting", "gnn", "hybrid")
"""Random forest, gradient boosting, standard graph network, graph network with fingerprint."""
SPLITS = ("random", "scaffold", "stratified", "group")
SPACES = ("seed", "embedding")
CLASS_WEIGHT = "class_weight"
"""Arm that resamples nothing and weights positives against negatives in the model instead."""
MIN_MOLECULES = 50
MAX_SEED = 2**32 - 1
WHOLE = (int, np.integer)
NUMBER = (*WHOLE, float, np.floating)
SAMPLER_NAMES = {key: sampler.__name__ for key, sampler in SAMPLERS.items()}
ARMS = ("none", CLASS_WEIGHT, *SAMPLER_NAMES.values())


@dataclass(frozen=True)
class StudyConfig:
    """Choices of one run of the study.

    Attributes
    ----------
    preset : str
        Name of the preset that the choices started from.
    dataset : str
        Name that `load_molecules` knows; not used when ``csv`` is given.
    csv : str, optional
        Table of your own, with ``smiles_col`` and ``target_cols`` (all other columns if None).
    task : {"multilabel", "regression"}
        Measured values are made labels for ``"multilabel"``: those beyond ``label_value``, or
        beyond each target's ``label_quantile`` if that is None, in ``label_direction``.
    n_molecules : int, optional
        Random subset of the data; None takes all.
    split : {"random", "scaffold", "stratified", "group"}
        How test molecules are chosen.
    samplers : tuple of str
        Arms: ``"none"`` (added if missing: all others are compared with it), names in
        `labkit.oversampling.resampling.SAMPLERS` in any case, ``"class_weight"``.
    models : tuple of {"forest", "boosting", "gnn", "hybrid"}
        What is trained in each arm.
    P : float
        Rows added or removed, as a share of the training rows.
    k : int
        Neighbors, for samplers that have them.
    space : {"seed", "embedding"}
        Where a synthetic row lies for graph networks: the graph of its seed with an interpolated
        fingerprint, or between the embeddings of the network trained without resampling.
    encoder, hidden, layers, dropout, epochs, lr, batch_size, loss, device
        Of the graph networks; ``loss=None`` is ``"bce"`` or, for regression, ``"mse"``.
    fingerprint : str
        As `featurize` takes it.
    n_trees : int
        Trees of the forest.
    seeds : tuple of int
        One split, resampling and training each.
    n_bootstrap : int
        Resamples of the test molecules for the intervals; 0 leaves them out.

    Examples
    --------
    >>> config = StudyConfig.from_preset("quick", epochs=2, P=None)
    >>> config.epochs, config.P, config.preset
    (2, 0.25, 'quick')
    """

    preset: str = "custom"
    dataset: str = "nci_simulated"
    csv: str | None = None
    smiles_col: str | None = None
    target_cols: tuple[str, ...] | None = None
    task: str = "multilabel"
    label_quantile: float = 0.75
    label_value: float | None = None
    label_direction: str = "above"
    n_molecules: int | None = None
    split: str = "random"
    samplers: tuple[str, ...] = ("none", "MLROS", "MLSMOTE")
    models: tuple[str, ...] = ("forest", "hybrid")
    P: float = 0.25
    k: int = 5
    space: str = "seed"
    encoder: str = "attentivefp"
    fingerprint: str = "ecfp4:2048"
    hidden: int = 64
    layers: int = 2
    dropout: float = 0.1
    epochs: int = 12
    lr: float = 4e-3
    batch_size: int = 64
    loss: str | None = None
    device: str = "auto"
    n_trees: int = 100
    seeds: tuple[int, ...] = (0,)
    n_bootstrap: int = 1000

    def __post_init__(self) -> None:
        for name in ("samplers", "models", "seeds", "target_cols"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _as_tuple(value))
        named = tuple(SAMPLER_NAMES.get(str(s).lower(), s) for s in self.samplers)
        object.__setattr__(self, "samplers", named if "none" in named else ("none", *named))

    @classmethod
    def from_preset(cls, preset: str = "quick", **overrides: Any) -> StudyConfig:
        """A preset with some choices changed, checked.

        Parameters
        ----------
        preset : {"quick", "standard", "full"}
            Where to start.
        **overrides
            Fields of this class; None means "as in the preset".

        Returns
        -------
        StudyConfig

        Raises
        ------
        ParameterError
            If the preset or a field is not known, or a value is not allowed.
        """
        given = preset_changes(preset, overrides, PRESETS)
        if given.get("task") == "regression":
            given.setdefault("samplers", ("none",))
        return dataclasses.replace(PRESETS[preset], **given).validate()

    def validate(self) -> StudyConfig:
        """Check every choice.

        Returns
        -------
        StudyConfig
            Itself.

        Raises
        ------
        ParameterError
            Naming the field, its value and what is allowed.
        """
        self._check_choices()
        self._check_numbers()
        if self.task == "regression" and self.samplers != ("none",):
            raise ParameterError(
                f"samplers={list(self.samplers)} need labels; with task='regression' use ['none'], "
                "or task='multilabel' to turn the values into labels."
            )
        if self.fingerprint == "none" and set(self.models) != {"gnn"}:
            raise ParameterError(
                f"fingerprint='none' leaves models={list(self.models)} without inputs; use "
                "models=['gnn'] or a fingerprint such as 'ecfp4:2048'."
            )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def _check_choices(self) -> None:
        losses = ("mse",) if self.task == "regression" else MULTILABEL_LOSSES
        for name, allowed in {
            "task": TASKS,
            "split": SPLITS,
            "encoder": ENCODERS,
            "space": SPACES,
            "label_direction": ("above", "below"),
            "loss": (None, *losses) if self.task in TASKS else (None, *LOSSES),
        }.items():
            if getattr(self, name) not in allowed:
                raise ParameterError(not_allowed(name, getattr(self, name), allowed))
        for name, allowed in {"samplers": ARMS, "models": MODELS}.items():
            values = getattr(self, name)
            for value in values:
                if value not in allowed:
                    raise ParameterError(not_allowed(name, value, allowed))
            if not values or len(set(values)) < len(values):
                raise ParameterError(f"{name}={list(values)}: name at least one, each only once.")

    def _check_numbers(self) -> None:
        for name, low in {
            "k": 1, "hidden": 1, "layers": 1, "epochs": 1, "batch_size": 1, "n_trees": 1,
            "n_bootstrap": 0,
        }.items():  # fmt: skip
            require_whole(name, getattr(self, name), low=low)
        n: Any = self.n_molecules
        if n is not None and (not isinstance(n, WHOLE) or n < MIN_MOLECULES):
            raise ParameterError(
                f"n_molecules={n!r}: use {MIN_MOLECULES} or more, or None for all."
            )
        for name, low_, high in (
            ("P", 0.0, math.inf), ("lr", 0.0, math.inf), ("label_quantile", 0.0, 1.0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, NUMBER) or not low_ < value < high:
                limits = f"above {low_:g}" + ("" if high == math.inf else f" and below {high:g}")
                raise ParameterError(f"{name}={value!r}: use a number {limits}.")
        dropout: Any = self.dropout
        if not isinstance(dropout, NUMBER) or not 0 <= dropout < 1:
            raise ParameterError(f"dropout={dropout!r}: use 0 <= dropout < 1.")
        seeds: tuple[Any, ...] = self.seeds
        whole = [s for s in seeds if isinstance(s, WHOLE) and not isinstance(s, bool) and s >= 0]
        if not self.seeds or len(set(whole)) < len(self.seeds) or max(whole) > MAX_SEED:
            raise ParameterError(
                f"seeds={list(self.seeds)}: name at least one, each a different whole number from "
                f"0 to {MAX_SEED}."
            )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """A tuple of a list or of a lone value, as a notebook parameter may give it."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


QUICK = StudyConfig(
    preset="quick",
    dataset="nci_simulated",
    n_molecules=1500,
    samplers=("none", "MLROS", "MLSMOTE"),
    epochs=8,
    seeds=(0,),
)
"""Simulated effects of real molecules: no network, half a minute on one core."""

STANDARD = StudyConfig(
    preset="standard",
    dataset="sider",
    samplers=("none", "MLROS", "MLSMOTE", "BalancedClones", CLASS_WEIGHT),
    models=("forest", "gnn", "hybrid"),
    epochs=20,
    seeds=(0, 1, 2, 3, 4),
)
"""Side effects of marketed drugs (SIDER), five splits."""

FULL = StudyConfig(
    preset="full",
    dataset="tox21",
    samplers=ARMS,
    models=MODELS,
    hidden=200,
    epochs=100,
    lr=2e-3,
    seeds=(0, 1, 2, 3, 4),
)
"""Every sampler and model at the full width on Tox21; sweep over ``dataset`` and ``encoder``."""

PRESETS: Mapping[str, StudyConfig] = {"quick": QUICK, "standard": STANDARD, "full": FULL}
