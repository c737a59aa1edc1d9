"""The data sets that labkit's studies know by name, with their source, checksum and terms of use.

A data set is named ``<study>/<short name>``. Its checksum is that of the *uncompressed* content:
the same table is in circulation under several gzip compressions, and all of them are accepted.
URLs name a commit, not a branch, so that the bytes behind them cannot change. What was computed for
labkit and lies nowhere on the network has no URL, and its entry says how to make it.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from labkit.datasets.citation_graphs import CITATION_GRAPHS
from labkit.datasets.entry import Dataset
from labkit.datasets.llm_parallel_runs import LLM_PARALLEL_RUNS
from labkit.errors import ParameterError

_MOLECULENET = "Wu et al., MoleculeNet, Chem. Sci. 9 (2018) 513-530, doi:10.1039/C7SC02664A"
_CHEMPROP = (
    "https://raw.githubusercontent.com/chemprop/chemprop/3f2b73372a8968f0f73b2fb279a5780cae918d58"
)
_BIOGEN = (
    "https://raw.githubusercontent.com/molecularinformatics/Computational-ADME/"
    "b00df003de117ce9e5b381afd886095c5f2af2d5"
)


_BENCHMARK = (
    "https://raw.githubusercontent.com/openforcefield/protein-ligand-benchmark/"
    "fd88824f9114244f95a14b485e6d6c96c1de716d/data"
)
_BENCHMARK_TERMS = "CC BY 4.0 (Open Force Field)"
_BENCHMARK_PAPER = "Hahn et al., LiveCoMS 4 (2022) 1497, doi:10.33011/livecoms.4.1.1497"


def _benchmark(target: str, kind: str, sha256: str, size: int, rows: int) -> Dataset:
    """One file of a congeneric series of protein-ligand-benchmark."""
    file, folder, what = {
        "protein": ("protein.pdb", "01_protein/crd", "prepared structure"),
        "ligands": ("ligands.sdf", "02_ligands", "ligand poses with hydrogens"),
        "affinities": ("ligands.yml", "00_data", "measured affinities of the ligands"),
    }[kind]
    return Dataset(
        name=f"hotspots/{target}_{kind}",
        file=f"plb/{target}/{file}",
        url=f"{_BENCHMARK}/{target}/{folder}/{file}",
        sha256=sha256,
        url_sha256=sha256,
        size=size,
        rows=rows,
        summary=f"{target.upper()} series: {what}",
        license=_BENCHMARK_TERMS,
        citation=_BENCHMARK_PAPER,
    )


def _pocket_md(kind: str, file: str, sha256: str, size: int, rows: int, what: str) -> Dataset:
    """One file of the simulation of the TYK2 pocket with ligand ejm_31."""
    return Dataset(
        name=f"hotspots/tyk2_md_{kind}",
        file=f"tyk2_pocket_md/{file}",
        url=None,
        sha256=sha256,
        url_sha256=None,
        size=size,
        rows=rows,
        summary=f"TYK2 pocket with ejm_31, 50 ps of MD: {what}",
        license=_BENCHMARK_TERMS,
        citation=f"Computed for labkit from {_BENCHMARK_PAPER}",
        obtain=(
            "It was computed for labkit and is not on the network. "
            "labkit.hotspots.simulate makes such a trajectory."
        ),
    )


_DATASETS = (
    Dataset(
        name="oversampling/sider",
        file="sider.csv.gz",
        url=f"{_CHEMPROP}/data/sider.csv",
        sha256="71efc6ac4ca82d6545bc512509863281be0f17234afd7adaf71a71899988302e",
        url_sha256="71efc6ac4ca82d6545bc512509863281be0f17234afd7adaf71a71899988302e",
        size=183_743,
        rows=1427,
        summary="SIDER: marketed drugs x 27 organ classes of side effects, complete",
        license="CC BY-NC-SA 4.0 (SIDER 4.1)",
        citation=f"Kuhn et al., Nucleic Acids Res. 44 (2016) D1075-D1079; {_MOLECULENET}",
    ),
    Dataset(
        name="oversampling/tox21",
        file="tox21.csv.gz",
        url=f"{_CHEMPROP}/data/tox21.csv",
        sha256="b58cc1f683e78e3c7a1bf7116e9aac0119804018d100f7b8cdb0857941c31aca",
        url_sha256="b58cc1f683e78e3c7a1bf7116e9aac0119804018d100f7b8cdb0857941c31aca",
        size=458_635,
        rows=7831,
        summary="Tox21: 12 nuclear-receptor and stress-response assays, 17 % missing",
        license="public domain (US Government work)",
        citation=f"Tox21 Data Challenge 2014; {_MOLECULENET}",
    ),
    Dataset(
        name="oversampling/clintox",
        file="clintox.csv.gz",
        url=f"{_CHEMPROP}/data/clintox.csv",
        sha256="cc561402d058a0d996a9f5e5d02bc20f6652b7003525b32c3598b8da4b24e9b7",
        url_sha256="cc561402d058a0d996a9f5e5d02bc20f6652b7003525b32c3598b8da4b24e9b7",
        size=94_829,
        rows=1478,
        summary="ClinTox: FDA approved, or failed clinical trials for toxicity",
        license="AACT: public domain; SWEETLEAD: see its paper",
        citation=f"Gayvert et al., Cell Chem. Biol. 23 (2016) 1294-1301; {_MOLECULENET}",
    ),
    Dataset(
        name="oversampling/toxcast",
        file="toxcast.csv.gz",
        url=f"{_CHEMPROP}/data/toxcast.csv.gz",
        sha256="7cf85e17a8fbeea03297d4f5e3e9df164f19e8a49bb57e955065c28af3306b7a",
        url_sha256="4b9b4366b02ce7ec7a0831d60f8c46f153c53c5e122376df887476240496abd4",
        size=403_733,
        rows=8576,
        summary="ToxCast: 617 in-vitro assays, 71 % missing",
        license="public domain (US EPA)",
        citation=f"Richard et al., Chem. Res. Toxicol. 29 (2016) 1225-1251; {_MOLECULENET}",
    ),
    Dataset(
        name="oversampling/biogen_adme",
        file="biogen_adme.csv.gz",
        url=f"{_BIOGEN}/ADME_public_set_3521.csv",
        sha256="2cfabc2667740c224487876c33b23124159ef43294e0f9e4d926cb6276c95a3b",
        url_sha256="2cfabc2667740c224487876c33b23124159ef43294e0f9e4d926cb6276c95a3b",
        size=388_279,
        rows=3521,
        summary="Biogen ADME: 6 continuous assays, 13 to 95 % missing",
        license="MIT",
        citation=(
            "Fang et al., J. Chem. Inf. Model. 63 (2023) 3263-3274, doi:10.1021/acs.jcim.3c00160"
        ),
    ),
    _benchmark(
        "tyk2",
        "protein",
        "9090684f4bdae90afbe5f2698a14c778396c024c19ceb6333de4808d9e29fae6",
        391_080,
        4658,
    ),
    _benchmark(
        "tyk2",
        "ligands",
        "410f683fa990bb8dc094521746d3aaa0c5b1134f716d9c35d45d3352db1ddffd",
        58_556,
        13,
    ),
    _benchmark(
        "tyk2",
        "affinities",
        "8a74c0eb54aa406cb95dbc490b341287242d8d4b7152ff61c20eb1f8aaa6923e",
        3_871,
        13,
    ),
    _benchmark(
        "mcl1",
        "protein",
        "f80ff9dd93a5d9dd6e90091e9631a8ce7fe0dc931e16543e22c1f92009660306",
        208_856,
        2448,
    ),
    _benchmark(
        "mcl1",
        "ligands",
        "7e1c3fa9dc5e4f31827ccd4e6e61be5f8a4f34c1d0e401228206ea552007f868",
        124_711,
        25,
    ),
    _benchmark(
        "mcl1",
        "affinities",
        "4e58c7658a1b12458e8b5b64ce22fcc85cf1c3ad231cad1d71b6bd81bdc0c5a4",
        7_336,
        25,
    ),
    _benchmark(
        "cdk2",
        "protein",
        "15d1e509d7951ca45ea266d51a627d5f452dcf0bb5bd48751ae57eb29e28ab69",
        757_848,
        9034,
    ),
    _benchmark(
        "cdk2",
        "ligands",
        "b0083418f683d38fb9353f58eb1fcd8fc8208611888093f23295fa120135c7da",
        53_255,
        10,
    ),
    _benchmark(
        "cdk2",
        "affinities",
        "c04762ef501289a355f28cf6d082115af35abaf5af48785fd89eb41b45decf4d",
        3_641,
        10,
    ),
    _benchmark(
        "hif2a",
        "protein",
        "5bbf520e7c102a65cc7ba0253fd66f43562f77284c82b3b9613e997b7ac76c93",
        300_915,
        3579,
    ),
    _benchmark(
        "hif2a",
        "ligands",
        "9c86778e76a2c777fb96ad394851df86d315370d9f1f2089ae0082a8df44ceaa",
        165_971,
        37,
    ),
    _benchmark(
        "hif2a",
        "affinities",
        "e4c6a12894467ff9cecab06e53a4e23db3183bcaff68c7cdfb6402c7b8b26a34",
        13_928,
        37,
    ),
    _pocket_md(
        "topology",
        "pocket.pdb",
        "4e29d1d66fb7da888e1a649070a0d9762b711b4897c0cfd3393e1de4c29ea3e6",
        61_274,
        725,
        "structure",
    ),
    _pocket_md(
        "trajectory",
        "traj.xtc",
        "4fe2ee9e06ff5f0f72cbef118d7d44b0ef612a7947aabfe39c8f1bc039d85f24",
        718_780,
        250,
        "frames 0.2 ps apart",
    ),
    _pocket_md(
        "ligand",
        "lig.sdf",
        "e1d75ec4f402e89fa844c9b2c8641f75b2e4d3e2bd3097a99ad37eda3a2b2b9a",
        4_791,
        32,
        "ligand with bond orders",
    ),
    _pocket_md(
        "mol2",
        "lig.mol2",
        "23720a70f5d86ef4a297f4b1d18282103273d013273b14c6aa4d06ca822f3f1d",
        3_592,
        32,
        "GAFF2 atom types and AM1-BCC charges",
    ),
    _pocket_md(
        "frcmod",
        "lig.frcmod",
        "1df9c6ab792a8aad7b1a058b7016a50eb8f663fbb7665ffcee9e5b211ac6c425",
        1_811,
        24,
        "GAFF2 parameters",
    ),
    *CITATION_GRAPHS,
    *LLM_PARALLEL_RUNS,
)

REGISTRY: Mapping[str, Dataset] = MappingProxyType({d.name: d for d in _DATASETS})


def names() -> list[str]:
    """Full names of all registered data sets."""
    return list(REGISTRY)


def get(name: str) -> Dataset:
    """Entry of a data set.

    Parameters
    ----------
    name : str
        Full name, or the short name where only one study has it.

    Returns
    -------
    Dataset

    Raises
    ------
    ParameterError
        No data set, or more than one, has this name.

    Examples
    --------
    >>> get("tox21") is get("oversampling/tox21")
    True
    """
    if name in REGISTRY:
        return REGISTRY[name]
    matches = [d for d in REGISTRY.values() if d.short_name == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        choices = ", ".join(d.name for d in matches)
        raise ParameterError(f"data set {name!r} could be any of {choices}. Give the full name.")
    known = sorted({d.short_name for d in REGISTRY.values()})
    near = difflib.get_close_matches(str(name).rpartition("/")[2].lower(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ParameterError(f"no data set is named {name!r}.{hint} Known: {', '.join(known)}.")
