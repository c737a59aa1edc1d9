"""The strategies that a search may try: a full factorial that is never in memory as a whole.

A point of the space is a whole number ``i`` from 0 to ``n - 1``. Its choices are the digits of
``i`` in the mixed radix of the sizes of the domains, the last domain fastest:

    digit_k = (i // (n_{k+1} n_{k+2} ... n_K)) mod n_k

The data-parallel size is no choice: it is what the other sizes leave of the devices, d = N/(t c p).
Points at which that is no whole number break a rule of their own, `UNEVEN_DEVICES`.

======  ==================================================  ==========
symbol  variable                                            unit
======  ==================================================  ==========
n_k     length of ``Space.domains[k].values``               choices
n       ``len(space)``, the product of all n_k              points
N       ``n_devices``                                       devices
======  ==================================================  ==========
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.choices import not_allowed, require_whole, unknown_choice
from labkit.errors import ParameterError
from labkit.llm_parallel.columns import CODES, ParallelColumns
from labkit.llm_parallel.config import MAX_SIZE, ModelConfig, ParallelConfig
from labkit.llm_parallel.rules import RULES, legality
from labkit.llm_parallel.system import SystemConfig

UNEVEN_DEVICES = "devices / (tp * cp * pp)"
"""Why a point breaks the rule of the space itself: its sizes do not divide the devices."""
REASONS: tuple[str, ...] = (UNEVEN_DEVICES, *(rule.reason for rule in RULES))
"""Reasons of the codes that `Space.broken` returns."""
CHUNK = 100_000
MAX_POINTS = 10**11
MAX_VALUES = 1000
MAX_DEGREE = 10**6

_SIZES = ("tp", "cp", "pp", "virtual_pp", "micro_batch_size")
_BOOLEANS = (
    "sequence_parallel",
    "flash_attention",
    "overlap_grad_reduce",
    "count_embeddings_as_layers",
)
_NAMED = ("recompute", "schedule", "rank_order", "param_dtype", "grad_dtype")
CHOICES = (*_SIZES, "zero_stage", *_BOOLEANS, *_NAMED)
"""Fields of a strategy that may be searched over."""


@dataclass(frozen=True)
class Domain:
    """One choice and what it may be.

    Attributes
    ----------
    name : str
        A field of `ParallelConfig`, or ``"n_devices"``.
    values : tuple
        In the order of the digits; numbers rise.
    """

    name: str
    values: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def codes(self) -> np.ndarray:
        """The values as they stand in a column, shape (n_k,)."""
        names = CODES.get(self.name)
        return np.array([names.index(v) for v in self.values] if names else self.values)

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers of which neighbors are alike."""
        return self.name not in (*_BOOLEANS, *_NAMED)


