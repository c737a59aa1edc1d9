"""OpenMM, or a line that says how to get it, and the force fields that all modules share."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import io
from types import ModuleType
from typing import Any

from labkit.errors import LabkitError, ParameterError

PROTEIN_FORCE_FIELD = ("amber/ff14SB.xml", "amber/phosaa14SB.xml")
"""ff14SB (Maier et al., JCTC 11 (2015) 3696) and phosphorylated residues, of openmmforcefields."""

WATER_FORCE_FIELD = "amber/tip3p_standard.xml"
"""TIP3P water and monovalent ions (Joung and Cheatham, J. Phys. Chem. B 112 (2008) 9020)."""

EXTRA = "pip install 'labkit[md]'"


class MissingExtraError(LabkitError, ImportError):
    """A package of the extra ``md`` is not installed."""


def require(package: str, purpose: str) -> ModuleType:
    """Import a package of the extra ``md``.

    Parameters
    ----------
    package : str
        Name of the module.
    purpose : str
        What needs it, as the subject of a sentence.

    Raises
    ------
    MissingExtraError
        The package is not installed; the message has the line that installs it.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{package}.".startswith(f"{exc.name}."):
            raise
        raise MissingExtraError(_missing(package, purpose)) from exc


def _missing(package: str, purpose: str) -> str:
    return f"{purpose} needs {package.partition('.')[0]}, which is not installed; run: {EXTRA}"


app = require("openmm.app", "Molecular dynamics")
openmm = require("openmm", "Molecular dynamics")
unit = require("openmm.unit", "Molecular dynamics")


def force_field(*ffxml: str, water: bool = False) -> Any:
    """Protein force field with what is added to it.

    Parameters
    ----------
    *ffxml : str
        Texts of further force fields, for example a ligand's.
    water : bool
        Add TIP3P and ions.

    Raises
    ------
    MissingExtraError
        openmmforcefields, which has the files, is not installed.
    """
    if importlib.util.find_spec("openmmforcefields") is None:
        raise MissingExtraError(_missing("openmmforcefields", "The protein force field"))
    names = (*PROTEIN_FORCE_FIELD, *([WATER_FORCE_FIELD] if water else []))
    return app.ForceField(*names, *(io.StringIO(text) for text in ffxml))


def create_system(field: Any, topology: Any, **options: Any) -> Any:
    """``ForceField.createSystem``, with a message that says what does not fit.

    Raises
    ------
    ParameterError
        The force field has no template for a residue of the topology.
    """
    try:
        return field.createSystem(topology, **options)
    except ValueError as exc:
        if "No template found" not in str(exc):
            raise
        raise ParameterError(
            f"The force field does not know a residue: {str(exc).partition('.  ')[0]}. If it is "
            "LIG, the parameters are of another ligand or of another protonation state."
        ) from exc


@functools.lru_cache(maxsize=1)
def protein_force_field() -> Any:
    """The protein force field alone, read once."""
    return force_field()
