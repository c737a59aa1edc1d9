"""One registered file: what it is called, where it comes from, and what it must contain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One registered file.

    Parameters
    ----------
    name : str
        ``<study>/<short name>``.
    file : str
        Path of the file below ``LABKIT_DATA/<study>`` and below the study's folder in the cache,
        with ``/`` between folders. A name that ends in ``.gz`` may also be stored uncompressed,
        without that ending.
    url : str or None
        Where the file is downloaded from; None where `obtain` says how to make it.
    sha256 : str
        Checksum of the content, uncompressed.
    url_sha256 : str or None
        Checksum of the bytes at `url`; None where the source may compress them anew, and only the
        content can be compared.
    size : int
        Bytes at `url`.
    rows : int
        Records in the table: molecules, atoms of a structure, frames of a trajectory.
    summary : str
        What the table holds, in one line.
    license : str
        Terms of use of the data.
    citation : str
        The publication to cite.
    obtain : str
        What to do where there is no `url`, as a sentence.
    """

    name: str
    file: str
    url: str | None
    sha256: str
    url_sha256: str | None
    size: int
    rows: int
    summary: str
    license: str
    citation: str
    obtain: str = ""

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
        compressed = PurePosixPath(self.url or self.file).suffix == ".gz"
        return self.file if compressed else self.file.removesuffix(".gz")