@dataclass(frozen=True)
class Space:
    """All combinations of the choices of a strategy for one model on one machine.

    Made by `search_space`.

    Attributes
    ----------
    model : ModelConfig
    system : SystemConfig
    n_devices : tuple of int
        Devices to use; several for a front over time and devices.
    global_batch_size : int
        Sequences of one step of all devices.
    domains : tuple of Domain
        ``n_devices`` first, then every field of `ParallelConfig` but `dp` and
        `global_batch_size`; those that are not searched have one value.
    """

    model: ModelConfig
    system: SystemConfig
    n_devices: tuple[int, ...]
    global_batch_size: int
    domains: tuple[Domain, ...]

    def __len__(self) -> int:
        return math.prod(len(domain) for domain in self.domains)

    @property
    def free(self) -> tuple[Domain, ...]:
        """The domains with more than one value."""
        return tuple(domain for domain in self.domains if len(domain) > 1)

    def domain(self, name: str) -> Domain:
        """Return the values that a choice may have."""
        return self.domains[self._place(name)]

    def digits(self, index: np.ndarray, name: str) -> np.ndarray:
        """Return the place in its domain of one choice of some points.

        Parameters
        ----------
        index : ndarray of int, shape (n,)
        name : str

        Returns
        -------
        ndarray of int, shape (n,)
        """
        place = self._place(name)
        below = math.prod(len(domain) for domain in self.domains[place + 1 :])
        return index // below % len(self.domains[place])

    def at(self, index: np.ndarray) -> ParallelColumns:
        """Return the strategies of some points.

        Parameters
        ----------
        index : ndarray of int, shape (n,)

        Returns
        -------
        ParallelColumns of n strategies
            Their `dp` is rounded down, and at least 1, where the devices do not divide.
        """
        rest = np.asarray(index, np.int64)
        values: dict[str, np.ndarray] = {}
        for domain in reversed(self.domains):
            if len(domain) == 1:
                values[domain.name] = np.broadcast_to(domain.codes, rest.shape)
            else:
                rest, digit = np.divmod(rest, len(domain))
                values[domain.name] = domain.codes[digit]
        devices = values.pop("n_devices")
        share = values["tp"] * values["cp"] * values["pp"]
        return ParallelColumns(
            dp=np.maximum(devices // share, 1),
            global_batch_size=np.broadcast_to(np.int64(self.global_batch_size), rest.shape),
            **values,
        )

    def columns(self, start: int, stop: int) -> ParallelColumns:
        """Return the strategies of the points from `start` up to, but without, `stop`."""
        return self.at(np.arange(start, min(stop, len(self))))

    def broken(self, index: np.ndarray, parallel: ParallelColumns) -> np.ndarray:
        """Return which rule some points break first.

        Parameters
        ----------
        index : ndarray of int, shape (n,)
        parallel : ParallelColumns
            ``space.at(index)``.

        Returns
        -------
        ndarray of int8, shape (n,)
            Place in `REASONS`, or -1 where a point is a strategy that can run.
        """
        devices = self.domain("n_devices").codes[self.digits(index, "n_devices")]
        rule = legality(self.model, parallel)
        code = np.where(rule < 0, rule, rule + np.int8(1))
        return np.where(parallel.n_devices == devices, code, np.int8(0))

    def chunks(self, size: int = CHUNK) -> Iterator[np.ndarray]:
        """Yield all points in order, as arrays of at most `size` of them."""
        for start in range(0, len(self), size):
            yield np.arange(start, min(start + size, len(self)))

    def index_of(self, strategy: ParallelConfig) -> int:
        """Return the point of a strategy.

        Raises
        ------
        ParameterError
            The strategy is not in the space; the message names the choice that is not.
        """
        if strategy.global_batch_size != self.global_batch_size:
            raise ParameterError(
                f"global_batch_size={strategy.global_batch_size} is not that of the space; "
                f"use {self.global_batch_size}."
            )
        index = 0
        for domain in self.domains:
            value = getattr(strategy, domain.name)
            if value not in domain.values:
                raise ParameterError(not_allowed(domain.name, value, domain.values))
            index = index * len(domain) + domain.values.index(value)
        return index

    def _place(self, name: str) -> int:
        for place, domain in enumerate(self.domains):
            if domain.name == name:
                return place
        raise ParameterError(unknown_choice(name, [domain.name for domain in self.domains]))


def search_space(
    model: ModelConfig,
    system: SystemConfig,
    n_devices: int | Sequence[int],
    global_batch_size: int,
    **domains: Any,
) -> Space:
    """Return the space of all strategies that are made of given values.

    Parameters
    ----------
    model : ModelConfig
    system : SystemConfig
    n_devices : int or sequence of int
        Devices to use; several for a front over time and devices.
    global_batch_size : int
        Sequences of one step of all devices.
    **domains
        Field of `ParallelConfig` to a value or a list of values. Of the fields that are not
        given, ``tp``, ``pp``, ``virtual_pp``, ``micro_batch_size``, ``zero_stage``,
        ``sequence_parallel``, ``recompute`` and ``schedule`` get the values of
        `default_domains`, and the others the default of `ParallelConfig`.

    Returns
    -------
    Space

    Raises
    ------
    ParameterError
        A name is unknown, or a value is not allowed.

    Examples
    --------
    >>> from labkit.llm_parallel.models import model_preset
    >>> from labkit.llm_parallel.systems import system_preset
    >>> space = search_space(
    ...     model_preset("gpt-175b"), system_preset("frontier"), 128, 640,
    ...     tp=[4, 8], pp=[8, 16], micro_batch_size=1, zero_stage=1, virtual_pp=1,
    ...     sequence_parallel=False, recompute=["none", "full"], schedule="1f1b",
    ... )
    >>> len(space)
    8
    >>> space.columns(0, 8).row(7).label()
    'TP8 PP16 DP1 b1 ZeRO-1 full'
    """
    if not isinstance(model, ModelConfig):
        raise ParameterError(f"model={model!r}: use a ModelConfig, e.g. model_preset('gpt-175b').")
    if not isinstance(system, SystemConfig):
        raise ParameterError(f"system={system!r}: use a SystemConfig, e.g. system_preset(...).")
    for name in domains:
        if name not in CHOICES:
            raise ParameterError(_no_choice(name))
    devices = _checked_values("n_devices", n_devices)
    for number in devices:
        require_whole("n_devices", number, low=1, high=system.max_devices)
    require_whole("global_batch_size", global_batch_size, low=1, high=MAX_SIZE)
    given = {name: _checked_values(name, values) for name, values in domains.items()}
    usual = default_domains(model, system, max(devices))
    fixed = {name: (getattr(ParallelConfig(), name),) for name in CHOICES}
    chosen = {"n_devices": devices, **fixed, **usual, **given}
    space = Space(
        model=model,
        system=system,
        n_devices=devices,
        global_batch_size=int(global_batch_size),
        domains=tuple(Domain(name, values) for name, values in chosen.items()),
    )
    n_points = math.prod(len(domain) for domain in space.domains)
    if n_points > MAX_POINTS:
        largest = max(space.domains, key=len)
        raise ParameterError(
            f"{largest.name} has {len(largest)} values and the space {n_points:.1e} points; "
            f"at most {MAX_POINTS:.0e} can be searched, so name fewer values."
        )
    return space


def default_domains(
    model: ModelConfig, system: SystemConfig, n_devices: int
) -> dict[str, tuple[Any, ...]]:
    """Return what is searched where nothing is said.

    Tensor parallelism over powers of two up to two nodes, any number of stages that divides the
    layers, and the values that are in use of the rest.

    Examples
    --------
    >>> from labkit.llm_parallel.models import model_preset
    >>> from labkit.llm_parallel.systems import system_preset
    >>> default_domains(model_preset("gpt-22b"), system_preset("frontier"), 64)["pp"]
    (1, 2, 3, 4, 6, 8, 12, 16, 24, 48)
    """
    widest = min(2 * system.node_size, n_devices)
    tp = [2**k for k in range(widest.bit_length()) if model.heads % 2**k == 0 and 2**k <= widest]
    layers = model.num_layers
    pp = [p for p in range(1, min(layers, n_devices) + 1) if layers % p == 0]
    return {
        "tp": tuple(tp),
        "pp": tuple(pp),
        "virtual_pp": tuple(v for v in (1, 2, 3, 4, 6, 8) if layers % v == 0),
        "micro_batch_size": (1, 2, 4, 8, 16),
        "zero_stage": (0, 1, 2, 3),
        "sequence_parallel": (False, True),
        "recompute": ("none", "full"),
        "schedule": ("1f1b", "interleaved_1f1b", "zb_h1"),
    }


def _no_choice(name: str) -> str:
    if name == "dp":
        return "dp follows from n_devices / (tp * cp * pp); leave it out and name n_devices."
    return unknown_choice(name, CHOICES)


def _checked_values(name: str, given: Any) -> tuple[Any, ...]:
    """The values of one domain as a tuple, or an error that names the first wrong one."""
    single = isinstance(given, str | bytes | bool) or not np.iterable(given)
    values = [given] if single else list(itertools.islice(given, MAX_VALUES + 1))
    if not values:
        raise ParameterError(f"{name}={given!r} is empty; name at least one value.")
    if len(values) > MAX_VALUES:
        raise ParameterError(f"{name} has more than {MAX_VALUES} values; name fewer.")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    for place, value in enumerate(plain):
        _check_value(name, value)
        if value in plain[:place]:
            raise ParameterError(f"{name} has {value!r} twice; name each value once.")
    return tuple(plain) if name in (*_BOOLEANS, *_NAMED) else tuple(sorted(plain))


def _check_value(name: str, value: object) -> None:
    if name == "n_devices":
        require_whole(name, value, low=1, high=MAX_SIZE)
    else:
        if name in _SIZES:
            require_whole(name, value, low=1, high=MAX_DEGREE)
        batch = value if name == "micro_batch_size" else 1
        ParallelConfig(**{name: value, "global_batch_size": batch})  # type: ignore[arg-type]
