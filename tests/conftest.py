"""What all tests share: private settings, the real data, and skips that count as failures.

``LABKIT_DATA`` names the folder of real data; tests that use the `labkit_data` fixture skip
without it. ``LABKIT_REQUIRE=data,slurm,browser`` turns skips of tests with these markers into
failures, so that CI cannot pass by leaving them out.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REQUIRABLE = ("data", "slurm", "browser", "lava")
REPOSITORY = Path(__file__).resolve().parents[1]

# Before anything imports numpy or torch: their thread pools read this once. Several test kernels
# share the machine, and threads that outnumber its cores make all of them slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")

_required = pytest.StashKey[frozenset[str]]()
_private = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the user's settings and caches out of the tests, and read ``LABKIT_REQUIRE``."""
    wanted = {name.strip() for name in os.environ.get("LABKIT_REQUIRE", "").split(",")} - {""}
    unknown = wanted.difference(REQUIRABLE)
    if unknown:
        raise pytest.UsageError(
            f"LABKIT_REQUIRE names {', '.join(sorted(unknown))}; it knows {', '.join(REQUIRABLE)}."
        )
    config.stash[_required] = frozenset(wanted)
    config.stash[_private] = private = Path(tempfile.mkdtemp(prefix="labkit-tests-"))
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        os.environ[variable] = str(private / variable.lower())
    os.environ["IPYTHONDIR"] = str(private / "ipython")
    os.environ["LABKIT_CACHE"] = str(private / "cache")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the private folders."""
    if _private in config.stash:
        shutil.rmtree(config.stash[_private], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the real data or Lava, directly or through another fixture."""
    for item in items:
        for fixture, marker in {"labkit_data": "data", "lava_interpreter": "lava"}.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Turn the skip of a test whose marker is required into a failure."""
    report = yield
    required = item.config.stash[_required].intersection(m.name for m in item.iter_markers())
    if report.skipped and required and not hasattr(report, "wasxfail"):
        _fail(report, f"LABKIT_REQUIRE={','.join(sorted(required))}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    """Turn the skip of a whole module into a failure: it hides which markers its tests have."""
    report = yield
    if report.skipped and collector.config.stash[_required]:
        _fail(report, "LABKIT_REQUIRE is set, and a skipped module hides its tests' markers")
    return report


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def labkit_data() -> Path:
    """Folder of real data sets, laid out as ``<study>/<file>``."""
    value = os.environ.get("LABKIT_DATA", "")
    if not value:
        pytest.skip("LABKIT_DATA is not set")
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        pytest.skip(f"LABKIT_DATA={value} is not a folder")
    return folder


def _fail(report: pytest.TestReport | pytest.CollectReport, reason: str) -> None:
    skipped_because = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{reason}, but: {skipped_because}"
