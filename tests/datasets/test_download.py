"""Downloads from a real server: complete and verified, or one clear line and nothing left."""

from __future__ import annotations

import gzip
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from labkit import datasets
from labkit.datasets import Dataset
from labkit.errors import MissingDataError

Offered = Callable[..., Dataset]

FETCH_IN_ANOTHER_PROCESS = """
import resource
from labkit.datasets import Dataset, fetch
if {largest_file}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file}, {largest_file}))
print(fetch(Dataset(**{entry!r})))
"""


def files_in(folder: Path) -> list[str]:
    """Everything below a folder but locks, which are empty."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix != ".lock")


def start_fetch(entry: Dataset, *, largest_file: int = 0) -> subprocess.Popen[str]:
    script = FETCH_IN_ANOTHER_PROCESS.format(entry=vars(entry), largest_file=largest_file)
    return subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("name", ["good.csv", "good.csv.gz", "moved.csv", "slow.csv"])
@pytest.mark.parametrize("known_bytes", [True, False])
def test_download_ends_in_a_file_that_pandas_reads(offered, cache, name, known_bytes):
    file = datasets.fetch(offered(name, known_bytes=known_bytes))
    assert file == cache / "toxins" / ("table.csv.gz" if name.endswith("gz") else "table.csv")
    assert len(pd.read_csv(file)) == 1499
    assert files_in(cache) == ["toxins", f"toxins/{file.name}"]


def test_downloaded_file_can_be_read_by_whoever_the_umask_lets(offered, cache):
    other = cache.parent / "ordinary file"
    other.touch()
    file = datasets.fetch(offered())
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_second_request_is_answered_from_the_cache(offered, server, cache):
    entry = offered()
    assert datasets.path(entry) == datasets.path(entry) == datasets.fetch(entry)
    assert server.requests["good.csv"] == 1


def test_content_in_another_compression_is_accepted(offered, cache, table):
    (cache / "toxins").mkdir(parents=True)
    (cache / "toxins" / "table.csv.gz").write_bytes(gzip.compress(table, compresslevel=1, mtime=7))
    assert datasets.fetch(offered("absent.csv")).name == "table.csv.gz"


def test_file_of_a_subfolder_is_stored_in_that_subfolder(offered, server, cache):
    entry = Dataset(**{**vars(offered()), "file": "kinases/toxic/table.csv.gz"})
    file = datasets.fetch(entry)
    assert file == cache / "toxins" / "kinases" / "toxic" / "table.csv"
    assert files_in(cache / "toxins") == ["kinases", "kinases/toxic", "kinases/toxic/table.csv"]
    assert datasets.path(entry) == file
    assert server.requests["good.csv"] == 1


def test_data_set_that_is_not_on_the_network_says_how_to_make_it(offered, cache):
    entry = Dataset(**{**vars(offered()), "url": None, "obtain": "Brew it from alkanes."})
    with pytest.raises(MissingDataError) as caught:
        datasets.path(entry)
    assert "cannot be downloaded. Brew it from alkanes. To use a copy" in str(caught.value)
    assert "put table.csv.gz into LABKIT_DATA/toxins/" in str(caught.value)
    assert not cache.exists()


@pytest.mark.parametrize(
    "damage", [b"", b"smiles,toxic\n", b"\x1f\x8b garbage"], ids=["empty", "short", "garbage"]
)
@pytest.mark.parametrize("file", ["table.csv", "table.csv.gz"])
def test_damaged_cached_file_is_downloaded_again(offered, cache, caplog, file, damage):
    (cache / "toxins").mkdir(parents=True)
    (cache / "toxins" / file).write_bytes(damage)
    assert len(pd.read_csv(datasets.fetch(offered()))) == 1499
    assert "damaged" in caplog.text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent.csv", "127.0.0.1 answered 404 Not Found"),
        ("broken.csv", "127.0.0.1 answered 503 Service Unavailable"),
        ("corrupt.csv", "what 127.0.0.1 sent has another checksum than registered"),
        ("corrupt.csv.gz", "what 127.0.0.1 sent has another checksum than registered"),
        ("cut.csv", "what 127.0.0.1 sent has another checksum than registered"),
        ("truncated.csv", "127.0.0.1 broke off before the end of the file"),
        ("truncated.csv.gz", "127.0.0.1 broke off before the end of the file"),
        ("stalling.csv", "127.0.0.1 did not answer in time"),
    ],
)
def test_failed_download_is_one_line_that_says_what_to_do(offered, cache, name, reason):
    with pytest.raises(MissingDataError) as caught:
        datasets.fetch(offered(name), stall_timeout_s=0.5)
    message = str(caught.value)
    assert reason in message
    assert "toxins/table" in message
    assert "`labkit data fetch table`" in message
    assert "put table.csv.gz into LABKIT_DATA/toxins/" in message
    assert "\n" not in message
    assert files_in(cache) == ["toxins"]


@pytest.mark.parametrize("name", ["corrupt.csv", "corrupt.csv.gz", "cut.csv", "cut.csv.gz"])
def test_wrong_content_is_refused_even_where_the_bytes_sent_are_not_registered(
    offered, cache, name
):
    with pytest.raises(MissingDataError, match=r"of what 127\.0\.0\.1 sent: it"):
        datasets.fetch(offered(name, known_bytes=False))
    assert files_in(cache) == ["toxins"]


def test_server_that_drips_single_bytes_is_given_up_in_time(offered, cache):
    begun = time.monotonic()
    with pytest.raises(MissingDataError, match=r"took longer than 0\.4 s"):
        datasets.fetch(offered("dripping.csv"), timeout_s=0.4)
    # The whole file would take 1 MB x 50 ms; ten seconds leave room for a busy machine.
    assert time.monotonic() - begun < 10
    assert files_in(cache) == ["toxins"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.csv", "http://nowhere.invalid/x.csv"])
def test_without_a_network_the_error_says_so(offered, cache, url):
    entry = Dataset(**{**vars(offered()), "url": url})
    with pytest.raises(MissingDataError, match="no connection to"):
        datasets.fetch(entry, stall_timeout_s=5)
    assert files_in(cache) == ["toxins"]


def test_cache_that_is_no_folder_is_named_with_its_variable(offered, cache):
    cache.write_text("in the way")
    with pytest.raises(MissingDataError, match=f"cannot write to {cache}.*LABKIT_CACHE"):
        datasets.fetch(offered())


def test_disk_that_fills_up_leaves_nothing_behind(offered, cache, table):
    process = start_fetch(offered(), largest_file=len(table) // 2)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "MissingDataError: toxins/table is not on this machine" in stderr.splitlines()[-1]
    assert "cannot write to" in stderr.splitlines()[-1]
    assert files_in(cache) == ["toxins"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize(
    ("option", "reason"),
    [("size=64k", "no space left in"), ("ro", "cannot write to .*Read-only file system")],
)
def test_full_or_read_only_disk_is_called_that(offered, cache, option, reason):
    cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", option, "labkit-test", str(cache)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a file system")
    try:
        with pytest.raises(MissingDataError, match=reason):
            datasets.fetch(offered())
        assert not [name for name in files_in(cache) if name != "toxins"]
    finally:
        subprocess.run(["umount", str(cache)], check=True)


def test_processes_that_fetch_together_download_once(offered, server, cache):
    entry = offered("slow.csv")
    processes = [start_fetch(entry) for _ in range(3)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert {stdout.strip() for stdout, _ in outputs} == {str(cache / "toxins" / "table.csv")}
    assert server.requests["slow.csv"] == 1


def test_killed_download_leaves_no_file_and_does_not_block_the_next(offered, server, cache):
    process = start_fetch(offered("stalling.csv"))
    assert server.started.wait(60)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cache / "toxins" / "table.csv").exists()
    datasets.fetch(offered("good.csv"))
    assert files_in(cache) == ["toxins", "toxins/table.csv"]


def test_fetching_is_silent_but_for_the_log(offered, cache, capfd):
    datasets.fetch(offered())
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
