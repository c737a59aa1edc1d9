"""Data sets on this machine: which folder wins, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from labkit import datasets
from labkit.datasets.local import content_problem
from labkit.errors import MissingDataError, ParameterError


@pytest.fixture
def prepared_folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    (folder / "toxins").mkdir(parents=True)
    monkeypatch.setenv("LABKIT_DATA", str(folder))
    return folder


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_prepared_folder_is_used_before_cache_and_network(
    offered, server, prepared_folder, table, compressed, name
):
    file = prepared_folder / "toxins" / name
    file.write_bytes(compressed if name.endswith("gz") else table)
    assert datasets.path(offered("absent.csv")) == file
    assert not server.requests


def test_file_that_the_prepared_folder_lacks_comes_from_the_cache(
    offered, server, prepared_folder, cache
):
    assert datasets.path(offered()).is_relative_to(cache)
    assert datasets.path(offered()).is_relative_to(cache)
    assert server.requests["good.csv"] == 1


def test_wrong_file_in_the_prepared_folder_is_an_error_not_a_download(
    offered, server, prepared_folder
):
    (prepared_folder / "toxins" / "table.csv").write_bytes(b"smiles,toxic\nC,0\n")
    with pytest.raises(MissingDataError, match=r"is not the registered toxins/table: its content"):
        datasets.path(offered())
    assert not server.requests


def test_file_edited_after_its_first_use_is_noticed(offered, prepared_folder, table):
    file = prepared_folder / "toxins" / "table.csv"
    file.write_bytes(table)
    datasets.path(offered())
    file.write_bytes(table + b"CC,0\n")
    with pytest.raises(MissingDataError, match="sha256"):
        datasets.path(offered())


def test_prepared_folder_that_does_not_exist_is_an_error(offered, cache, monkeypatch):
    monkeypatch.setenv("LABKIT_DATA", str(cache / "typo"))
    with pytest.raises(MissingDataError, match=r"LABKIT_DATA=.*typo is not a folder"):
        datasets.path(offered())


def test_home_folder_may_be_abbreviated(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LABKIT_DATA", "~")
    monkeypatch.setenv("LABKIT_CACHE", "~/cache")
    assert datasets.data_folder() == tmp_path
    assert datasets.cache_folder() == tmp_path / "cache"


def test_cache_without_its_variable_is_the_users_own(monkeypatch):
    monkeypatch.delenv("LABKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert datasets.cache_folder() == Path("/somewhere/labkit")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (lambda body: body, ""),
        (lambda body: body[: len(body) // 2], "truncated"),
        (lambda body: body[:-1], "truncated"),
        (lambda _: b"", "sha256 e3b0c44298fc"),
        (lambda _: b"not gzip", "not a gzip file"),
        (lambda body: body + gzip.compress(b"CC,0\n"), "sha256"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(offered, tmp_path, compressed, content, problem):
    file = tmp_path / "table.csv.gz"
    file.write_bytes(content(compressed))
    said = content_problem(file, offered())
    assert problem in said
    assert bool(said) == bool(problem)


def test_unreadable_file_is_said_to_be_unreadable(offered, tmp_path):
    assert "cannot be read" in content_problem(tmp_path, offered())


def test_folder_that_cannot_be_searched_is_an_error_of_one_line(offered, cache):
    (cache / "toxins").mkdir(parents=True)
    unsearchable = datasets.Dataset(**{**vars(offered()), "file": "x" * 300})
    with pytest.raises(MissingDataError, match=r"cannot look for .* in .*: File name too long\."):
        datasets.path(unsearchable)


def test_status_and_verify_tell_present_missing_and_wrong_apart(cache, tmp_path, monkeypatch):
    (cache / "oversampling").mkdir(parents=True)
    wrong = cache / "oversampling" / "sider.csv"
    wrong.write_bytes(b"smiles\n")
    present, missing = datasets.status(["sider", "oversampling/tox21"])
    assert (present.state, present.source, present.location) == ("present", "cache", wrong)
    assert present.size == 7
    assert (missing.state, missing.source, missing.location) == ("missing", "", None)
    assert missing.size == datasets.get("tox21").size
    assert [row.state for row in datasets.verify(["sider", "tox21"])] == ["wrong", "missing"]
    assert [row.name for row in datasets.status()] == datasets.names()
    assert datasets.status([]) == []


def test_status_of_an_unknown_name_is_refused():
    with pytest.raises(ParameterError):
        datasets.verify(["sidre"])
