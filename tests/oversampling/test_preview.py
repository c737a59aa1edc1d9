"""The preview shows what the study itself will do."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.errors import ParameterError


def test_preview_resamples_exactly_as_the_study_does(small_study):
    first = small_study.results.resampling.query("seed == 0").set_index("sampler")
    for sampler, rows in small_study.preview.resampled.items():
        assert rows.summary()["n_after"] == first.loc[sampler, "n_after"]
        assert rows.summary()["mean_ir_after"] == pytest.approx(first.loc[sampler, "mean_ir_after"])


def test_preview_holds_training_molecules_only(small_study):
    parts = small_study.results.splits[0]
    np.testing.assert_array_equal(
        small_study.preview.train.canonical, small_study.table.canonical[parts.train]
    )


def test_synthetic_rows_keep_their_own_fingerprints(small_study):
    picture = small_study.preview.chemical_space("MLSMOTE")
    seeds = picture["fingerprints"][picture["source"]]
    synthetic = picture["is_synthetic"]
    np.testing.assert_array_equal(picture["resampled"][~synthetic], seeds[~synthetic])
    assert (picture["resampled"][synthetic] != seeds[synthetic]).any()


def test_a_sampler_that_is_not_part_of_the_study_is_named_with_those_that_are(small_study):
    with pytest.raises(ParameterError, match="'MLSOL' is not part of this study, which has MLROS"):
        small_study.preview.source_rows("MLSOL")
