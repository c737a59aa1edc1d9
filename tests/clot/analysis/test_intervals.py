import numpy as np
import pytest
from scipy import stats

from labkit.clot.analysis.intervals import Interval, mean_interval, relative_error
from labkit.errors import ParameterError

N_RUNS, N_ENSEMBLES = 5, 1500


def covered(intervals, truth):
    return np.mean([one.low <= truth <= one.high for one in intervals])


def binomial(share, k=3):
    """k standard errors of a share that is counted over the ensembles."""
    return k * np.sqrt(share * (1 - share) / N_ENSEMBLES)


def test_intervals_of_five_runs_hold_what_they_claim():
    """Normal ensembles whose means differ by 2 % with a spread of 3 %, the case of the study.

    Student's interval with Welch's degrees of freedom is slightly wide for so few runs, hence the
    2 % above.
    """
    rng = np.random.default_rng(0)
    found = [
        relative_error(
            rng.normal(1.02, 0.03, N_RUNS),
            rng.normal(1, 0.03, N_RUNS),
            paired=False,
            n_resamples=400,
            seed=k,
        )
        for k in range(N_ENSEMBLES)
    ]
    share = covered(found, 0.02)
    assert 0.95 - binomial(0.95) <= share <= 0.97 + binomial(0.97)


def test_intervals_of_five_pairs_hold_what_they_claim():
    rng = np.random.default_rng(1)
    found = []
    for k in range(N_ENSEMBLES):
        start = rng.normal(1, 0.2, N_RUNS)
        values, reference = start * rng.normal(1.02, 0.01, N_RUNS), start
        found.append(relative_error(values, reference, paired=True, n_resamples=400, seed=k))
    assert covered(found, 0.02) == pytest.approx(0.95, abs=binomial(0.95) + 0.01)


def test_percentiles_of_the_bootstrap_would_claim_too_much():
    """The reason for the corrections; scipy's interval is the one that is not corrected."""
    rng = np.random.default_rng(2)
    hits = 0
    for k in range(300):
        sample = rng.normal(1, 0.03, N_RUNS)
        plain = stats.bootstrap(
            (sample,), np.mean, n_resamples=400, method="percentile", rng=np.random.default_rng(k)
        ).confidence_interval
        hits += plain.low <= 1 <= plain.high
    assert hits / 300 < 0.90


def test_standard_error_is_that_of_scipys_bootstrap_without_its_bias():
    rng = np.random.default_rng(3)
    a, b = rng.normal(5, 1, 8), rng.normal(4, 1, 8)

    def statistic(x, y, axis=-1):
        return x.mean(axis=axis) / y.mean(axis=axis) - 1

    for paired in (True, False):
        theirs = stats.bootstrap(
            (a, b), statistic, paired=paired, n_resamples=20_000, method="percentile", rng=rng
        ).standard_error
        ours = relative_error(a, b, paired=paired, n_resamples=20_000).error
        assert ours * np.sqrt(7 / 8) == pytest.approx(theirs, rel=0.03)


def test_pairs_cancel_what_they_share():
    rng = np.random.default_rng(4)
    start = rng.normal(1, 0.3, N_RUNS)
    values = start * rng.normal(1.02, 0.001, N_RUNS)
    together = relative_error(values, start, paired=True)
    apart = relative_error(values, start, paired=False)
    assert together.estimate == apart.estimate
    assert together.error < 0.02 * apart.error


def test_mean_interval_is_students():
    values = [1.0, 2.0, 4.0, 4.5]
    ours = mean_interval(values, confidence=0.9)
    low, high = stats.t.interval(0.9, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_ensembles_that_are_equal_have_no_error_even_at_zero():
    zero = relative_error([0.0, 0.0], [0.0, 0.0], paired=False)
    assert (zero.estimate, zero.low, zero.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([1.0]), "two or more"),
        (lambda: mean_interval([1.0, np.nan]), "finite"),
        (lambda: relative_error([1, 2], [1, 2, 3], paired=True), "paired=False"),
        (lambda: Interval.around(1, 1, 3, confidence=95), "confidence=95"),
    ],
)
def test_what_is_no_ensemble_is_refused(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
