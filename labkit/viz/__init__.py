"""Figures, flat drawings and 3D views of molecules, in one style and color-blind-safe colors.

`style` holds the matplotlib style, the palette and axis labels with units; `colors` maps numbers
to colors and draws the legend that says what they mean; `depiction` draws molecules flat;
`molecules` shows small molecules in 3D with py3Dmol; `structures` shows structures and
trajectories with nglview. Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.viz.colors import ColorScale
    from labkit.viz.depiction import Drawing, draw_grid, draw_molecule, read_molecule
    from labkit.viz.molecules import MoleculeView, embed, view_molecule
    from labkit.viz.structures import FrontEnd, front_end_matches, view_frames, view_structure
    from labkit.viz.style import OKABE_ITO, PALETTE, axis_label, new_axes, use_style

_HOME = {
    "ColorScale": "colors",
    "Drawing": "depiction",
    "FrontEnd": "structures",
    "MoleculeView": "molecules",
    "OKABE_ITO": "style",
    "PALETTE": "style",
    "axis_label": "style",
    "draw_grid": "depiction",
    "draw_molecule": "depiction",
    "embed": "molecules",
    "front_end_matches": "structures",
    "new_axes": "style",
    "read_molecule": "depiction",
    "use_style": "style",
    "view_frames": "structures",
    "view_molecule": "molecules",
    "view_structure": "structures",
}

__all__ = [
    "OKABE_ITO",
    "PALETTE",
    "ColorScale",
    "Drawing",
    "FrontEnd",
    "MoleculeView",
    "axis_label",
    "draw_grid",
    "draw_molecule",
    "embed",
    "front_end_matches",
    "new_axes",
    "read_molecule",
    "use_style",
    "view_frames",
    "view_molecule",
    "view_structure",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"labkit.viz.{_HOME[name]}"), name)
    raise AttributeError(f"module 'labkit.viz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
