"""What a spiking network is made of: populations of neurons and the projections between them.

A projection carries spikes of population ``pre`` to population ``post`` through integer weights
``w[post, pre]``. It is one of Lava's connection processes::

    "dense"           all to all                                  Dense
    "sparse"          stored synapses only                        Sparse
    "delay_dense"     all to all, each synapse with its delay     DelayDense
    "learning_dense"  all to all, weights change by STDP          LearningDense with STDPLoihi

A spike of step t adds ``shift(sum of weights, weight_exp)`` to the input of step t + 1 + delay.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from labkit.choices import not_allowed
from labkit.errors import ParameterError
from labkit.spiking.fixedpoint import (
    WEIGHT_BITS,
    LIFParameters,
    check_integers,
    effective_weights,
    resolved_sign_mode,
    weight_limits,
)
from labkit.spiking.plasticity import STDPLoihi

PROJECTION_KINDS = ("dense", "sparse", "delay_dense", "learning_dense")
MAX_DELAY = 63
WEIGHT_EXP_MIN, WEIGHT_EXP_MAX = -16, 15
_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons that share their parameters.

    Parameters
    ----------
    name : str
        Letters, digits, _ and -.
    n : int
        Number of neurons.
    lif : LIFParameters

    Examples
    --------
    >>> Population("topic", 7, LIFParameters(vth=90, refractory=3)).kind
    'LIFLongReset'
    """

    name: str
    n: int
    lif: LIFParameters

    def __post_init__(self) -> None:
        _check_name("name of a population", self.name)
        check_integers(f"n of population {self.name!r}", self.n, 1, 2**31 - 1)
        for field in ("bias_mant", "refractory"):
            shape = np.shape(getattr(self.lif, field))
            if shape not in ((), (self.n,)):
                raise ParameterError(
                    f"{field} of population {self.name!r} has shape {shape}; use one number or "
                    f"one for each of its {self.n} neurons."
                )

    @property
    def kind(self) -> str:
        """Lava's process: "LIF", "LIFReset", or labkit's "LIFLongReset" (refractory or guarded)."""
        if self.lif.is_refractory or self.lif.guard:
            return "LIFLongReset"
        return "LIF" if self.lif.reset_interval is None else "LIFReset"


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from one population to another.

    Parameters
    ----------
    name, pre, post : str
        Names of the projection and of the populations: letters, digits, _ and -.
    weights : ndarray or scipy.sparse matrix of int, shape (n_post, n_pre)
    kind : {"dense", "sparse", "delay_dense", "learning_dense"}
    weight_exp : int
        The summed input is multiplied by 2^weight_exp, -16 to 15.
    num_weight_bits : int
        Bits of a weight, 1 to 8.
    sign_mode : {"mixed", "excitatory", "inhibitory"}, optional
        None is Lava's default: decided by the weights, mixed for a learning projection.
    delays : ndarray of int, shape (n_post, n_pre), optional
        Steps beyond the one that every spike takes, 0 to 63; of a delay_dense projection only.
    rule : STDPLoihi, optional
        Of a learning_dense projection only.
    clip : bool
        Clip weights that do not fit, as Lava does silently, and count them; else they are refused.

    Attributes
    ----------
    weights : ndarray of int32, or csr_matrix of int32 for a sparse projection

    Examples
    --------
    >>> Projection("cites", "a", "b", np.array([[300, 20]]))
    Traceback (most recent call last):
    ...
    labkit.errors.ParameterError: weights of projection 'cites' reach from 20 to 300; ...
    """

    name: str
    pre: str
    post: str
    weights: Any
    kind: str = "dense"
    weight_exp: int = 0
    num_weight_bits: int = WEIGHT_BITS
    sign_mode: str | None = None
    delays: np.ndarray | None = None
    rule: STDPLoihi | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        _check_name("name of a projection", self.name)
        for end in ("pre", "post"):
            _check_name(f"{end} of {self}", getattr(self, end))
        if self.kind not in PROJECTION_KINDS:
            raise ParameterError(not_allowed("kind", self.kind, PROJECTION_KINDS))
        check_integers(f"weight_exp of {self}", self.weight_exp, WEIGHT_EXP_MIN, WEIGHT_EXP_MAX)
        check_integers(f"num_weight_bits of {self}", self.num_weight_bits, 1, WEIGHT_BITS)
        object.__setattr__(self, "weights", self._whole_weights())
        self._check_range()
        self._check_delays()
        if (self.rule is not None) != self.learns:
            raise ParameterError(
                f"{self} is {self.kind} and has {'a' if self.rule else 'no'} rule; a "
                "learning_dense projection needs rule=STDPLoihi(...), the others take none."
            )

    def __str__(self) -> str:
        return f"projection {self.name!r}"

    @property
    def learns(self) -> bool:
        """Whether the weights change."""
        return self.kind == "learning_dense"

    @property
    def n_post(self) -> int:
        """Number of receiving neurons."""
        return int(self.weights.shape[0])

    @property
    def n_pre(self) -> int:
        """Number of sending neurons."""
        return int(self.weights.shape[1])

    @property
    def n_synapses(self) -> int:
        """Synapses that are stored: the entries of a sparse projection, else every pair."""
        return int(self.weights.nnz) if self.kind == "sparse" else self.n_post * self.n_pre

    @property
    def fan_out(self) -> np.ndarray:
        """Synapses of each presynaptic neuron, int64 of shape (n_pre,)."""
        if self.kind != "sparse":
            return np.full(self.n_pre, self.n_post, dtype=np.int64)
        return np.bincount(self.weights.indices, minlength=self.n_pre).astype(np.int64)

    @property
    def resolved_sign_mode(self) -> str:
        """Sign mode in use."""
        if self.learns and self.sign_mode is None:
            return "mixed"
        return resolved_sign_mode(self._values(), self.sign_mode)

    @property
    def n_clipped(self) -> int:
        """Weights outside of what the sign mode holds."""
        low, high = weight_limits(self.resolved_sign_mode)
        values = self._values()
        return int(np.count_nonzero((values < low) | (values > high)))

    def effective_weights(self) -> Any:
        """Weights in use at the start: clipped, low bits dropped; csr_matrix if sparse."""
        used = effective_weights(
            self._values(),
            sign_mode=self.resolved_sign_mode,
            num_weight_bits=self.num_weight_bits,
        )
        if self.kind != "sparse":
            return used
        return sparse.csr_matrix(
            (used, self.weights.indices, self.weights.indptr), shape=self.weights.shape
        )

    def _values(self) -> np.ndarray:
        return self.weights.data if self.kind == "sparse" else self.weights

    def _whole_weights(self) -> Any:
        given = self.weights
        given = given if sparse.issparse(given) else np.asarray(given)
        if given.ndim != 2 or given.dtype.kind not in "iu":
            raise ParameterError(
                f"weights of {self} have {given.ndim} dimensions of {given.dtype}; use a matrix "
                "(n_post, n_pre) of whole numbers."
            )
        if self.kind == "sparse":
            matrix = sparse.csr_matrix(given)
            matrix.sum_duplicates()
            return sparse.csr_matrix(
                (matrix.data.astype(np.int32), matrix.indices, matrix.indptr), shape=matrix.shape
            )
        dense = sparse.csr_matrix(given).toarray() if sparse.issparse(given) else given
        dense = dense.astype(np.int32)
        dense.flags.writeable = False
        return dense

    def _check_range(self) -> None:
        if not self.n_clipped or (self.clip and not self.learns):
            return
        low, high = weight_limits(self.resolved_sign_mode)
        values = self._values()
        remedy = "" if self.learns else ", or pass clip=True to clip and count them as Lava does"
        raise ParameterError(
            f"weights of {self} reach from {values.min()} to {values.max()}; {WEIGHT_BITS} bits "
            f"of sign_mode={self.resolved_sign_mode!r} hold {low} to {high}. Scale them down and "
            f"raise weight_exp{remedy}."
        )

    def _check_delays(self) -> None:
        if (self.delays is not None) != (self.kind == "delay_dense"):
            raise ParameterError(
                f"{self} is {self.kind} and has {'' if self.delays is not None else 'no '}delays; "
                "a delay_dense projection needs delays, the others take none."
            )
        if self.delays is None:
            return
        check_integers(f"delays of {self}", self.delays, 0, MAX_DELAY)
        delays = np.array(self.delays, dtype=np.int32)
        if delays.shape != self.weights.shape:
            raise ParameterError(
                f"delays of {self} have shape {delays.shape}; use that of the weights, "
                f"{self.weights.shape}."
            )
        delays.flags.writeable = False
        object.__setattr__(self, "delays", delays)


def _check_name(what: str, name: object) -> None:
    """Refuse a name that cannot be part of a file name and of a name of Lava."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ParameterError(f"{what}={name!r} is not allowed; use letters, digits, _ and -.")
