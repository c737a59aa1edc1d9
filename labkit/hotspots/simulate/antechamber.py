"""GAFF2 atom types, AM1-BCC charges and missing parameters from AmberTools' programs.

``antechamber`` types the atoms and has ``sqm`` compute AM1-BCC charges (Jakalian et al., J. Comput.
Chem. 23 (2002) 1623); ``parmchk2`` estimates what GAFF2 lacks by analogy. They are looked for in
``$AMBERHOME/bin``, on ``PATH``, and in the wheel of acpype, which brings them for Linux and macOS.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rdkit import Chem

from labkit.errors import LabkitError
from labkit.hotspots.simulate.ligand import RESIDUE

logger = logging.getLogger(__name__)

INSTALL = (
    "conda install -c conda-forge ambertools, or pip install acpype (111 MB; on Debian and Ubuntu "
    "also: apt-get install libarpack2)"
)
SECONDS = 3600.0
"""Longest that one program may take; AM1-BCC of a drug takes one or two minutes."""

_ATTENTION = re.compile(r"^(\S[\S ](?:-\S[\S ])*).*ATTN", re.MULTILINE)


class ParametrizationError(LabkitError):
    """A program that parametrizes ligands is missing or failed."""


@dataclass(frozen=True)
class AmberFiles:
    """What antechamber and parmchk2 made, as text."""

    mol2: str
    frcmod: str


def find_tools() -> Path | None:
    """Folder with antechamber and parmchk2; None where there is none."""
    candidates = []
    if home := os.environ.get("AMBERHOME"):
        candidates.append(Path(home) / "bin")
    if on_path := shutil.which("antechamber"):
        candidates.append(Path(on_path).parent)
    wheel = importlib.util.find_spec("acpype")
    if wheel is not None and wheel.origin:
        system = "amber_macos" if sys.platform == "darwin" else "amber_linux"
        candidates.append(Path(wheel.origin).parent / system / "bin")
    for folder in candidates:
        if (folder / "antechamber").is_file() and (folder / "parmchk2").is_file():
            return folder
    return None


def run_antechamber(mol: Chem.Mol, *, am1bcc: bool = True) -> AmberFiles:
    """Type a ligand with GAFF2.

    Parameters
    ----------
    mol : Mol
        With all hydrogens and a conformer.
    am1bcc : bool
        AM1-BCC charges from sqm; without, Gasteiger's, which take no time and are poor.

    Raises
    ------
    ParametrizationError
        The programs are not installed, or one failed; the message has the end of its output.
    """
    tools = find_tools()
    if tools is None:
        raise ParametrizationError(
            "method='gaff2' needs antechamber and parmchk2 of AmberTools, which are neither in "
            f"$AMBERHOME/bin nor on PATH nor in an installed acpype; run: {INSTALL}. Or give "
            "files=(mol2, frcmod) that were made elsewhere."
        )
    charge = Chem.GetFormalCharge(mol)
    with tempfile.TemporaryDirectory(prefix="labkit-gaff2-") as name:
        folder = Path(name)
        with Chem.SDWriter(str(folder / "in.sdf")) as writer:
            writer.write(mol)
        logger.info("antechamber: GAFF2 types, %s", "AM1-BCC charges" if am1bcc else "no sqm")
        arguments = ["-i", "in.sdf", "-fi", "sdf", "-o", "out.mol2", "-fo", "mol2", "-at", "gaff2"]
        arguments += ["-c", "bcc" if am1bcc else "gas", "-nc", str(charge), "-rn", RESIDUE]
        _run(tools, "antechamber", [*arguments, "-pf", "y", "-dr", "no"], folder, "out.mol2")
        arguments = ["-i", "out.mol2", "-f", "mol2", "-o", "out.frcmod", "-s", "2"]
        _run(tools, "parmchk2", arguments, folder, "out.frcmod")
        return AmberFiles((folder / "out.mol2").read_text(), (folder / "out.frcmod").read_text())


def missing_terms(frcmod: str) -> list[str]:
    """Terms for which parmchk2 found no analogue and wrote zeros.

    Examples
    --------
    >>> missing_terms("c -s -s   0.00   0.00   ATTN, need revision")
    ['c -s -s']
    """
    return [match.strip() for match in _ATTENTION.findall(frcmod)]


def largest_penalty(frcmod: str) -> float:
    """Largest penalty score of parmchk2; 0 where it had nothing to estimate.

    Examples
    --------
    >>> largest_penalty("ca-h4-ca-nb 1.1 180.0 2.0 Same as X -X -ca-ha, penalty score= 44.3")
    44.3
    """
    return max((float(p) for p in re.findall(r"penalty score=\s*([0-9.]+)", frcmod)), default=0.0)


def _run(tools: Path, program: str, arguments: list[str], folder: Path, product: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "AMBERHOME": str(tools.parent)}
    try:
        done = subprocess.run(
            [str(tools / program), *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ParametrizationError(f"{program} took more than {SECONDS:g} s.") from exc
    except OSError as exc:
        raise ParametrizationError(f"{tools / program} could not be started: {exc}") from exc
    if done.returncode == 0 and (folder / product).is_file():
        return
    raise ParametrizationError(_reason(program, done.stdout + done.stderr, folder))


def _reason(program: str, output: str, folder: Path) -> str:
    library = re.search(r"(lib[\w.+-]+): cannot open shared object", output)
    if library:
        hint = "apt-get install libarpack2" if "arpack" in library[1] else "ask your administrator"
        return (
            f"{program} could not start a program that needs the library {library[1]}; run: "
            f"{hint}. Without it, charges='mmff94' needs no quantum chemistry."
        )
    sqm = folder / "sqm.out"
    text = output + (sqm.read_text(errors="replace") if sqm.is_file() else "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (
        f"{program} failed for this ligand: {' / '.join(lines[-4:])}. Check its charge, bond "
        "orders and pose."
    )
