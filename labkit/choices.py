"""Messages for a choice that cannot be had: what was given, what is allowed, what was meant."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from labkit.errors import ParameterError


def preset_changes(
    preset: str, overrides: Mapping[str, Any], presets: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what is changed in a preset; None means "as in the preset" and is left out.

    Parameters
    ----------
    preset : str
        Name of the preset to start from.
    overrides : mapping
        Field to value.
    presets : mapping
        Name to configuration, a dataclass with a field ``preset``.

    Raises
    ------
    ParameterError
        The preset or a field is not known.
    """
    if preset not in presets:
        raise ParameterError(not_allowed("preset", preset, presets))
    fields = [f.name for f in dataclasses.fields(presets[preset]) if f.name != "preset"]
    for name in overrides:
        if name not in fields:
            raise ParameterError(unknown_choice(name, fields))
    return {name: value for name, value in overrides.items() if value is not None}


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
