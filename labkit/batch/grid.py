"""Grids: many configurations of one notebook, from a YAML file or from command-line options.

A grid is the product of its `parameters` and its `zip` groups, without what `exclude` matches,
followed by what `include` adds. A bare mapping of lists is a grid of `parameters` only::

    notebook: oversampling
    parameters: {dataset: [tox21, sider], seed: [0, 1, 2]}
    zip: [{lr: [1e-3, 3e-4], epochs: [50, 150]}]
    exclude: [{dataset: sider, seed: 2}]
    include: [{dataset: clintox, seed: 0}]
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit.errors import ParameterError

_KEYS = ("notebook", "parameters", "zip", "include", "exclude")


@dataclass(frozen=True)
class Grid:
    """Configurations of a notebook.

    Parameters
    ----------
    parameters
        Values of each parameter; all combinations are made, the last parameter varying fastest.
    zip
        Groups of parameters that vary together: lists of equal length.
    include
        Configurations added at the end.
    exclude
        Partial configurations; what agrees with one of them in all its names is left out. A list
        of values means any of them.
    notebook
        The notebook that the file names, if any.
    """

    parameters: Mapping[str, Sequence[Any]]
    zip: tuple[Mapping[str, Sequence[Any]], ...] = ()
    include: tuple[Mapping[str, Any], ...] = ()
    exclude: tuple[Mapping[str, Any], ...] = ()
    notebook: str | None = None

    @classmethod
    def from_yaml(cls, path: str | Path) -> Grid:
        """Read a grid file.

        Raises
        ------
        ParameterError
            If the file cannot be read, is not a mapping, repeats or misspells a key, is empty, or
            excludes what it does not hold.
        """
        content = _load_yaml(Path(path))
        if not isinstance(content, dict) or not content:
            raise ParameterError(f"{path} must map parameters to lists of values, and be not empty")
        try:
            return cls.from_mapping(content)._exclusions_match()
        except ParameterError as error:
            raise ParameterError(f"{path}: {error}") from error

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Grid:
        """Return the grid that a mapping of the file's form describes."""
        if not any(key in content for key in _KEYS[1:]):
            bare = {key: value for key, value in content.items() if key != "notebook"}
            return cls.from_options(bare, notebook=content.get("notebook"))
        for key in content:
            if key not in _KEYS:
                near = difflib.get_close_matches(str(key), _KEYS, n=1)
                meant = f" Did you mean '{near[0]}'?" if near else ""
                raise ParameterError(
                    f"unknown key '{key}'.{meant} Known: {', '.join(_KEYS)} "
                    "(parameters of the notebook belong under 'parameters')"
                )
        return cls(
            parameters=_axes(content.get("parameters") or {}, "parameters"),
            zip=tuple(_zipped(group) for group in _mappings(content, "zip")),
            include=tuple(_mappings(content, "include")),
            exclude=tuple(_mappings(content, "exclude")),
            notebook=content.get("notebook"),
        )._checked()

    @classmethod
    def from_options(cls, options: Mapping[str, Any], *, notebook: str | None = None) -> Grid:
        """Return the product of `options`; a value that is no list is one constant."""
        return cls(parameters=_axes(options, "parameters"), notebook=notebook)._checked()

    @property
    def upper_bound(self) -> int:
        """Number of configurations before exclusions and duplicates are taken out."""
        lengths = [len(values) for values in self.parameters.values()]
        lengths += [len(next(iter(group.values()))) for group in self.zip]
        product = math.prod(lengths) if lengths or not self.include else 0
        return product + len(self.include)

    def with_options(self, options: Mapping[str, Sequence[Any]]) -> Grid:
        """Return this grid with the values of `options` in place of its own.

        Raises
        ------
        ParameterError
            If a name belongs to a zip group or an included configuration.
        """
        for name in options:
            if any(name in group for group in (*self.zip, *self.include)):
                raise ParameterError(
                    f"{name} is set in the grid's 'zip' or 'include'; change it there"
                )
        return replace(self, parameters={**self.parameters, **options})._checked()

    def configurations(self) -> list[dict[str, Any]]:
        """Return the configurations in a stable order, each once."""
        unique: dict[str, dict[str, Any]] = {}
        for configuration in itertools.chain(self._product(), map(dict, self.include)):
            unique.setdefault(json.dumps(configuration, sort_keys=True), configuration)
        return list(unique.values())

    def digest(self) -> str:
        """Return the sha256 of the configurations, in hex: how they are spelled does not matter."""
        text = json.dumps(self.configurations(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_mapping(self) -> dict[str, Any]:
        """Return the grid in the form of a grid file."""
        content: dict[str, Any] = {
            "notebook": self.notebook,
            "parameters": {name: list(values) for name, values in self.parameters.items()},
            "zip": [{name: list(values) for name, values in group.items()} for group in self.zip],
            "include": [dict(entry) for entry in self.include],
            "exclude": [dict(entry) for entry in self.exclude],
        }
        return {key: value for key, value in content.items() if value}

    def _axes(self) -> list[list[dict[str, Any]]]:
        """Return what varies on its own: one list of settings for each parameter and zip group."""
        axes = [[{name: value} for value in values] for name, values in self.parameters.items()]
        axes += [
            [dict(zip(group, row, strict=True)) for row in zip(*group.values(), strict=True)]
            for group in self.zip
        ]
        return [axis for axis in axes if axis]

    def _product(self) -> Iterator[dict[str, Any]]:
        axes = self._axes()
        if not axes and self.include:
            return
        for parts in itertools.product(*axes):
            configuration = {name: value for part in parts for name, value in part.items()}
            if not any(_matches(configuration, pattern) for pattern in self.exclude):
                yield configuration

    def _checked(self) -> Grid:
        seen = list(self.parameters)
        for group in self.zip:
            for name in group:
                if name in seen:
                    raise ParameterError(f"{name} is set twice: in 'zip' and elsewhere")
                seen.append(name)
        for pattern in self.exclude:
            for name in pattern:
                if name not in seen:
                    raise ParameterError(
                        f"'exclude' names {name}, which is not in the grid: {', '.join(seen)}"
                    )
        return self

    def _exclusions_match(self) -> Grid:
        """Refuse an exclusion that excludes nothing: a typo would run what was to be left out."""
        for pattern in self.exclude:
            for axis in self._axes():
                here = {name: wanted for name, wanted in pattern.items() if name in axis[0]}
                if not any(_matches(row, here) for row in axis):
                    raise ParameterError(
                        f"'exclude' entry {dict(pattern)} matches no run of the grid; "
                        "check its values, or take it out"
                    )
        return self


def _matches(configuration: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    return all(
        any(_same(configuration[name], value) for value in (wanted, *_listed(wanted)))
        for name, wanted in pattern.items()
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _axes(content: Any, where: str) -> dict[str, list[Any]]:
    if not isinstance(content, Mapping):
        raise ParameterError(f"'{where}' must map names to lists of values, got {content!r}")
    axes = {}
    for name, values in content.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ParameterError(f"{name!r} cannot be a parameter's name")
        axes[name] = list(values) if isinstance(values, list | tuple | range) else [values]
        if not axes[name]:
            raise ParameterError(f"{name} has an empty list of values")
    return axes


def _zipped(group: Mapping[str, Any]) -> dict[str, list[Any]]:
    axes = _axes(group, "zip")
    lengths = {name: len(values) for name, values in axes.items()}
    if not axes or len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ParameterError(f"a 'zip' group needs lists of equal length, got {counts or 'none'}")
    return axes


def _mappings(content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key) or []
    entries = [entries] if isinstance(entries, dict) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ParameterError(f"'{key}' must be a list of mappings, got {entries!r}")
    return entries


def _load_yaml(path: Path) -> Any:
    import yaml

    from labkit.batch.gridfile import GridLoader

    try:
        with path.open(encoding="utf-8") as stream:
            return yaml.load(stream, Loader=GridLoader)
    except OSError as error:
        raise ParameterError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParameterError(f"{path} is not valid YAML: {reason}") from error
