"""Damage of any kind to a file of arrays is one kind of error, wherever the file is read."""

import numpy as np
import pytest

from labkit.clot.control.learned import ErrorNetwork
from labkit.clot.labels import LabelTable
from labkit.clot.npz import read_arrays
from labkit.clot.state import Snapshot
from labkit.errors import ParameterError


def damaged(kind, whole):
    middle = len(whole) // 2
    return {
        "empty": b"",
        "text": b"hello",
        "cut": whole[:middle],
        "altered": whole[:middle] + bytes(40) + whole[middle + 40 :],
        "pickled": b"\x80\x04N.",
    }[kind]


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, about="words", values=np.random.default_rng(0).normal(size=(200, 3)))
    return path


def test_arrays_come_back_as_they_were(written):
    with np.load(written) as stored:
        np.testing.assert_array_equal(read_arrays(written)["values"], stored["values"])
    assert str(read_arrays(written)["about"]) == "words"


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "altered", "pickled"])
@pytest.mark.parametrize("load", [Snapshot.load, LabelTable.load, ErrorNetwork.load])
def test_a_damaged_file_is_named(written, kind, load):
    written.write_bytes(damaged(kind, written.read_bytes()))
    with pytest.raises(ValueError, match="it is"):
        read_arrays(written)
    with pytest.raises(ParameterError, match=r"arrays\.npz.* cannot be read"):
        load(written)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ParameterError, match=r"none\.npz"):
        Snapshot.load(tmp_path / "none.npz")


def test_a_folder_without_labels_is_named(tmp_path):
    with pytest.raises(ParameterError, match="it has no labels of a whole trajectory"):
        LabelTable.load(tmp_path)
