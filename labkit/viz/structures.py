"""Structures and trajectories in 3D with nglview, which draws in JupyterLab.

nglview has a Python half and a JavaScript half, and the Python half names the version of the
other that it wants. Where the two disagree, JupyterLab shows an error instead of the structure;
`front_end_matches` finds out before nglview is imported.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import LabkitError, ParameterError

if TYPE_CHECKING:
    import nglview
    import numpy as np
    from rdkit import Chem

EXTENSION = "nglview-js-widgets"
"""Name of nglview's JupyterLab extension."""

INTERCHANGEABLE = {("4.0", "3.1.5")}
"""Pairs (asked for, installed) that differ in number but were seen to work in a browser.

The wheel of nglview 4.0.1 asks for front end 4.0 and ships 3.1.5: nglviewer/nglview#1172.
"""

ATOM_LINE = re.compile(r"^(?:ATOM|HETATM)", flags=re.MULTILINE)

CLOSER = 0.35
"""Zoom after nglview has centered a structure, which leaves wide margins."""


@dataclass(frozen=True)
class FrontEnd:
    """What nglview's Python half asks for, and what JupyterLab has.

    True in a condition when views will show.

    Parameters
    ----------
    asked : str or None
        Version that the nglview package wants; None when nglview is not installed.
    installed : str or None
        Version of the JupyterLab extension; None when there is none.
    """

    asked: str | None
    installed: str | None

    def __bool__(self) -> bool:
        return self.asked is not None and (self.asked == self.installed or self.needs_stand_in)

    def __str__(self) -> str:
        if self.asked is None:
            return "nglview is not installed; run: pip install 'nglview==4.0'"
        if self.installed is None:
            return (
                f"nglview wants JupyterLab extension {EXTENSION} {self.asked}, none is installed "
                "here; run: pip install --force-reinstall 'nglview==4.0'"
            )
        if self:
            return f"nglview front end {self.installed} matches"
        return (
            f"nglview wants front end {self.asked}, JupyterLab has {self.installed}: views would "
            "show an error; run: pip install --force-reinstall 'nglview==4.0' and reload the page"
        )

    @property
    def needs_stand_in(self) -> bool:
        """Whether the versions differ in number only, so that one can stand in for the other."""
        return (self.asked, self.installed) in INTERCHANGEABLE


def front_end_matches() -> FrontEnd:
    """Compare nglview's two halves without importing nglview.

    Returns
    -------
    FrontEnd
        True in a condition when views will show; its text is one line that says what to do
        when they will not.
    """
    return FrontEnd(_asked_version(), _installed_version())


def view_structure(
    source: str | Path | Chem.Mol,
    *,
    representation: str | None = None,
    color: str | None = None,
    width_px: int = 460,
    height_px: int = 320,
) -> nglview.NGLWidget:
    """Show a structure with nglview.

    Parameters
    ----------
    source : Mol, str or Path
        RDKit molecule with a 3D conformer, text of a PDB file, or path of a structure file.
    representation : str, optional
        One of nglview's ("cartoon", "licorice", "ball+stick", ...); its own choice by default.
    color : str, optional
        Color name, hex color or nglview color scheme; used with `representation`.
    width_px, height_px : int
        Size in pixels.

    Returns
    -------
    NGLWidget

    Raises
    ------
    ParameterError
        The molecule has no conformer, or `source` is neither a file nor PDB text.
    LabkitError
        JupyterLab's nglview extension does not fit the Python package.
    """
    nglview = _import_nglview()
    view = nglview.NGLWidget(_structure(nglview, source))
    return _dress(view, representation, color, width_px, height_px)


