"""Checks of a user's choices; the messages say what was given, what is allowed, what was meant."""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
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


def require_whole(name: str, value: object, *, low: int, high: int | None = None) -> None:
    """Refuse what is not a whole number of `low` or more, and of `high` or less if that is given.

    Raises
    ------
    ParameterError
        Naming the parameter, its value and the limits.

    Examples
    --------
    >>> require_whole("epochs", 3, low=1)
    >>> require_whole("epochs", 2.5, low=1)
    Traceback (most recent call last):
        ...
    labkit.errors.ParameterError: epochs=2.5: use a whole number of 1 or more.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low:  # type: ignore[operator]
        raise ParameterError(f"{name}={value!r}: use a whole number of {low} or more.")
    if high is not None and value > high:  # type: ignore[operator]
        raise ParameterError(f"{name}={value!r}: use a whole number from {low} to {high}.")


def require_folder(name: str, folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be made or written, before anything is computed for it.

    Raises
    ------
    ParameterError
        Naming the parameter and what is in the way.
    """
    path = Path(folder).expanduser().absolute()
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not nearest.is_dir():
        raise ParameterError(f"{name}={str(folder)!r}: {nearest} is a file; name a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ParameterError(
            f"{name}={str(folder)!r}: nothing can be written in {nearest}; name a folder of yours."
        )


def _hint(given: str, choices: Iterable[object]) -> str:
    near = difflib.get_close_matches(given, [str(choice) for choice in choices], n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
