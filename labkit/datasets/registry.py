"""The data sets that labkit's studies know by name, with their source, checksum and terms of use.

A data set is named ``<study>/<short name>``. Its checksum is that of the *uncompressed* content:
the same table is in circulation under several gzip compressions, and all of them are accepted.
URLs name a commit, not a branch, so that the bytes behind them cannot change.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from labkit.errors import ParameterError

_MOLECULENET = "Wu et al., MoleculeNet, Chem. Sci. 9 (2018) 513-530, doi:10.1039/C7SC02664A"
_CHEMPROP = (
    "https://raw.githubusercontent.com/chemprop/chemprop/3f2b73372a8968f0f73b2fb279a5780cae918d58"
)
_BIOGEN = (
    "https://raw.githubusercontent.com/molecularinformatics/Computational-ADME/"
    "b00df003de117ce9e5b381afd886095c5f2af2d5"
)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One registered file.

    Parameters
    ----------
    name : str
        ``<study>/<short name>``.
    file : str
        Name of the file in ``LABKIT_DATA/<study>`` and in the cache. A name that ends in ``.gz``
        may also be stored uncompressed, without that ending.
    url : str
        Where the file is downloaded from.
    sha256 : str
        Checksum of the content, uncompressed.
    url_sha256 : str or None
        Checksum of the bytes at `url`; None where the source may compress them anew, and only the
        content can be compared.
    size : int
        Bytes at `url`.
    rows : int
        Records in the table.
    summary : str
        What the table holds, in one line.
    license : str
        Terms of use of the data.
    citation : str
        The publication to cite.
    """

    name: str
    file: str
    url: str
    sha256: str
    url_sha256: str | None
    size: int
    rows: int
    summary: str
    license: str
    citation: str

    @property
    def study(self) -> str:
        """The study that the data set belongs to: the folder that it lies in."""
        return self.name.partition("/")[0]

    @property
    def short_name(self) -> str:
        """The name without its study."""
        return self.name.partition("/")[2]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names under which the file may be stored, the usual one first."""
        plain = self.file.removesuffix(".gz")
        return (self.file,) if plain == self.file else (self.file, plain)

    @property
    def download_name(self) -> str:
        """Name under which a download is stored: compressed only if the source is."""
        compressed = PurePosixPath(self.url).suffix == ".gz"
        return self.file if compressed else self.file.removesuffix(".gz")


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
