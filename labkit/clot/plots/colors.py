"""Colors that mean the same in every figure of the study.

Levels run from blue (slow, plasma) to vermillion (fast, bonds). Regimes of a run are sky blue while
platelets are free, vermillion while contacts form or break, green once they have settled. Among
controllers gray are plans that never change, blue is the learned one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from labkit.viz.style import OKABE_ITO

GRAY = "#8c8c8c"
"""What is compared against."""
INK = "#222222"
MEASURED, MODEL = OKABE_ITO["black"], OKABE_ITO["blue"]
"""What a run here gave, and what a model or a closed form says."""
PUBLISHED = OKABE_ITO["vermillion"]
WRONG = OKABE_ITO["vermillion"]

LEVEL_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "fluid": "#0072B2",
        "interface": "#56B4E9",
        "nonbonded": "#E69F00",
        "bonded": "#D55E00",
        "setup": "#c8c8c8",
    }
)
"""Level of a step plan to its color; what a run costs besides is gray."""

REGIME_COLORS: Mapping[str, str] = MappingProxyType(
    {"free": "#56B4E9", "contacts changing": "#D55E00", "settled": "#009E73"}
)
"""Regime of a run, in the order of time, to its color."""

FAMILY_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "fixed": GRAY,
        "displacement": "#E69F00",
        "doubling": "#CC79A7",
        "autoencoder": "#009E73",
        "learned": "#0072B2",
    }
)
"""Family of a controller to its color."""
FAMILY_MARKERS: Mapping[str, str] = MappingProxyType(
    {"fixed": "o", "displacement": "s", "doubling": "^", "autoencoder": "D", "learned": "P"}
)


def family(controller: str) -> str:
    """Return the family of a controller by its name; what is not known counts as fixed.

    Examples
    --------
    >>> family("learned, tolerance 0.001"), family("StepDoubling"), family("0.02 / 0.005")
    ('learned', 'doubling', 'fixed')
    """
    name = controller.lower()
    found = (known for known in FAMILY_COLORS if known in name)
    kinds = ("autoencoder" if key in name else None for key in ("lstm", "gru"))
    return next(found, None) or next((kind for kind in kinds if kind), "fixed")
