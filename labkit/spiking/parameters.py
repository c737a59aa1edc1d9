"""Parameters of the integer spiking graph network, with the limits of the arithmetic they enter.

Names follow the reference network: ``*_w`` is an 8-bit weight, ``*_exp`` the power of two by which
the sum of a connection is shifted, ``*_vth`` a threshold (aligned with the state by six bits),
``*_dv`` a decay of the voltage in 1/4096 per step, ``ref_*`` a refractory time in steps. Currents
do not outlast their step (``du`` is 4095). The paper publishes neither its wiring nor its tuned
values: the defaults are a documented reconstruction.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from labkit.choices import require_whole, unknown_choice
from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import DECAY_MAX, STATE_LIMIT, VTH_MAX, WEIGHT_MAX
from labkit.spiking.plasticity import STDPLoihi

PULSE = 10
"""The pulse that starts a query, in multiples of the threshold of a paper."""
PAPER_VTH_MAX = (STATE_LIMIT >> 6) // PULSE
"""Beyond it the pulse would wrap the 24-bit current and the query would stay silent."""
EXP_MIN, EXP_MAX = -16, 7
WINDOW_MIN, WINDOW_MAX = 3, 1000
REFRACTORY_MAX = 1_000_000
SEED_MAX = 2**31 - 1
TOPIC_SEED_STEP = 10
"""Added to `rng_seed` for the connection from the topics to the papers."""

_RANGES = {
    "graph_w": (0, WEIGHT_MAX),
    "graph_exp": (EXP_MIN, EXP_MAX),
    "paper_vth": (1, PAPER_VTH_MAX),
    "paper_dv": (0, DECAY_MAX),
    "topic_vth": (0, VTH_MAX),
    "topic_dv": (0, DECAY_MAX),
    "train_w": (0, WEIGHT_MAX),
    "train_exp": (EXP_MIN, EXP_MAX),
    "test_w": (0, WEIGHT_MAX),
    "test_exp": (EXP_MIN, EXP_MAX),
    "ref_train": (0, REFRACTORY_MAX),
    "ref_other": (0, REFRACTORY_MAX),
    "window": (WINDOW_MIN, WINDOW_MAX),
    "rng_seed": (0, SEED_MAX),
    "feature_w": (0, WEIGHT_MAX),
    "feature_exp": (EXP_MIN, EXP_MAX),
    "feature_vth": (0, VTH_MAX),
    "feature_dv": (0, DECAY_MAX),
    "ref_feature": (0, REFRACTORY_MAX),
    "feature_topic_w": (0, WEIGHT_MAX),
    "feature_topic_exp": (EXP_MIN, EXP_MAX),
}


@dataclass(frozen=True, kw_only=True)
class SGNNParameters:
    """Parameters of the integer network; the defaults are one untuned setting for all graphs.

    Attributes
    ----------
    graph_w, graph_exp : int
        Citation synapses. A spike passes on by itself where ``graph_w << graph_exp`` exceeds
        `paper_vth`.
    paper_vth, paper_dv : int
        Threshold (1 to 13107) and voltage decay of the papers.
    topic_vth, topic_dv : int
        Of the topics.
    train_w, train_exp : int
        Synapses between a training paper and its topic, both ways.
    test_w, test_exp : int
        Start of the plastic synapses between the other papers and all topics, both ways. They hold
        signed weights, which lose their last bit: `test_w` is even. Papers of one step act
        together, so keep ``n_other * test_w`` shifted by `test_exp` below `topic_vth`.
    ref_train, ref_other : int
        Refractory time of the training papers and of the others. With ``ref_other >= window``
        an unlabeled paper fires at most once per query.
    window : int
        Steps of a query, 3 to 1000; the first is the guard, in which nothing spikes.
    learning_rate, A_plus, A_minus, tau_plus, tau_minus, x1_impulse, y1_impulse, t_epoch, rng_seed
        The learning rule of the plastic synapses, see `STDPLoihi`. The connection from the topics
        to the papers is seeded with ``rng_seed + 10``.
    features : bool
        Add one neuron for every word of the papers.
    feature_w, feature_exp : int
        Synapses between a paper and each of its words, both ways.
    feature_vth, feature_dv, ref_feature : int
        Threshold, voltage decay and refractory time of the words.
    feature_topic_w, feature_topic_exp : int
        Synapses between every word and every topic, both ways; a weight of 0 leaves them out.
    feature_stdp : bool
        Let the synapses between words and topics learn by the same rule.

    Examples
    --------
    >>> SGNNParameters().replace(graph_w=50).graph_w
    50
    >>> SGNNParameters(test_w=3)
    Traceback (most recent call last):
    ...
    labkit.errors.ParameterError: test_w=3 is odd; plastic synapses hold signed weights, which lose
    their last bit. Use 2 or 4.
    """

    graph_w: int = 200
    graph_exp: int = 0
    paper_vth: int = 100
    paper_dv: int = 0
    topic_vth: int = 90
    topic_dv: int = 0
    train_w: int = 100
    train_exp: int = 0
    test_w: int = 2
    test_exp: int = -7
    ref_train: int = 1
    ref_other: int = 60
    window: int = 10
    learning_rate: float = 1
    A_plus: float = 0.5
    A_minus: float = -0.5
    tau_plus: float = 2
    tau_minus: float = 2
    x1_impulse: float = 120
    y1_impulse: float = 16
    t_epoch: int = 1
    rng_seed: int = 7
    features: bool = False
    feature_w: int = 20
    feature_exp: int = 0
    feature_vth: int = 25
    feature_dv: int = 0
    ref_feature: int = 1
    feature_topic_w: int = 0
    feature_topic_exp: int = 0
    feature_stdp: bool = False

    def __post_init__(self) -> None:
        self.validate()

    @property
    def rule(self) -> STDPLoihi:
        """Learning rule of the synapses from the papers to the topics."""
        return self.rule_seeded(self.rng_seed)

    @property
    def pulse(self) -> int:
        """Input that starts a query."""
        return PULSE * self.paper_vth

    def rule_seeded(self, rng_seed: int) -> STDPLoihi:
        """The learning rule with random streams of its own."""
        return STDPLoihi(
            learning_rate=self.learning_rate,
            A_plus=self.A_plus,
            A_minus=self.A_minus,
            tau_plus=self.tau_plus,
            tau_minus=self.tau_minus,
            x1_impulse=self.x1_impulse,
            y1_impulse=self.y1_impulse,
            t_epoch=self.t_epoch,
            rng_seed=rng_seed,
        )

    def replace(self, **changes: Any) -> SGNNParameters:
        """The same parameters with some changed.

        Raises
        ------
        ParameterError
            A name is not known or a value is not allowed.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise ParameterError(unknown_choice(name, names))
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def validate(self) -> SGNNParameters:
        """Check every parameter, and return them.

        Raises
        ------
        ParameterError
            Naming the field, its value and what is allowed.
        """
        for name, (low, high) in _RANGES.items():
            require_whole(name, getattr(self, name), low=low, high=high)
        for name in ("features", "feature_stdp"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(f"{name}={getattr(self, name)!r}: use True or False.")
        plastic = ("test_w", "feature_topic_w") if self.feature_stdp else ("test_w",)
        for name in plastic:
            _check_even(name, getattr(self, name))
        _ = self.rule
        if self.window % self.t_epoch:
            raise ParameterError(
                f"window={self.window} is no multiple of t_epoch={self.t_epoch}: a learning epoch "
                "would reach from one query into the next. Use a multiple, or t_epoch=1."
            )
        return self


def _check_even(name: str, value: int) -> None:
    if value % 2:
        above = f" or {value + 1}" if value < WEIGHT_MAX else ""
        raise ParameterError(
            f"{name}={value} is odd; plastic synapses hold signed weights, which lose their last "
            f"bit. Use {value - 1}{above}."
        )
