"""Windows of time: every image is the frames it says, replicas and held-out time stay apart."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import ParameterError
from labkit.hotspots.contacts import ContactMatrices, soft_contacts
from labkit.hotspots.temporal import (
    MIN_WINDOWS,
    atom_windows,
    replica_runs,
    temporal_channels,
    time_blocks,
)


def contacts(n_frames: int, n_atoms: int = 3, n_residues: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n_frames, n_atoms, n_residues), dtype=np.float32)


def by_hand(C: np.ndarray, window: int, stride: int, replica: np.ndarray) -> list[np.ndarray]:
    """All windows in which no two frames differ in replica, by looking at every frame."""
    found = []
    for r in dict.fromkeys(replica.tolist()):
        frames = np.flatnonzero(replica == r)
        for k in range(0, len(frames) - window + 1, stride):
            found.append(C[frames[k : k + window]].transpose(1, 0, 2))
    return found


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    window=st.integers(1, 12),
    stride=st.integers(1, 7),
)
@settings(max_examples=60, deadline=None)
def test_windows_are_those_found_frame_by_frame(lengths, window, stride):
    replica = np.repeat(np.arange(len(lengths)), lengths)
    C = contacts(len(replica))
    expected = by_hand(C, window, stride, replica)
    if not expected:
        with pytest.raises(ParameterError, match=f"window={window} .* {max(lengths)} frame"):
            atom_windows(C, window=window, stride=stride, replica=replica)
        return
    windows = atom_windows(C, window=window, stride=stride, replica=replica)
    np.testing.assert_array_equal(windows.images, np.stack(expected, axis=1))
    for start, r in zip(windows.starts, windows.replica, strict=True):
        assert set(replica[start : start + window]) == {r}


def test_flat_images_belong_to_the_atom_and_window_that_the_index_says():
    windows = atom_windows(contacts(50), window=8, stride=3)
    flat = windows.flat()
    assert flat.shape == (windows.n_images, *windows.input_shape) == (3 * 15, 1, 8, 4)
    for k in (0, 14, 15, 44):
        np.testing.assert_array_equal(
            flat[k, 0], windows.images[windows.atom_index[k], windows.time_index[k]]
        )
    some = np.array([44, 3, 3, 20])
    np.testing.assert_array_equal(windows.take(some), flat[some])


def test_windows_of_one_trajectory_share_the_memory_of_its_frames():
    windows = atom_windows(contacts(1000), window=16, stride=1)
    # Frame 1 is the second of window 0 and the first of window 1: the same bytes.
    assert np.shares_memory(windows.images[:, 0, 1], windows.images[:, 1, 0])
    assert not windows.images.flags.writeable


def test_distances_are_made_soft_contacts_and_bring_their_replicas():
    distances = contacts(40) * 8
    distances[distances > 6] = np.inf
    matrices = ContactMatrices(
        distances=distances,
        cutoff=8.0,
        atom_names=("C1", "C2", "C3"),
        residue_labels=("A1", "A2", "A3", "A4"),
        residue_indices=np.arange(4),
        frames=np.arange(40),
        replica=np.repeat([0, 1], 20),
    )
    windows = atom_windows(matrices, window=16, stride=4)
    np.testing.assert_array_equal(windows.starts, [0, 4, 20, 24])
    expected = soft_contacts(distances)[20:36, 1]
    np.testing.assert_allclose(windows.images[1, 2], expected, rtol=1e-6)
    assert windows.images[np.isinf(windows.images)].size == 0


def test_a_replica_shorter_than_a_window_is_left_out_and_named():
    windows = atom_windows(contacts(50), replica=np.repeat([0, 1, 2], [30, 5, 15]), window=10)
    assert set(windows.replica) == {0, 2}
    assert any("1 (5 frames)" in note for note in windows.notes)


def test_few_windows_are_noted_for_the_ranking():
    few = atom_windows(contacts(60), window=16, stride=4)
    many = atom_windows(contacts(16 + 4 * (MIN_WINDOWS - 1)), window=16, stride=4)
    assert any(f"{few.n_windows} windows" in note for note in few.notes)
    assert many.notes == ()


@pytest.mark.parametrize(("stride", "counted"), [(1, 55), (2, 55), (4, 55), (5, 44), (16, 14)])
def test_windows_closer_than_a_quarter_of_their_length_are_not_counted(stride, counted):
    """Of 235 frames: starts 0..219, one counted every max(stride, 16 / 4) frames."""
    windows = atom_windows(contacts(235, 1, 1), window=16, stride=stride)
    assert windows.n_counted == counted
    assert any(f"Only {counted} windows" in note for note in windows.notes)


def test_windows_of_replicas_are_counted_one_by_one():
    replica = np.repeat([0, 1, 2], [40, 30, 10])
    windows = atom_windows(contacts(80), window=14, stride=1, replica=replica)
    assert windows.n_counted == (1 + 26 // 4) + (1 + 16 // 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 21}, r"window=21 .* trajectory has 20 frames\. Use a window of at most 4"),
        ({"window": 21, "replica": np.repeat([0, 1], [12, 8])}, r"longest replica has 12 frames"),
        ({"window": 0}, "window=0"),
        ({"stride": 0}, "stride=0"),
        ({"replica": np.zeros(5)}, r"replica has shape \(5,\) for 20 frames"),
    ],
)
def test_windows_that_cannot_be_cut_name_both_numbers(options, message):
    with pytest.raises(ParameterError, match=message):
        atom_windows(contacts(20), **options)


def test_contacts_that_are_nan_or_distances_are_refused():
    C = contacts(20)
    C[7, 1, 2] = np.nan
    with pytest.raises(ParameterError, match="1 frames are nan, the first is frame 7"):
        atom_windows(C)
    with pytest.raises(ParameterError, match="soft_contacts"):
        atom_windows(contacts(20) * 8)
    with pytest.raises(ParameterError, match=r"\(20, 3, 0\)"):
        atom_windows(np.zeros((20, 3, 0)))


@given(
    n_frames=st.integers(40, 300),
    window=st.integers(1, 12),
    stride=st.integers(1, 8),
    seed=st.integers(0, 5),
    share=st.sampled_from([0.1, 0.2, 0.4, 0.6]),
)
@settings(max_examples=60, deadline=None)
def test_no_frame_is_both_trained_on_and_validated_on(n_frames, window, stride, seed, share):
    windows = atom_windows(contacts(n_frames, 1, 1), window=window, stride=stride)
    try:
        train, valid = time_blocks(windows, validation=share, seed=seed)
    except ParameterError:
        assert n_frames // 5 < window + stride
        return
    frames = windows.starts[:, None] + np.arange(window)
    assert not set(frames[train].ravel()) & set(frames[valid].ravel())
    assert not (train & valid).any()
    # At each of at most 6 borders, only windows that cross it are lost.
    assert (~train & ~valid).sum() <= 6 * -(-window // stride)


def test_validation_is_whole_blocks_of_time():
    windows = atom_windows(contacts(500, 1, 1), window=10, stride=1)
    _, valid = time_blocks(windows, validation=0.4, n_blocks=5, seed=3)
    held_out = set((windows.starts[valid, None] + np.arange(10)).ravel() // 100)
    assert len(held_out) == 2
    assert valid.sum() in (2 * 91, 191)  # two blocks of 100 frames, apart or side by side


def test_blocks_shorter_than_a_window_are_refused():
    windows = atom_windows(contacts(40, 1, 1), window=16)
    with pytest.raises(ParameterError, match=r"40 frames are too few .*at least 92 frames"):
        time_blocks(windows)
    with pytest.raises(ParameterError, match="validation=1"):
        time_blocks(windows, validation=1.0)


def told(pattern: str, C: np.ndarray, **options) -> int:
    """The number that the message of an error advises."""
    with pytest.raises(ParameterError) as info:
        time_blocks(atom_windows(C, **options))
    return int(re.search(pattern, str(info.value))[1])


@pytest.mark.parametrize(("n_frames", "stride"), [(225, 4), (100, 1), (61, 7)])
def test_a_window_as_long_as_advised_leaves_time_to_hold_out_and_a_longer_one_does_not(
    n_frames, stride
):
    C = contacts(n_frames, 1, 1)
    longest = told(r"window of at most (\d+)", C, window=500, stride=stride)
    time_blocks(atom_windows(C, window=longest, stride=stride))
    with pytest.raises(ParameterError, match="too few"):
        time_blocks(atom_windows(C, window=longest + 1, stride=stride))


@given(window=st.integers(2, 20), stride=st.integers(1, 9), n_replicas=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_as_many_frames_as_advised_or_more_are_enough_and_one_less_is_not(
    window, stride, n_replicas
):
    def cut(n_frames: int):
        replica = np.repeat(np.arange(n_replicas), n_frames)
        C = np.zeros((n_replicas * n_frames, 1, 1), np.float32)
        return time_blocks(atom_windows(C, window=window, stride=stride, replica=replica))

    replica = np.arange(n_replicas)
    C = np.zeros((n_replicas, 1, 1))
    needed = told(r"least (\d+) frames", C, window=window, stride=stride, replica=replica)
    for n_frames in range(needed, needed + 40):
        cut(n_frames)
    with pytest.raises(ParameterError):
        cut(needed - 1)


def test_a_single_structure_is_told_to_be_a_trajectory():
    with pytest.raises(ParameterError, match=r"1 frame: .* give a trajectory.* least 92 f"):
        atom_windows(contacts(1))


@pytest.mark.parametrize("lag", [1, 3, 25])
def test_channels_are_those_of_a_loop_over_frames(lag):
    replica = np.repeat([0, 1], [23, 17])
    C = contacts(40)
    difference = temporal_channels(C, kind="difference", lag=lag, replica=replica)
    moments = temporal_channels(C, kind="window_moments", lag=lag, replica=replica)
    for t in range(40):
        first = 0 if t < 23 else 23
        before = C[t - lag] if t - lag >= first else C[t]
        np.testing.assert_allclose(difference[t, 1], np.abs(C[t] - before), atol=1e-7)
        past = C[max(first, t - lag + 1) : t + 1]
        np.testing.assert_allclose(moments[t, 0], past.mean(axis=0), atol=1e-6)
        # A variance from running sums of 40 numbers below 1 is off by 1e-14 at most.
        np.testing.assert_allclose(moments[t, 1], past.std(axis=0), atol=2e-6)
    np.testing.assert_array_equal(difference[:, 0], C)


def test_a_frame_without_channels_is_itself_and_unknown_channels_are_refused():
    C = contacts(10)
    np.testing.assert_array_equal(temporal_channels(C)[:, 0], C)
    with pytest.raises(ParameterError, match="temporal='speed'"):
        temporal_channels(C, kind="speed")
    with pytest.raises(ParameterError, match="lag=0"):
        temporal_channels(C, kind="difference", lag=0)


def test_runs_of_replicas_cover_all_frames_once():
    assert replica_runs(np.array([0, 0, 1, 2, 2, 2])) == [(0, 2, 0), (2, 3, 1), (3, 6, 2)]
