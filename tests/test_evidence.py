import sys

import numpy as np
import pytest

stats = pytest.importorskip("scipy.stats")

from keras_davidnet.evidence import compare, summarize  # noqa: E402

# Student's data of 1908, R's `sleep`; the figures are those that R's `t.test`
# prints for it.
ONE = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
TWO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_summary_of_the_sleep_data():
    summary = summarize(np.subtract(TWO, ONE), gate=0.0)
    assert summary["n"] == 10
    assert summary["mean"] == pytest.approx(1.58)
    assert summary["sd"] == pytest.approx(1.229995, abs=1e-6)
    assert summary["interval"] == pytest.approx(
        [0.7001142, 2.4598858], abs=1e-7
    )
    assert summary["p"] == pytest.approx(0.002833 / 2, abs=5e-7)
    assert (summary["least"], summary["most"]) == (0.0, 4.6)


@pytest.mark.parametrize("gate", [0.93, 0.94, 0.95])
def test_summary_matches_scipy(rng, gate):
    values = rng.normal(0.94, 0.002, 7)
    summary = summarize(values, gate)
    test = stats.ttest_1samp(values, gate, alternative="greater")
    assert summary["p"] == pytest.approx(test.pvalue, rel=1e-9)
    low, high = stats.ttest_1samp(values, gate).confidence_interval(0.95)
    assert summary["interval"] == pytest.approx([low, high], rel=1e-12)


def test_interval_holds_the_mean_19_times_in_20(rng):
    draws = rng.normal(0.94, 0.002, (4000, 4))
    ends = np.array([summarize(values)["interval"] for values in draws])
    held = (ends[:, 0] < 0.94) & (0.94 < ends[:, 1])
    # Five standard errors.
    assert abs(held.mean() - 0.95) < 5 * (0.95 * 0.05 / 4000) ** 0.5


def test_no_spread_no_interval():
    one = summarize([0.94], gate=0.93)
    assert one["sd"] is one["interval"] is one["p"] is None
    for values in ([0.5, 0.5], [0.1, 0.1, 0.1]):  # three times 0.1 is not 0.3
        equal = summarize(values, gate=0.05)
        assert equal["sd"] == 0
        assert equal["interval"] is equal["p"] is None


def test_comparison_of_the_sleep_data():
    pairs = compare(TWO, ONE)
    assert pairs["mean"] == pytest.approx(1.58)
    assert pairs["sd"] == pytest.approx(1.229995, abs=1e-6)
    assert pairs["p"] == pytest.approx(0.002833, abs=5e-7)
    assert pairs["interval"] == pytest.approx([0.7001142, 2.4598858], abs=1e-7)
    apart = compare(ONE, TWO, paired=False)
    assert apart["mean"] == pytest.approx(-1.58)
    assert apart["p"] == pytest.approx(0.07939, abs=5e-6)
    assert apart["interval"] == pytest.approx([-3.3654832, 0.2054832], abs=1e-7)


@pytest.mark.parametrize(
    "paired, difference, runs",
    # G*Power's, for effects of half a deviation and of a whole one.
    [(True, 0.5, 34), (False, 0.5, 64), (False, 1.0, 17)],
)
def test_runs_needed(paired, difference, runs):
    one = np.array([-1, 1]) / 2**0.5
    two = 0 * one if paired else one
    result = compare(one, two, paired, difference)
    assert result["runs_needed"] == runs


def test_runs_needed_find_the_difference(rng):
    needed = compare([0.9, 0.91], [0.9, 0.91], False, 0.01)["runs_needed"]
    sd = 0.005**0.5 / 10  # that of the numbers above
    a = rng.normal(0.91, sd, (2000, needed))
    b = rng.normal(0.90, sd, (2000, needed))
    found = stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue < 0.05
    assert 0.77 < found.mean() < 0.9


def test_nothing_to_compare():
    # The differences of the last differ by rounding.
    for a, b in (([1], [2]), ([1, 1], [2, 2]), ([0.3, 0.2], [1.3, 1.2])):
        result = compare(a, b, difference=1)
        assert result["mean"] == pytest.approx(-1)
        assert result["interval"] is result["p"] is None
        assert result["runs_needed"] is None


def test_bad_values():
    with pytest.raises(ValueError, match="values.*finite.*nan"):
        summarize([0.9, np.nan])
    with pytest.raises(ValueError, match="a number for each run"):
        summarize([])
    with pytest.raises(ValueError, match="Received: 2 and 3 numbers"):
        compare([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="difference=0"):
        compare([1, 2], [1, 3], difference=0)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert summarize([1.0])["mean"] == 1
    with pytest.raises(ImportError, match="pip install scipy"):
        summarize([1.0, 2.0])
