"""Messages for a choice that cannot be had: what was given, what is allowed, what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def not_allowed(name: str, value: object, allowed: Iterable[object]) -> str:
    """Return the message for a parameter whose value is none of the allowed ones.

    Examples
    --------
    >>> not_allowed("model", "forrest", ["forest", "gnn"])
    "model='forrest' is not allowed; use 'forest', 'gnn'. Did you mean 'forest'?"
    """
    choices = list(allowed)
    listed = ", ".join(repr(choice) for choice in choices)
    return f"{name}={value!r} is not allowed; use {listed}.{_hint(str(value), choices)}"


def unknown_choice(name: str, known: Iterable[str]) -> str:
    """Return the message for a choice that a study does not have.

    Examples
    --------
    >>> unknown_choice("epoch", ["epochs", "seeds"])
    "'epoch' is no choice of this study; there are epochs, seeds. Did you mean 'epochs'?"
    """
    choices = list(known)
    listed = ", ".join(choices)
    return f"{name!r} is no choice of this study; there are {listed}.{_hint(name, choices)}"


def _hint(given: str, choices: Iterable[object]) -> str:
    near = difflib.get_close_matches(given, [str(choice) for choice in choices], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
