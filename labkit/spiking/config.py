"""What a run of the study does: one frozen set of choices, with presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.choices import not_allowed, preset_changes, require_folder, require_whole
from labkit.errors import ParameterError
from labkit.spiking.lava_process import lava_python

DATASETS = ("simulated", "cora", "citeseer", "pubmed", "microseer")
SPLITS = ("planetoid", "linqs")
PRECISIONS = ("int", "float")
SAMPLERS = ("gp", "tpe", "random", "lavabo")
TIE_RULES = ("unique", "expected", "first", "any")
BACKENDS = ("numpy", "numba", "torch")
MIN_WINDOW = 3
MAX_WINDOW = 1000
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class SpikingConfig:
    """Choices of one run of the study.

    Attributes
    ----------
    preset : str
        Name of the preset that the choices started from.
    dataset : {"simulated", "cora", "citeseer", "pubmed", "microseer"}
        Citation graph; all but the first are real, and looked for by `labkit.datasets`.
    split : {"planetoid", "linqs"}
        Public split of Yang et al. (2016), or the random split of the spiking papers, with `seed`.
    precision : {"int", "float"}
        Which network is tuned: Loihi's integers, or the float network of the earlier papers.
    features : bool
        Give the spiking networks a neuron for every word of the papers.
    window : int
        Time steps of a query; in integers the first of them is the guard.
    tie_rule : {"unique", "expected", "first", "any"}
        How a query counts whose best score several topics share.
    n_trials : int
        Settings tried by the tuner; 0 leaves tuning out.
    sampler : {"gp", "tpe", "random", "lavabo"}
        How it proposes them.
    storage : str, optional
        Journal file in which the tuner keeps its trials, to go on after a kill and to share them
        with other processes.
    diffusion : bool
        Also run spiking label diffusion, and with word features the hybrid readout.
    baseline_seeds : int
        Repeats of each graph network trained beside it; 0 leaves the baselines out.
    compare_lava : bool
        Run the first `lava_queries` windows in Lava too, which has an environment of its own.
    lava_queries : int
        Windows of that check.
    backend : {"numpy", "numba", "torch"}
        What computes the integer network; the results are the same.
    seed : int
        Of the simulated graph, the random split and the tuner.
    n_jobs : int
        Threads of the compiled back end, and of the tuner.
    out_dir : str, optional
        Folder for exported files; None means no export.

    Examples
    --------
    >>> config = SpikingConfig.from_preset("quick", window=8, n_trials=None)
    >>> config.window, config.n_trials, config.preset
    (8, 20, 'quick')
    """

    preset: str = "custom"
    dataset: str = "simulated"
    split: str = "planetoid"
    precision: str = "int"
    features: bool = False
    window: int = 10
    tie_rule: str = "expected"
    n_trials: int = 20
    sampler: str = "gp"
    storage: str | None = None
    diffusion: bool = True
    baseline_seeds: int = 1
    compare_lava: bool = False
    lava_queries: int = 4
    backend: str = "numpy"
    seed: int = 0
    n_jobs: int = 1
    out_dir: str | None = None

    @classmethod
    def from_preset(cls, preset: str = "quick", **overrides: Any) -> SpikingConfig:
        """A preset with some choices changed, checked.

        Parameters
        ----------
        preset : {"quick", "standard", "full"}
            Where to start.
        **overrides
            Fields of this class; None means "as in the preset".

        Returns
        -------
        SpikingConfig

        Raises
        ------
        ParameterError
            If the preset or a field is not known, or a value is not allowed.
        MissingLavaError
            If sampler="lavabo" and Lava is not on this machine.
        """
        given = preset_changes(preset, overrides, PRESETS)
        return dataclasses.replace(PRESETS[preset], **given).validate()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def validate(self) -> SpikingConfig:
        """Check every choice.

        Returns
        -------
        SpikingConfig
            Itself.

        Raises
        ------
        ParameterError
            Naming the field, its value and what is allowed.
        """
        for name, allowed in {
            "dataset": DATASETS,
            "split": SPLITS,
            "precision": PRECISIONS,
            "sampler": SAMPLERS,
            "tie_rule": TIE_RULES,
            "backend": BACKENDS,
        }.items():
            if getattr(self, name) not in allowed:
                raise ParameterError(not_allowed(name, getattr(self, name), allowed))
        limits = {"window": (MIN_WINDOW, MAX_WINDOW), "seed": (0, MAX_SEED), "n_jobs": (1, 1024)}
        limits |= {"n_trials": (0, 100_000), "baseline_seeds": (0, 1000), "lava_queries": (1, 1000)}
        for name, (low, high) in limits.items():
            require_whole(name, getattr(self, name), low=low, high=high)
        for name in ("features", "diffusion", "compare_lava"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(f"{name}={getattr(self, name)!r}: use True or False.")
        self._check_data()
        self._check_files()
        return self

    def _check_data(self) -> None:
        if self.features and self.dataset == "pubmed":
            raise ParameterError(
                "features=True needs the words of the papers, which 'pubmed' comes without; use "
                "features=False or another dataset."
            )
        if self.split == "linqs" and self.dataset == "microseer":
            raise ParameterError(
                "split='linqs' draws 20 papers of each topic, more than 'microseer' has; use "
                "split='planetoid', which is its own split."
            )

    def _check_files(self) -> None:
        for name in ("storage", "out_dir"):
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
        if self.sampler == "lavabo":
            if self.storage is not None:
                raise ParameterError(
                    f"storage={self.storage!r}: the solver of Lava cannot resume; leave storage "
                    "out or use another sampler."
                )
            if self.n_trials:
                lava_python()


QUICK = SpikingConfig(preset="quick")
STANDARD = SpikingConfig(preset="standard", dataset="cora", n_trials=100, baseline_seeds=3)
FULL = SpikingConfig(
    preset="full", dataset="cora", n_trials=500, baseline_seeds=10, compare_lava=True
)
PRESETS = {config.preset: config for config in (QUICK, STANDARD, FULL)}
"""``quick``: a simulated graph, under a minute, no network. ``standard``: Cora. ``full``: long
tuning, ten seeds and the check in Lava; sweep over ``dataset`` and ``seed``."""
