"""Force field of a ligand: OpenFF, GAFF2 with AM1-BCC charges, or files made elsewhere.

``method`` chooses the tier; ``"auto"`` takes the first that can run here:

- ``"openff"``: OpenFF 2.2.1 with AM1-BCC charges (needs the conda package openff-toolkit);
- ``"gaff2"``: GAFF 2.2.20 typed by antechamber, gaps filled by parmchk2 (needs AmberTools);
- ``"shipped"``: a mol2 file with GAFF2 types and charges and a frcmod file.

The result is the XML of an OpenMM force field with one residue template. ParmEd writes it from
GAFF's own parameter file. Improper torsions are given Amber's order of atoms, which ParmEd leaves
to OpenMM's default: that default puts other atoms first and was off by up to 0.009 kJ/mol against
tleap. Charges are shifted evenly, by some 1e-4 e, so that they add up to the formal charge.

Charges of the ``"gaff2"`` tier: ``"am1bcc"``, for which GAFF2 was made, or ``"mmff94"``, the bond
charge increments of MMFF94 (Halgren, J. Comput. Chem. 17 (1996) 616) from RDKit. The latter need
no quantum chemistry and are a stand-in: the result says so in ``charge_method`` and ``notes``.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

from labkit.errors import MissingDataError, ParameterError
from labkit.hotspots.simulate.antechamber import (
    INSTALL,
    AmberFiles,
    ParametrizationError,
    find_tools,
    largest_penalty,
    missing_terms,
    run_antechamber,
)
from labkit.hotspots.simulate.engine import EXTRA, MissingExtraError, require
from labkit.hotspots.simulate.ligand import RESIDUE, check_ligand

logger = logging.getLogger(__name__)

METHODS = ("auto", "openff", "gaff2", "shipped")
CHARGES = ("am1bcc", "mmff94")
GAFF = "gaff-2.2.20"
OPENFF = "openff-2.2.1"
LARGEST_SHIFT = 0.05
"""Sum of charges, in e, that may be missing to the formal charge before files are refused."""

WORRYING_PENALTY = 50.0
"""Penalty of parmchk2 above which a note is made of it; 0 is a parameter of GAFF2 itself."""


@dataclass(frozen=True)
class LigandParameters:
    """Force field of one ligand.

    Parameters
    ----------
    ffxml : str
        OpenMM force field with one residue template.
    method : {"openff", "gaff2", "shipped"}
    force_field : str
        Name and version.
    charge_method : str
        ``"AM1-BCC"``, ``"MMFF94 (stand-in)"`` or ``"from the mol2 file"``.
    charges : ndarray of shape (n_atoms,)
        In e, in the order of `mol`.
    atom_types : tuple of str
        In the order of `mol`; empty for OpenFF, which has none.
    mol : Mol
    notes : tuple of str
        What a reader of results should know, in one sentence each.
    files : AmberFiles or None
        The mol2 and frcmod behind it, for `save`.
    """

    ffxml: str = field(repr=False)
    method: str
    force_field: str
    charge_method: str
    charges: np.ndarray = field(repr=False)
    atom_types: tuple[str, ...] = field(repr=False)
    mol: Chem.Mol = field(repr=False)
    notes: tuple[str, ...] = ()
    files: AmberFiles | None = field(default=None, repr=False)

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``ligand.mol2`` and ``ligand.frcmod``, to give as `files` the next time.

        Raises
        ------
        ParameterError
            The parameters do not come from such files.
        """
        if self.files is None:
            raise ParameterError(
                f"Parameters of method={self.method!r} have no mol2 and frcmod; save ffxml instead."
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        mol2, frcmod = folder / "ligand.mol2", folder / "ligand.frcmod"
        mol2.write_text(self.files.mol2)
        frcmod.write_text(self.files.frcmod)
        return mol2, frcmod


def parametrize_ligand(
    mol: Chem.Mol,
    *,
    method: Literal["auto", "openff", "gaff2", "shipped"] = "auto",
    files: Sequence[str | Path] | None = None,
    charges: Literal["am1bcc", "mmff94"] = "am1bcc",
) -> LigandParameters:
    """Find force-field parameters for a ligand.

    Parameters
    ----------
    mol : Mol
        With all hydrogens and a conformer.
    method : {"auto", "openff", "gaff2", "shipped"}
        See the module. ``"auto"`` is ``"shipped"`` where `files` are given.
    files : pair of paths, optional
        A mol2 file with GAFF2 types and charges, and a frcmod file; for ``"shipped"``.
    charges : {"am1bcc", "mmff94"}
        For ``"gaff2"``.

    Returns
    -------
    LigandParameters

    Raises
    ------
    ParameterError
        An option is unknown, or the files are not of this ligand.
    MissingDataError
        A file is not there.
    ParametrizationError
        What the method needs is not installed, with the line that installs it, or it failed.
    """
    _check_options(method, files, charges)
    mol = check_ligand(mol)
    if method == "auto":
        method = _first_that_runs(files)
    if method == "openff":
        return _openff(mol)
    if method == "shipped":
        return _from_files(mol, _read_files(files), method, "from the mol2 file")
    amber = run_antechamber(mol, am1bcc=charges == "am1bcc")
    if charges == "am1bcc":
        return _from_files(mol, amber, "gaff2", "AM1-BCC")
    return _from_files(
        mol,
        AmberFiles(_with_charges(amber.mol2, mmff94_charges(mol)), amber.frcmod),
        "gaff2",
        "MMFF94 (stand-in)",
        notes=("MMFF94 charges stand in for AM1-BCC, for which GAFF2 was made.",),
    )


def mmff94_charges(mol: Chem.Mol) -> np.ndarray:
    """Partial charges of MMFF94, shape (n_atoms,), in e.

    Raises
    ------
    ParametrizationError
        MMFF94 has no type for an atom of this ligand.
    """
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    if properties is None:
        raise ParametrizationError("MMFF94 has no type for an atom of this ligand; use 'am1bcc'.")
    return np.array([properties.GetMMFFPartialCharge(i) for i in range(mol.GetNumAtoms())])


def _check_options(method: str, files: Sequence[str | Path] | None, charges: str) -> None:
    if method not in METHODS:
        raise ParameterError(f"method={method!r} is unknown; use one of {', '.join(METHODS)}.")
    if charges not in CHARGES:
        raise ParameterError(f"charges={charges!r} is unknown; use one of {', '.join(CHARGES)}.")
    if method == "shipped" and files is None:
        raise ParameterError("method='shipped' reads files=(mol2, frcmod); give both paths.")
    if files is not None and (isinstance(files, str | Path) or len(files) != 2):
        raise ParameterError(f"files={files!r} is not a pair; give files=(mol2, frcmod).")
    if charges != "am1bcc" and method != "gaff2":
        raise ParameterError(
            f"charges={charges!r} is for method='gaff2', and method is {method!r}."
        )
    if files is not None and method not in ("auto", "shipped"):
        raise ParameterError(f"files are read by method='shipped', and method is {method!r}.")


def _first_that_runs(files: Sequence[str | Path] | None) -> Literal["openff", "gaff2", "shipped"]:
    if files is not None:
        return "shipped"
    if _has_openff():
        return "openff"
    if find_tools() is not None:
        return "gaff2"
    raise ParametrizationError(
        "No method can parametrize a ligand here. 'openff' needs openff-toolkit (conda install -c "
        f"conda-forge openff-toolkit openmmforcefields ambertools); 'gaff2' needs AmberTools "
        f"({INSTALL}); 'shipped' needs files=(mol2, frcmod) that were made elsewhere."
    )


def _has_openff() -> bool:
    try:
        return importlib.util.find_spec("openff.toolkit") is not None
    except ModuleNotFoundError:
        return False


def _openff(mol: Chem.Mol) -> LigandParameters:
    if not _has_openff():
        raise ParametrizationError(
            "method='openff' needs openff-toolkit, which PyPI does not have; run: conda install -c "
            "conda-forge openff-toolkit openmmforcefields ambertools"
        )
    from openff.toolkit import Molecule
    from openmmforcefields.generators import SMIRNOFFTemplateGenerator

    molecule = Molecule.from_rdkit(mol, allow_undefined_stereo=True, hydrogens_are_explicit=True)
    ffxml = SMIRNOFFTemplateGenerator(forcefield=OPENFF).generate_residue_template(molecule)
    atoms = ElementTree.fromstring(ffxml).findall("./Residues/Residue/Atom")
    return LigandParameters(
        ffxml=ffxml,
        method="openff",
        force_field=OPENFF,
        charge_method="AM1-BCC",
        charges=np.array([float(atom.attrib["charge"]) for atom in atoms]),
        atom_types=(),
        mol=mol,
    )


def _read_files(files: Sequence[str | Path] | None) -> AmberFiles:
    texts = []
    for path in map(Path, files or ()):
        if not path.is_file():
            raise MissingDataError(f"files names {str(path)!r}, which is not a file.")
        texts.append(path.read_text())
    return AmberFiles(*texts)


def _from_files(
    mol: Chem.Mol,
    amber: AmberFiles,
    method: str,
    charge_method: str,
    *,
    notes: tuple[str, ...] = (),
) -> LigandParameters:
    """Residue template and terms from mol2 and frcmod, by way of ParmEd."""
    if missing := missing_terms(amber.frcmod):
        raise ParametrizationError(
            f"GAFF2 has no parameters for {', '.join(missing)}, and parmchk2 wrote zeros; use "
            "method='openff', or a frcmod file in which they are filled in."
        )
    parmed = require("parmed", f"method={method!r}")
    try:
        terms = parmed.amber.AmberParameterSet(str(_gaff_file()), io.StringIO(amber.frcmod))
        template = parmed.formats.Mol2File.parse(io.StringIO(amber.mol2))
    except (parmed.exceptions.ParmedError, ValueError, LookupError) as exc:
        raise ParameterError(f"The mol2 or frcmod file could not be read: {exc}") from exc
    order = _order(mol, template, terms)
    raw = np.array([template.atoms[i].charge for i in order])
    formal = Chem.GetFormalCharge(mol)
    if abs(raw.sum() - formal) > LARGEST_SHIFT:
        raise ParameterError(
            f"The charges of the mol2 file add up to {raw.sum():.3f} e; the ligand has {formal}. "
            "Give files of the same protonation state."
        )
    for atom in template.atoms:
        atom.charge += (formal - raw.sum()) / len(raw)
    penalty = largest_penalty(amber.frcmod)
    if penalty > WORRYING_PENALTY:
        notes += (f"parmchk2 estimated a ligand parameter with a penalty of {penalty:g}.",)
    return LigandParameters(
        ffxml=_ffxml(parmed, terms, template),
        method=method,
        force_field=GAFF,
        charge_method=charge_method,
        charges=np.array([template.atoms[i].charge for i in order]),
        atom_types=tuple(template.atoms[i].type for i in order),
        mol=mol,
        notes=notes,
        files=amber,
    )


def _gaff_file() -> Path:
    found = importlib.util.find_spec("openmmforcefields")
    if found is None or not found.origin:
        raise MissingExtraError(
            f"GAFF2 needs openmmforcefields, which is not installed; run: {EXTRA}"
        )
    return Path(found.origin).parent / "ffxml" / "amber" / "gaff" / "dat" / f"{GAFF}.dat"


def _order(mol: Chem.Mol, template: Any, terms: Any) -> list[int]:
    """Atom of the mol2 file for each atom of the ligand, by elements and bonds."""
    unknown = sorted({a.type for a in template.atoms if a.type not in terms.atom_types})
    if unknown:
        raise ParameterError(
            f"The mol2 file has atom types {', '.join(unknown)}, which GAFF2 does not; write it "
            "with antechamber -at gaff2."
        )
    theirs = _skeleton(
        [terms.atom_types[a.type].atomic_number for a in template.atoms],
        [(bond.atom1.idx, bond.atom2.idx) for bond in template.bonds],
    )
    ours = _skeleton(
        [atom.GetAtomicNum() for atom in mol.GetAtoms()],
        [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()],
    )
    if _same(ours, theirs):
        return list(range(mol.GetNumAtoms()))
    match = theirs.GetSubstructMatch(ours)
    if not match or ours.GetNumBonds() != theirs.GetNumBonds() or len(match) != len(template.atoms):
        raise ParameterError(
            f"The mol2 file has {theirs.GetNumAtoms()} atoms and {theirs.GetNumBonds()} bonds that "
            f"do not match the ligand's {ours.GetNumAtoms()} and {ours.GetNumBonds()}; give the "
            "files of this ligand."
        )
    return list(match)


def _skeleton(elements: list[int], bonds: list[tuple[int, int]]) -> Chem.Mol:
    """Molecule of single bonds: elements and connections, no chemistry."""
    graph = Chem.RWMol()
    for number in elements:
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
    for one, two in bonds:
        graph.AddBond(one, two, Chem.BondType.SINGLE)
    return graph.GetMol()


def _same(one: Chem.Mol, two: Chem.Mol) -> bool:
    def content(mol: Chem.Mol) -> tuple[list[int], set[frozenset[int]]]:
        bonds = {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in mol.GetBonds()}
        return [atom.GetAtomicNum() for atom in mol.GetAtoms()], bonds

    return content(one) == content(two)


def _ffxml(parmed: Any, terms: Any, template: Any) -> str:
    template.name = RESIDUE
    force_field = parmed.openmm.OpenMMParameterSet.from_parameterset(terms)
    force_field.residues[RESIDUE] = template
    stream = io.StringIO()
    force_field.write(stream, write_unused=False)
    return stream.getvalue().replace(
        "<PeriodicTorsionForce>", '<PeriodicTorsionForce ordering="amber">'
    )


def _with_charges(mol2: str, charges: np.ndarray) -> str:
    """Replace the last column of the atom table."""
    head, table, tail = re.split(r"(?<=@<TRIPOS>ATOM\n)|(?=@<TRIPOS>BOND)", mol2, maxsplit=2)
    lines = [
        f"{line.rsplit(maxsplit=1)[0]} {charge:.6f}"
        for line, charge in zip(table.splitlines(), charges, strict=True)
    ]
    return head + "\n".join(lines) + "\n" + tail
