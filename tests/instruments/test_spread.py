import numpy as np
import pytest

stats = pytest.importorskip("scipy.stats")

from spread import summarize  # noqa: E402


def test_summary_of_the_sleep_data():
    # The differences of Student's paper of 1908; the figures are those that
    # R's help page of `t.test` prints for `sleep`.
    values = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    summary = summarize(values, gate=0.0)
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
    equal = summarize([0.5, 0.5], gate=0.93)
    assert equal["sd"] == 0
    assert equal["interval"] is equal["p"] is None
