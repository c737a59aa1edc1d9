"""Downloads into the cache: complete and verified, or not there at all.

pooch names the cache folder, streams into a temporary file and compares checksums. Added here are
a limit on the total time, one download where several processes ask for the same file, and errors
of one line that say what to do.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from labkit.datasets.local import cache_folder, cached, content_problem, prepared
from labkit.datasets.registry import Dataset, get
from labkit.errors import MissingDataError

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16
_PARTIAL = ".partial-"


def path(dataset: str | Dataset) -> Path:
    """File of a data set, downloaded first when it is not on this machine.

    Parameters
    ----------
    dataset : str or Dataset
        Registered name (``"sider"``, ``"oversampling/sider"``), or an entry of your own.

    Returns
    -------
    pathlib.Path
        An existing file whose content has the registered checksum; ``pandas.read_csv`` reads it
        as it is, compressed or not.

    Raises
    ------
    ParameterError
        The name is not registered.
    MissingDataError
        ``LABKIT_DATA`` holds another file under this name, or the download failed.
    """
    entry = get(dataset) if isinstance(dataset, str) else dataset
    return prepared(entry) or fetch(entry)


def fetch(
    dataset: str | Dataset, *, timeout_s: float = 300.0, stall_timeout_s: float = 30.0
) -> Path:
    """Make sure that a data set is in the cache. What ``labkit data fetch NAME`` does.

    A verified copy in the cache is used as it is. Processes that fetch the same data set at the
    same time download it once; the others wait.

    Parameters
    ----------
    dataset : str or Dataset
        Registered name, or an entry of your own.
    timeout_s : float
        Longest time for the whole download.
    stall_timeout_s : float
        Longest time to wait for a connection or for the next bytes.

    Returns
    -------
    pathlib.Path
        The verified file in the cache.

    Raises
    ------
    ParameterError
        The name is not registered.
    MissingDataError
        It is not offered for download, no network, no such file, too slow, broken off, not the
        registered content, or the cache cannot be written. Nothing half-written stays behind.
    """
    entry = get(dataset) if isinstance(dataset, str) else dataset
    found = cached(entry)
    if found:
        return found
    if entry.url is None:
        raise MissingDataError(_not_offered(entry))
    folder = (cache_folder() / entry.study / entry.file).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder / f".{PurePosixPath(entry.file).name}.lock"):
            return cached(entry) or _download(entry, folder, timeout_s, stall_timeout_s)
    except OSError as exc:
        if isinstance(exc, MissingDataError):
            raise
        raise MissingDataError(_advice(entry, _disk_problem(exc, folder))) from exc


def _download(entry: Dataset, folder: Path, timeout_s: float, stall_timeout_s: float) -> Path:
    import pooch
    import requests
    import urllib3

    for leftover in folder.glob(f"{_PARTIAL}{entry.short_name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    url = str(entry.url)
    host = urlsplit(url).hostname
    stored = PurePosixPath(entry.download_name).name
    logger.info("downloading %s (%.1f MB) from %s", entry.name, entry.size / 1e6, host)
    with tempfile.TemporaryDirectory(prefix=f"{_PARTIAL}{entry.short_name}-", dir=folder) as part:
        try:
            with _quiet(pooch.get_logger()):
                received = pooch.retrieve(
                    url,
                    known_hash=f"sha256:{entry.url_sha256}" if entry.url_sha256 else None,
                    fname=stored,
                    path=part,
                    downloader=_LimitedDownloader(timeout_s, stall_timeout_s),
                )
        except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as exc:
            raise MissingDataError(_advice(entry, _network_problem(exc, str(host)))) from exc
        except ValueError as exc:
            problem = f"what {host} sent has another checksum than registered"
            raise MissingDataError(_advice(entry, problem)) from exc
        problem = content_problem(Path(received), entry)
        if problem:
            raise MissingDataError(_advice(entry, f"of what {host} sent: {problem}"))
        # pooch's file is readable by its owner only; a copy has the permissions of any other file.
        complete = Path(shutil.copyfile(received, Path(part) / "complete"))
        return complete.replace(folder / stored)


class _LimitedDownloader:
    """A downloader for pooch that gives up when the whole transfer takes too long.

    A limit on each read alone would follow a server that sends one byte a second for days.
    """

    def __init__(self, timeout_s: float, stall_timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.stall_timeout_s = stall_timeout_s

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests

        deadline = time.monotonic() + self.timeout_s
        stall = min(self.stall_timeout_s, self.timeout_s)
        headers = {"Accept-Encoding": "identity"}
        with requests.get(url, stream=True, timeout=stall, headers=headers) as response:
            response.raise_for_status()
            with Path(output_file).open("wb") as target:
                while block := response.raw.read1(_BLOCK, decode_content=True):
                    target.write(block)
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"took longer than {self.timeout_s:g} s")


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Let one process at a time pass; the lock goes with its owner, however that one ends."""
    with lock.open("w") as handle:
        with suppress(OSError):  # some network file systems have no locks: download twice then
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _quiet(library_logger: logging.Logger) -> Iterator[None]:
    level = library_logger.level
    library_logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library_logger.setLevel(level)


def _network_problem(exc: Exception, host: str) -> str:
    import requests
    import urllib3

    if isinstance(exc, requests.HTTPError) and exc.response is not None:
        return f"{host} answered {exc.response.status_code} {exc.response.reason}"
    if isinstance(exc, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"{host} did not answer in time"
    if isinstance(exc, TimeoutError):
        return f"the download from {host} {exc}"
    if isinstance(exc, urllib3.exceptions.HTTPError):
        return f"{host} broke off before the end of the file"
    return f"no connection to {host}"


def _disk_problem(exc: OSError, folder: Path) -> str:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left in {folder}"
    return f"cannot write to {folder} ({exc.strerror}; LABKIT_CACHE names another folder)"


def _not_offered(entry: Dataset) -> str:
    return (
        f"{entry.name} is not on this machine and cannot be downloaded. {entry.obtain} "
        f"To use a copy that you have, put {entry.file} into LABKIT_DATA/{entry.study}/."
    )


def _advice(entry: Dataset, problem: str) -> str:
    return (
        f"{entry.name} is not on this machine and could not be downloaded: {problem}. "
        f"Run `labkit data fetch {entry.short_name}` where there is a network, "
        f"or put {entry.file} into LABKIT_DATA/{entry.study}/."
    )
