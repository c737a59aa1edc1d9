"""Resampling of multilabel data: twelve samplers with one verb, ``fit_resample(X, Y)``.

| sampler | what it does | random |
| --- | --- | --- |
| `MLROS`, `LPROS` | clone rows of rare labels / rare labelsets | yes |
| `BalancedClones` | clone the rows that lower MeanIR most | ties only |
| `MLRUS`, `LPRUS` | delete rows of frequent labels / labelsets | yes |
| `MLeNN`, `MLTL` | delete majority rows that do not fit their neighbors | no |
| `MLUL` | delete rows that harm the rare labels around them | yes |
| `MLSMOTE`, `MLSOL` | add rows between neighbors | yes |
| `REMEDIAL` | split rows that mix rare and frequent labels | no |
| `REMEDIALHwR` | REMEDIAL, then another sampler | as that one |

Resample the training rows only: copies that land on both sides of a split are the most common way
to a result that is too good to be true.
"""

from __future__ import annotations

import difflib
from typing import Any

from labkit.errors import ParameterError
from labkit.oversampling.resampling.balanced_clones import BalancedClones
from labkit.oversampling.resampling.base import (
    IndexSampler,
    MultilabelSampler,
    SyntheticSampler,
    clone_weights,
)
from labkit.oversampling.resampling.lpros import LPROS
from labkit.oversampling.resampling.lprus import LPRUS
from labkit.oversampling.resampling.mlenn import MLeNN
from labkit.oversampling.resampling.mlros import MLROS
from labkit.oversampling.resampling.mlrus import MLRUS
from labkit.oversampling.resampling.mlsmote import MLSMOTE
from labkit.oversampling.resampling.mlsol import MLSOL
from labkit.oversampling.resampling.mltl import MLTL
from labkit.oversampling.resampling.mlul import MLUL
from labkit.oversampling.resampling.remedial import REMEDIAL
from labkit.oversampling.resampling.remedial_hwr import REMEDIALHwR

__all__ = [
    "LPROS",
    "LPRUS",
    "MLROS",
    "MLRUS",
    "MLSMOTE",
    "MLSOL",
    "MLTL",
    "MLUL",
    "REMEDIAL",
    "SAMPLERS",
    "BalancedClones",
    "IndexSampler",
    "MLeNN",
    "MultilabelSampler",
    "REMEDIALHwR",
    "SyntheticSampler",
    "clone_weights",
    "make_sampler",
]

SAMPLERS: dict[str, type[MultilabelSampler]] = {
    sampler.__name__.lower(): sampler
    for sampler in (
        MLROS,
        MLRUS,
        LPROS,
        LPRUS,
        MLSMOTE,
        MLSOL,
        MLUL,
        MLeNN,
        MLTL,
        REMEDIAL,
        REMEDIALHwR,
        BalancedClones,
    )
}
"""Sampler classes by lower-case name."""


def make_sampler(
    name: str, *, P: float | None = None, k: int | None = None, random_state: Any = None
) -> MultilabelSampler:
    """Build a sampler by name.

    Parameters
    ----------
    name : str
        A key of `SAMPLERS`, in any case.
    P : float, optional
        Fraction of rows to add or delete; None is the sampler's default. Samplers without a size
        parameter (MLSMOTE, MLeNN, MLTL, REMEDIAL, REMEDIALHwR) do not use it.
    k : int, optional
        Number of neighbors; None is the sampler's default. Only samplers with `k_neighbors` use it.
    random_state : int, Generator or None
        Deterministic samplers do not use it.

    Returns
    -------
    MultilabelSampler

    Examples
    --------
    >>> make_sampler("MLROS", P=0.5, random_state=1)
    MLROS(P=0.5, random_state=1)
    """
    key = str(name).lower()
    if key not in SAMPLERS:
        near = difflib.get_close_matches(key, SAMPLERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ParameterError(
            f"sampler={name!r} is not known; use one of {', '.join(SAMPLERS)}.{hint}"
        )
    sampler = SAMPLERS[key]()
    given = {"P": P, "k_neighbors": k, "random_state": random_state}
    accepted = sampler.get_params(deep=False)
    return sampler.set_params(
        **{
            parameter: v
            for parameter, v in given.items()
            if v is not None and parameter in accepted
        }
    )