def view_frames(
    structure: Chem.Mol | str,
    coordinates: np.ndarray[Any, Any] | Sequence[Any],
    *,
    representation: str = "ball+stick",
    color: str | None = None,
    width_px: int = 460,
    height_px: int = 320,
) -> nglview.NGLWidget:
    """Show a structure that moves: one frame per set of coordinates.

    Set ``view.frame`` to show a frame; link it to a slider with
    ``ipywidgets.jslink((slider, "value"), (view, "frame"))`` or from Python.

    Parameters
    ----------
    structure : Mol or str
        Molecule with a 3D conformer, or text of a PDB file.
    coordinates : array of shape (n_frames, n_atoms, 3)
        Positions in angstrom.
    representation, color, width_px, height_px
        As in `view_structure`.

    Raises
    ------
    ParameterError
        The coordinates do not fit the structure.
    LabkitError
        See `view_structure`.
    """
    import numpy as np

    text = _pdb_text(structure) if isinstance(structure, str) else _pdb_block(structure)
    n_atoms = len(ATOM_LINE.findall(text))
    frames = np.asarray(coordinates, dtype=np.float32)
    if frames.ndim != 3 or frames.shape[1:] != (n_atoms, 3) or not len(frames):
        raise ParameterError(
            f"coordinates have shape {frames.shape}; "
            f"the structure needs (n_frames, {n_atoms}, 3) with at least one frame."
        )
    nglview = _import_nglview()

    class Frames(nglview.Structure, nglview.Trajectory):  # type: ignore[misc,name-defined]
        """nglview asks a trajectory object for its frames one by one."""

        ext = "pdb"
        params: dict[str, Any] = {}  # noqa: RUF012 - nglview reads it from the class

        def __str__(self) -> str:
            return "structure"  # what the viewer's tooltips call it

        def get_structure_string(self) -> str:
            return text

        def get_coordinates(self, index: int) -> Any:
            return frames[index]

        @property
        def n_frames(self) -> int:
            return len(frames)

    return _dress(nglview.NGLWidget(Frames()), representation, color, width_px, height_px)


def _import_nglview() -> Any:
    """Import nglview with a front end that shows, or say in one line why it would not."""
    loaded = sys.modules.get("nglview")
    if loaded is not None:
        return loaded
    front_end = front_end_matches()
    if not front_end:
        raise LabkitError(str(front_end))
    if front_end.needs_stand_in:
        stand_in = types.ModuleType("nglview._frontend")
        stand_in.__dict__["__frontend_version__"] = front_end.installed
        sys.modules[stand_in.__name__] = stand_in
    import nglview

    return nglview


def _asked_version() -> str | None:
    spec = importlib.util.find_spec("nglview")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name("_frontend.py")
    found = re.search(r"""__frontend_version__\s*=\s*['"]([^'"]+)""", file.read_text())
    return found.group(1) if found else None


def _installed_version() -> str | None:
    from jupyter_core.paths import jupyter_path

    for folder in jupyter_path("labextensions"):
        file = Path(folder) / EXTENSION / "package.json"
        if file.is_file():
            return str(json.loads(file.read_text())["version"])
    return None


def _structure(nglview: Any, source: str | Path | Chem.Mol) -> Any:
    from rdkit import Chem

    if isinstance(source, Chem.Mol):
        return nglview.TextStructure(_pdb_block(source))
    text = str(source)
    if "\n" in text:
        return nglview.TextStructure(_pdb_text(text))
    path = Path(text).expanduser()
    if not path.is_file():
        raise ParameterError(
            f"source={text!r} is no file; give a structure file, PDB text or an RDKit molecule."
        )
    return nglview.FileStructure(str(path))


def _pdb_text(text: str) -> str:
    if not ATOM_LINE.search(text):
        raise ParameterError("source has no ATOM or HETATM line; give the text of a PDB file.")
    return text


def _pdb_block(mol: Chem.Mol) -> str:
    from rdkit import Chem

    if not mol.GetNumConformers() or not mol.GetConformer().Is3D():
        raise ParameterError("the molecule has no 3D conformer; make one with labkit.viz.embed.")
    return Chem.MolToPDBBlock(mol)


def _dress(
    view: nglview.NGLWidget,
    representation: str | None,
    color: str | None,
    width_px: int,
    height_px: int,
) -> nglview.NGLWidget:
    if representation is not None:
        view.clear_representations()
        view.add_representation(representation, **({} if color is None else {"color": color}))
    view.layout.width, view.layout.height = f"{width_px}px", f"{height_px}px"
    view.center()
    view.control.zoom(CLOSER)
    return view
