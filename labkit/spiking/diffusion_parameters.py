"""Settings of the spiking label diffusion, and those chosen for each graph.

The presets were chosen on the validation papers of the Planetoid splits by
:func:`labkit.spiking.selection.select_parameters` over the grids of that module;
``benchmarks/spiking_diffusion.py`` chooses them anew and says where they differ. Microseer has no
validation papers: its preset is the default.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import BIAS_MANT_MAX, DECAY_MAX, check_integers

READOUTS = (None, "sgc")


@dataclass(frozen=True, kw_only=True)
class DiffusionParameters:
    """Settings of the diffusion.

    Parameters
    ----------
    vth : int
        Threshold, 1 to 4094.
    du, dv : int
        Decay of current and voltage, 0 to 4095 of 4096 a step.
    bias : int, optional
        Bias of a training paper's neuron of its topic, in units of `vth`. None is ``vth + 1``, the
        smallest that spikes at every step.
    steps : int
        Time steps, 2 or more: input arrives one step after the spike.
    knn : int
        Neighbors by words; 0 leaves the words out.
    word_hops : int
        Hops of the citation graph over which words are smoothed before papers are compared.
    mix : float
        Share of the citations in the weights, 0 to 1; not used with ``knn=0``.
    readout : {None, "sgc"}
        "sgc" adds the off-chip readout of the words as bias currents.
    readout_C : float
        Inverse penalty of its logistic regression.
    readout_scale : float
        Bias current of probability 1, as a share of `vth`.

    Examples
    --------
    >>> DiffusionParameters(mix=1.5)
    Traceback (most recent call last):
    ...
    labkit.errors.ParameterError: mix=1.5 is not allowed; use a number from 0 to 1.
    """

    vth: int = 60
    du: int = DECAY_MAX
    dv: int = 128
    bias: int | None = None
    steps: int = 60
    knn: int = 20
    word_hops: int = 0
    mix: float = 0.6
    readout: str | None = None
    readout_C: float = 30.0
    readout_scale: float = 0.3

    def __post_init__(self) -> None:
        check_integers("vth", self.vth, 1, BIAS_MANT_MAX - 1)
        check_integers("du", self.du, 0, DECAY_MAX)
        check_integers("dv", self.dv, 0, DECAY_MAX)
        if self.bias is not None:
            check_integers("bias", self.bias, 0, BIAS_MANT_MAX)
        check_integers("steps", self.steps, 2, 100_000)
        check_integers("knn", self.knn, 0, 10_000)
        check_integers("word_hops", self.word_hops, 0, 10)
        if self.readout not in READOUTS:
            raise ParameterError(not_allowed("readout", self.readout, READOUTS))
        _check_number("mix", self.mix, 0, 1)
        _check_number("readout_C", self.readout_C, 1e-6, 1e6)
        _check_number("readout_scale", self.readout_scale, 0, BIAS_MANT_MAX / self.vth)

    @property
    def label_bias(self) -> int:
        """Bias of a training paper's neuron of its own topic."""
        return self.vth + 1 if self.bias is None else self.bias


def _check_number(name: str, value: object, low: float, high: float) -> None:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # type: ignore[operator]
        raise ParameterError(
            f"{name}={value!r} is not allowed; use a number from {low:g} to {high:g}."
        )


PRESETS: dict[str, DiffusionParameters] = {
    "simulated": DiffusionParameters(vth=180, dv=0, steps=60, knn=40, word_hops=1, mix=0.6),
    "cora": DiffusionParameters(vth=90, dv=512, steps=20, knn=20, word_hops=1, mix=0.6),
    "citeseer": DiffusionParameters(vth=60, dv=0, steps=20, knn=40, word_hops=1, mix=0.6),
    "pubmed": DiffusionParameters(vth=30, dv=1024, steps=20, knn=0),
    "microseer": DiffusionParameters(),
}
"""Graph -> settings without a readout; Pubmed comes without words."""

CITATION_PRESETS: dict[str, DiffusionParameters] = {
    "simulated": DiffusionParameters(vth=180, dv=128, steps=60, knn=0),
    "cora": DiffusionParameters(vth=180, dv=0, steps=60, knn=0),
    "citeseer": DiffusionParameters(vth=130, dv=128, steps=40, knn=0),
    "pubmed": PRESETS["pubmed"],
    "microseer": DiffusionParameters(knn=0),
}
"""Graph -> settings that use the citations only."""

HYBRID_PRESETS: dict[str, DiffusionParameters] = {
    "simulated": DiffusionParameters(
        vth=180, steps=50, word_hops=1, readout="sgc", readout_C=30.0, readout_scale=0.3
    ),
    "cora": DiffusionParameters(vth=90, steps=20, readout="sgc", readout_C=10.0, readout_scale=0.2),
    "citeseer": DiffusionParameters(
        vth=180, steps=20, readout="sgc", readout_C=10.0, readout_scale=0.2
    ),
    "microseer": DiffusionParameters(readout="sgc", steps=50),
}
"""Graph -> settings with the off-chip readout; Pubmed comes without the words that it needs."""

KINDS = {"citations": CITATION_PRESETS, "diffusion": PRESETS, "hybrid": HYBRID_PRESETS}


def preset(graph: str, kind: str = "diffusion") -> DiffusionParameters:
    """Settings chosen for a graph.

    Parameters
    ----------
    graph : str
        Name of the graph. One that is not known gets the settings of microseer, the defaults.
    kind : {"citations", "diffusion", "hybrid"}
        Citations only; with word neighbors; with the off-chip readout as well.

    Returns
    -------
    DiffusionParameters

    Raises
    ------
    ParameterError
        The kind is not known, or needs words and the graph is one that comes without.

    Examples
    --------
    >>> preset("cora").knn, preset("cora", "citations").knn, preset("cora", "hybrid").readout
    (20, 0, 'sgc')
    """
    if kind not in KINDS:
        raise ParameterError(not_allowed("kind", kind, KINDS))
    known = KINDS[kind]
    if graph in PRESETS and graph not in known:
        raise ParameterError(f"kind={kind!r} needs words, which {graph!r} comes without.")
    return known.get(graph, known["microseer"])
