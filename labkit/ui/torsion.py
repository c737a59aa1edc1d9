"""Turn one bond of a molecule and watch its energy: a first interactive calculation.

For each angle of the torsion the rest of the molecule relaxes in the MMFF94 force field [1]_
(a relaxed scan). Populations follow Boltzmann at temperature T: p/p_min = exp(-E / RT).

=======  ====================  =========
symbol   variable              unit
=======  ====================  =========
theta    ``angles_deg``        degree
E        ``energies_kj_mol``   kJ/mol
R        ``GAS_CONSTANT``      kJ/mol/K
=======  ====================  =========

References
----------
.. [1] Halgren, J. Comput. Chem. 17 (1996) 490-519.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import numpy as np
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers, rdMolTransforms

from labkit.errors import LabkitError, ParameterError
from labkit.ui.blocks import Panel, line, show_figure
from labkit.viz.depiction import Molecule, read_molecule
from labkit.viz.molecules import embed
from labkit.viz.structures import view_frames
from labkit.viz.style import MPLSTYLE, OKABE_ITO, axis_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAS_CONSTANT = 8.314462618e-3
KJ_PER_KCAL = 4.184
ROTATABLE = Chem.MolFromSmarts("[!D1;!$(*#*)]-&!@[!D1;!$(*#*)]")


@dataclass(frozen=True)
class TorsionScan:
    """Relaxed scan of one torsion.

    Parameters
    ----------
    mol : Mol
        The molecule with hydrogens.
    atoms : tuple of int
        The four atoms of the torsion.
    angles_deg : ndarray of shape (n_angles,)
        Torsion angles from -180 to 180 degrees.
    energies_kj_mol : ndarray of shape (n_angles,)
        MMFF94 energy above the lowest of the scan.
    coordinates : ndarray of shape (n_angles, n_atoms, 3)
        Relaxed positions in angstrom, laid over one another.
    """

    mol: Chem.Mol
    atoms: tuple[int, int, int, int]
    angles_deg: np.ndarray[Any, Any]
    energies_kj_mol: np.ndarray[Any, Any]
    coordinates: np.ndarray[Any, Any]

    def population(self, temperature_k: float = 298.15) -> np.ndarray[Any, Any]:
        """Population of each angle relative to the most stable one, shape (n_angles,)."""
        return np.exp(-self.energies_kj_mol / (GAS_CONSTANT * temperature_k))

    @property
    def barrier_kj_mol(self) -> float:
        """Highest energy of the scan above its lowest."""
        return float(self.energies_kj_mol.max())


def scan_torsion(molecule: Molecule, *, step_deg: int = 5, seed: int = 0) -> TorsionScan:
    """Scan the most central rotatable bond of a molecule.

    Parameters
    ----------
    molecule : str or Mol
        SMILES or RDKit molecule with a bond that can turn.
    step_deg : int
        Step between angles; divides 360.
    seed : int
        Seed of the first conformer.

    Returns
    -------
    TorsionScan

    Raises
    ------
    ParameterError
        No rotatable bond, no 3D conformer, atoms unknown to MMFF94, or a step that does not
        divide 360.
    """
    if step_deg < 1 or 360 % step_deg:
        raise ParameterError(f"step_deg must divide 360, got {step_deg}; try 5.")
    flat = read_molecule(molecule)
    atoms = _torsion_atoms(Chem.AddHs(flat))
    mol = embed(flat, seed=seed)
    if mol is None or not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        raise ParameterError(
            f"{Chem.MolToSmiles(flat)} has no 3D conformer or atoms that MMFF94 does not know; "
            "try another molecule."
        )
    angles = np.arange(-180, 181, step_deg)
    relaxed = [_relax_at(mol, atoms, float(angle)) for angle in angles]
    energies = np.array([energy for energy, _ in relaxed])
    coordinates = _superpose(np.array([xyz for _, xyz in relaxed]), atoms)
    return TorsionScan(mol, atoms, angles, energies - energies.min(), coordinates)


def torsion_explorer(
    molecule: Molecule = "CCCC",
    *,
    temperature_k: float = 298.15,
    step_deg: int | None = None,
    seed: int = 0,
) -> TorsionExplorer:
    """Slider that turns a bond: structure, energy curve, and how often a shape is found.

    Parameters
    ----------
    temperature_k : float
        Temperature in kelvin.
    step_deg : int, optional
        Degrees between energies; 5 when not given.
    molecule, seed
        As in `scan_torsion`.

    Returns
    -------
    TorsionExplorer
        Its ``scan`` holds the numbers.
    """
    if not temperature_k > 0:
        raise ParameterError(f"temperature_k must be above 0 K, got {temperature_k}; try 298.15.")
    return TorsionExplorer(scan_torsion(molecule, step_deg=step_deg or 5, seed=seed), temperature_k)


class TorsionExplorer(Panel):
    """See `torsion_explorer`."""

    def __init__(self, scan: TorsionScan, temperature_k: float) -> None:
        self.scan = scan
        self.temperature_k = temperature_k
        step = int(scan.angles_deg[1] - scan.angles_deg[0])
        lowest = int(scan.angles_deg[scan.energies_kj_mol.argmin()])
        self.slider = widgets.IntSlider(
            value=lowest, min=-180, max=180, step=step, description="angle (°)"
        )
        self.slider.layout.width = "440px"
        self.words = widgets.HTML().add_class("labkit-torsion-words")
        self._plot = widgets.Output()
        self._view = _structure_or_reason(scan)
        self.slider.observe(lambda _: self._show(), names="value")
        pictures = widgets.HBox(
            [self._view, self._plot], layout=widgets.Layout(flex_flow="row wrap")
        )
        super().__init__([self.slider, self.words, pictures])
        self.add_class("labkit-torsion")
        self._show()

    def text(self) -> str:
        """Angle, energy and population in words."""
        i = self._index
        energy = float(self.scan.energies_kj_mol[i])
        if energy == 0:
            return f"{self.scan.angles_deg[i]}°: the most stable shape"
        share = _share_text(self.scan.population(self.temperature_k)[i])
        return (
            f"{self.scan.angles_deg[i]}°: {energy:.1f} kJ/mol above the most stable shape; "
            f"at {self.temperature_k:g} K found {share} as often"
        )

    @property
    def _index(self) -> int:
        return int(np.abs(self.scan.angles_deg - self.slider.value).argmin())

    def _show(self) -> None:
        self.words.value = line(self.text())
        if hasattr(self._view, "frame"):
            self._view.frame = self._index
        show_figure(self._plot, _energy_figure(self.scan, self._index), self.text())


def _share_text(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{100 * share:.2g}%"


def _structure_or_reason(scan: TorsionScan) -> Any:
    try:
        return view_frames(scan.mol, scan.coordinates, width_px=380, height_px=300)
    except LabkitError as exc:
        return widgets.HTML(line(str(exc)))


def _energy_figure(scan: TorsionScan, index: int) -> Figure:
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(MPLSTYLE):
        figure = Figure(figsize=(4.6, 3.1))
        ax = figure.add_subplot()
        ax.plot(scan.angles_deg, scan.energies_kj_mol, color=OKABE_ITO["blue"])
        here = (scan.angles_deg[index], scan.energies_kj_mol[index])
        ax.plot(*here, "o", color=OKABE_ITO["vermillion"], markersize=9)
        ax.set_xticks(range(-180, 181, 60))
        ax.set(xlabel=axis_label("torsion angle", "degree"), ylabel=axis_label("energy", "kJ/mol"))
        ax.set_ylim(bottom=min(-0.5, -0.04 * scan.barrier_kj_mol))
    return figure


def _torsion_atoms(mol: Chem.Mol) -> tuple[int, int, int, int]:
    """Four atoms around the rotatable bond nearest to the middle of the molecule."""
    heavy = Chem.RemoveHs(mol)
    bonds = heavy.GetSubstructMatches(ROTATABLE)
    if not bonds:
        raise ParameterError(
            f"{Chem.MolToSmiles(heavy)} has no bond that can turn; try CCCC (butane)."
        )
    distances = Chem.GetDistanceMatrix(heavy)
    left, right = min(bonds, key=lambda bond: distances[list(bond)].max())
    return _neighbor(mol, left, right), left, right, _neighbor(mol, right, left)


def _neighbor(mol: Chem.Mol, atom: int, other: int) -> int:
    """Neighbor of `atom` other than `other`, a heavy one where there is one."""
    around = [a for a in mol.GetAtomWithIdx(atom).GetNeighbors() if a.GetIdx() != other]
    return int(max(around, key=lambda a: (a.GetAtomicNum(), -a.GetIdx())).GetIdx())


def _relax_at(
    mol: Chem.Mol, atoms: tuple[int, int, int, int], angle_deg: float
) -> tuple[float, np.ndarray[Any, Any]]:
    """Energy in kJ/mol and positions with the torsion held at an angle."""
    turned = Chem.Mol(mol)
    rdMolTransforms.SetDihedralDeg(turned.GetConformer(), *atoms, angle_deg)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(turned)
    held = rdForceFieldHelpers.MMFFGetMoleculeForceField(turned, properties)
    held.MMFFAddTorsionConstraint(*atoms, False, angle_deg, angle_deg, 1000.0)
    held.Minimize(maxIts=1000)
    free = rdForceFieldHelpers.MMFFGetMoleculeForceField(turned, properties)
    return free.CalcEnergy() * KJ_PER_KCAL, turned.GetConformer().GetPositions()


def _superpose(
    frames: np.ndarray[Any, Any], atoms: tuple[int, int, int, int]
) -> np.ndarray[Any, Any]:
    """Lay the frames over one another: first three torsion atoms in one plane, bond along x."""
    first, left, right, _ = atoms
    placed = []
    for xyz in frames:
        shifted = xyz - (xyz[left] + xyz[right]) / 2
        x = shifted[right] - shifted[left]
        x = x / math.sqrt(x @ x)
        z = np.cross(x, shifted[first] - shifted[left])
        z = z / math.sqrt(z @ z)
        placed.append(shifted @ np.array([x, np.cross(z, x), z]).T)
    return np.array(placed)
