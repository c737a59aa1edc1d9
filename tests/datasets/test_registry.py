"""The registry agrees with the real files, and answers to the names that people type."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys

import pandas as pd
import pytest

from labkit import datasets
from labkit.datasets import registry
from labkit.errors import LabkitError, ParameterError

SOURCES = {
    # sha256 of the compressed files in LABKIT_DATA, from the source notes beside them.
    "sider": "3ffbbdea85ccc74a54e762ff03547c189bb087866fcf1cae9c8d08b394811509",
    "tox21": "32445368b224e34d5b98046faa9b77061b7f65738077d11ca56b20c1e3e25022",
    "clintox": "059177bd7b4efdae134c1926787b060bbfde03b5260eec3fed3187a8f20625e0",
    "toxcast": "4b9b4366b02ce7ec7a0831d60f8c46f153c53c5e122376df887476240496abd4",
    "biogen_adme": "987e041fb15bc23482e6682195d5000a8461510368e4276c4e80552a3add14e6",
}
COLUMNS = {"sider": 28, "tox21": 13, "clintox": 3, "toxcast": 618, "biogen_adme": 10}


@pytest.mark.parametrize("name", SOURCES)
def test_real_file_has_the_registered_content(labkit_data, name):
    file = datasets.path(name)
    assert file.samefile(labkit_data / "oversampling" / f"{name}.csv.gz")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SOURCES[name]
    table = pd.read_csv(file)
    assert table.shape == (datasets.get(name).rows, COLUMNS[name])


def test_all_real_files_are_found_and_verified(labkit_data):
    assert {(row.state, row.source) for row in datasets.verify()} == {("ok", "LABKIT_DATA")}


@pytest.mark.parametrize(
    "name", [name for name in datasets.names() if name.startswith("hotspots/")]
)
def test_checksums_of_structures_are_those_of_the_notes_beside_them(labkit_data, name):
    entry = datasets.get(name)
    notes = (labkit_data / "hotspots" / "SOURCE.md").read_text()
    assert f"{entry.sha256}  ./{entry.file}\n" in notes
    file = datasets.path(name)
    assert file.samefile(labkit_data / "hotspots" / entry.file)
    assert file.stat().st_size == entry.size


@pytest.mark.parametrize("name", [name for name in datasets.names() if name.startswith("spiking/")])
def test_checksums_of_citation_graphs_are_those_of_the_notes_beside_them(labkit_data, name):
    entry = datasets.get(name)
    notes = (labkit_data / "spiking" / "SOURCE.md").read_text()
    assert f"{entry.sha256}  {entry.file}\n" in notes
    assert datasets.path(name).stat().st_size == entry.size


@pytest.mark.parametrize(
    "name", [name for name in datasets.names() if name.startswith("llm_parallel/")]
)
def test_checksums_of_measured_runs_are_those_of_the_notes_beside_them(labkit_data, name):
    entry = datasets.get(name)
    notes = (labkit_data / "llm_parallel" / "SOURCE.md").read_text()
    assert f"{entry.sha256}  {entry.file}\n" in notes
    file = datasets.path(name)
    assert file.stat().st_size == entry.size
    header = 0 if entry.short_name == "tinyshakespeare" else 1
    assert len(file.read_text().splitlines()) == entry.rows + header


@pytest.mark.parametrize("entry", datasets.REGISTRY.values(), ids=lambda entry: entry.name)
def test_entries_are_complete_and_point_at_bytes_that_cannot_change(entry):
    assert re.fullmatch(r"[a-z_]+/[a-z0-9_]+", entry.name)
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.url_sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.url_sha256)
    if entry.url is None:
        assert entry.obtain
    else:
        assert re.fullmatch(r"https://.+/[0-9a-f]{40}/.+", entry.url)
        assert entry.url.endswith(".gz") or entry.url_sha256 == entry.sha256
    assert entry.download_name in entry.file_names
    assert entry.license
    assert entry.citation
    assert 0 < entry.size < 50e6
    assert entry.rows > 0


def test_full_and_short_names_mean_the_same():
    for name in datasets.names():
        assert datasets.get(name) is datasets.get(name.split("/")[1])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sidre", "Did you mean 'sider'?"),
        ("SIDER", "Did you mean 'sider'?"),
        ("hotspots/tox21", "Did you mean 'tox21'?"),
        ("", "Known: biogen_adme, cdk2_affinities, cdk2_ligands, cdk2_protein, clintox, hif2a_"),
        ("hotspots/tyk2_ligand", "Did you mean 'tyk2_ligands'?"),
        ("qm9", "Known: "),
        ("../../etc/passwd", "Known: "),
    ],
)
def test_unknown_name_is_answered_with_what_exists(name, hint):
    with pytest.raises(ParameterError, match=re.escape(hint)) as caught:
        datasets.get(name)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LabkitError)
    assert repr(name) in str(caught.value)


def test_short_name_of_two_studies_must_be_made_full(monkeypatch):
    sider = datasets.get("sider")
    twin = registry.Dataset(**{**vars(sider), "name": "hotspots/sider"})
    monkeypatch.setattr(registry, "REGISTRY", {d.name: d for d in (sider, twin)})
    with pytest.raises(ParameterError, match=r"oversampling/sider, hotspots/sider. Give the full"):
        registry.get("sider")
    assert registry.get("hotspots/sider") is twin


def test_importing_datasets_is_cheap():
    script = "import sys, labkit.datasets; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "labkit.datasets.registry" in loaded
    assert not {"pooch", "requests", "pandas", "numpy", "torch"}.intersection(loaded)
