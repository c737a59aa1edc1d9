"""What a run of the study does: one frozen set of choices, with presets."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from labkit.choices import not_allowed, preset_changes, require_folder, require_whole
from labkit.errors import ParameterError

EXAMPLES = ("ergotamine", "tyk2")
TARGETS = ("tyk2", "mcl1", "cdk2", "hif2a")
FRAGMENT_SCHEMES = ("rings", "brics", "murcko")
NETWORKS = ("fast", "bhowmik2018")
DEFAULT_LIGAND = "resname LIG"
MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class HotspotConfig:
    """Choices of one run of the study.

    Attributes
    ----------
    preset : str
        Name of the preset that the choices started from.
    system : {"ergotamine", "tyk2"}
        Example to analyze; not used when ``topology`` is given or ``simulate`` is set.
    topology, trajectory : str or None, tuple of str
        Files of your own, of any kind that MDAnalysis reads; several trajectories are replicas.
    ligand : str
        MDAnalysis selection of the ligand.
    template : str, optional
        SMILES or an SDF file with the ligand's bond orders, where the topology has none.
    start, stop, step : int, optional
        Frames to analyze, as a Python slice; None means the example's own.
    cutoff_A : float
        Distance in angstrom at which a soft contact is one half and a binary one ends.
    width_A : float
        Softness of a contact in angstrom.
    window, stride : int
        Length and spacing of the windows of time, in frames.
    network : {"fast", "bhowmik2018"}
        Layers of the variational autoencoder.
    latent_dim, epochs : int, optional
        Size of the latent space and passes over the windows; None means the network's own.
    n_seeds, seed : int
        Size of the ensemble, and the first of its seeds.
    bootstrap : int
        Resamples of time for the intervals.
    top_k : int
        Size of the short list whose membership gets a probability.
    fragment_scheme : {"rings", "brics", "murcko"}
        How the ligand is cut into fragments.
    growth_frames : int
        Frames over which the room around each atom is averaged; 0 leaves it out.
    planted_epochs : int
        Length of the check on a planted trajectory; 0 leaves it out.
    simulate : bool
        Make the trajectory first: molecular dynamics of ``target`` with its smallest ligand.
    target : {"tyk2", "mcl1", "cdk2", "hif2a"}, optional
        Congeneric series to simulate, and to compare the ranking with.
    md_ns : float
        Length of that simulation in nanoseconds.
    n_jobs : int
        Threads and processes.
    device : str
        Where the networks train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    out_dir : str, optional
        Folder for a simulation and for exported files; None means the working directory for the
        first, and no export.

    Examples
    --------
    >>> config = HotspotConfig.from_preset("quick", n_seeds=5, window=None)
    >>> config.n_seeds, config.window, config.preset
    (5, 12, 'quick')
    """

    preset: str = "custom"
    system: str = "ergotamine"
    topology: str | None = None
    trajectory: tuple[str, ...] = ()
    ligand: str = DEFAULT_LIGAND
    template: str | None = None
    start: int | None = None
    stop: int | None = None
    step: int | None = None
    cutoff_A: float = 4.5
    width_A: float = 0.5
    window: int = 12
    stride: int = 3
    network: str = "fast"
    latent_dim: int | None = None
    epochs: int | None = None
    n_seeds: int = 3
    seed: int = 0
    bootstrap: int = 200
    top_k: int = 8
    fragment_scheme: str = "rings"
    growth_frames: int = 5
    planted_epochs: int = 10
    simulate: bool = False
    target: str | None = None
    md_ns: float = 0.05
    n_jobs: int = 2
    device: str = "auto"
    out_dir: str | None = None

    def __post_init__(self) -> None:
        given: Any = self.trajectory
        if given is None:
            object.__setattr__(self, "trajectory", ())
        elif isinstance(given, (str, os.PathLike)) or not isinstance(given, Iterable):
            object.__setattr__(self, "trajectory", (given,))
        else:
            object.__setattr__(self, "trajectory", tuple(given))

    @classmethod
    def from_preset(cls, preset: str = "quick", **overrides: Any) -> HotspotConfig:
        """A preset with some choices changed, checked.

        Parameters
        ----------
        preset : {"quick", "tyk2", "full"}
            Where to start.
        **overrides
            Fields of this class; None means "as in the preset".

        Returns
        -------
        HotspotConfig

        Raises
        ------
        ParameterError
            If the preset or a field is not known, or a value is not allowed.
        """
        given = preset_changes(preset, overrides, PRESETS)
        if "topology" in given:
            given.setdefault("target", None)  # the preset's is of another system
        return dataclasses.replace(PRESETS[preset], **given).validate()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the ensemble."""
        return tuple(range(self.seed, self.seed + self.n_seeds))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def validate(self) -> HotspotConfig:
        """Check every choice.

        Returns
        -------
        HotspotConfig
            Itself.

        Raises
        ------
        ParameterError
            Naming the field, its value and what is allowed.
        """
        for name, allowed in {
            "system": EXAMPLES,
            "network": NETWORKS,
            "fragment_scheme": FRAGMENT_SCHEMES,
            "target": (None, *TARGETS),
        }.items():
            if getattr(self, name) not in allowed:
                raise ParameterError(not_allowed(name, getattr(self, name), allowed))
        self._check_numbers()
        self._check_source()
        return self

    def _check_numbers(self) -> None:
        lowest = {
            "window": 2, "stride": 1, "n_seeds": 1, "seed": 0, "bootstrap": 50, "top_k": 1,
            "growth_frames": 0, "planted_epochs": 0, "n_jobs": 1,
        }  # fmt: skip
        for name in ("latent_dim", "epochs", "step"):
            if getattr(self, name) is not None:
                lowest[name] = 1
        for name, low in lowest.items():
            require_whole(name, getattr(self, name), low=low, high=MAX_SEED - 1)
        for name in ("cutoff_A", "width_A", "md_ns"):
            value = getattr(self, name)
            numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not numeric or not 0 < value < math.inf:
                raise ParameterError(f"{name}={value!r}: use a number above 0.")
        if not 2 <= self.cutoff_A <= 7:
            raise ParameterError(
                f"cutoff_A={self.cutoff_A:g}: use 2 to 7; distances are kept up to 8 angstrom."
            )

    def _check_source(self) -> None:
        if self.topology is None and (self.template or self.ligand != DEFAULT_LIGAND):
            given = "template" if self.template else "ligand"
            raise ParameterError(
                f"{given}={getattr(self, given)!r} is of a system of your own; give its topology "
                "too, or leave it out."
            )
        if self.trajectory and self.topology is None:
            raise ParameterError(
                f"trajectory={list(self.trajectory)} needs a topology; give topology='protein.pdb' "
                "or the like."
            )
        if self.simulate and self.target is None:
            raise ParameterError(f"simulate=True needs a target: use {', '.join(TARGETS)}.")
        if self.simulate and self.topology is not None:
            raise ParameterError(
                f"simulate=True makes a trajectory and topology={self.topology!r} names one; "
                "leave one of them out."
            )
        if self.out_dir is not None:
            require_folder("out_dir", self.out_dir)


QUICK = HotspotConfig(preset="quick")
TYK2 = HotspotConfig(preset="tyk2", system="tyk2", target="tyk2", n_seeds=6)
FULL = HotspotConfig(
    preset="full",
    network="bhowmik2018",
    n_seeds=10,
    bootstrap=1000,
    growth_frames=50,
    planted_epochs=15,
)
PRESETS = {config.preset: config for config in (QUICK, TYK2, FULL)}
"""``quick``: the packaged trajectory in a minute. ``tyk2``: a pocket trajectory with measured
affinities beside the ranking. ``full``: trajectories of your own, an ensemble of ten networks of
the size of Bhowmik et al. 2018."""
