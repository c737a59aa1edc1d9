"""YAML as grid files mean it: the scalars of YAML 1.2, and no key twice.

PyYAML reads YAML 1.1, where ``1e-3`` is text, ``on`` is true and ``12:30`` is a number of
seconds; and it keeps the last of two equal keys without a word.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml


class GridLoader(yaml.SafeLoader):  # type: ignore[misc]
    """A safe YAML loader with YAML 1.2's core scalars that refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping from a node, each key once."""
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


GridLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    GridLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
    )
GridLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
GridLoader.add_constructor(
    "tag:yaml.org,2002:int", lambda loader, node: int(loader.construct_scalar(node))
)
