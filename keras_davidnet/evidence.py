"""What a few runs say about the mean over all seeds.  Needs SciPy."""

import bisect
import math
from collections.abc import Sequence

import numpy as np

from keras_davidnet._checks import check_number, check_numbers


def summarize(
    values: Sequence[float] | np.ndarray, gate: float | None = None
) -> dict:
    """Mean, spread and Student's t of runs that differ by their seed alone.

    Args:
        values: One number per run, such as the test accuracy in 0..1.
        gate: The mean to beat.

    Returns:
        `n`, `mean`, `least`, `most`; `sd`, the standard deviation with `n - 1`
        below the sum; `interval`, the lower and upper end of the mean's 95%
        interval, `mean -+ t sd / sqrt(n)`; and with a gate `p`, the
        probability that `n` runs whose true mean is the gate have such a mean
        or a higher one.  The last three are None for one run, and `interval`
        and `p` also for runs that are all equal: they tell of no spread.

    Raises:
        ValueError: If `values` are not finite numbers, or there are none.
        ImportError: If SciPy is missing.

    Example:

    ```python
    summarize([0.9402, 0.9391, 0.9411], gate=0.94)["p"]  # 0.42
    ```
    """
    numbers = _check_values("values", values)
    n = len(numbers)
    mean = numbers.mean()
    sd = _standard_deviation(numbers) if n > 1 else None
    summary = {
        "n": n,
        "mean": float(mean),
        "least": float(numbers.min()),
        "most": float(numbers.max()),
        "sd": sd,
        "interval": None,
    }
    if gate is not None:
        summary |= {"gate": check_number("gate", gate), "p": None}
    if sd:
        t = _stats().t(n - 1)
        error = sd / math.sqrt(n)
        half = t.ppf(0.975) * error
        summary["interval"] = [float(mean - half), float(mean + half)]
        if gate is not None:
            summary["p"] = float(t.sf((mean - gate) / error))
    return summary


def compare(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    paired: bool = True,
    difference: float | None = None,
) -> dict:
    """How far the mean of one kind of runs lies above that of another.

    Args:
        a, b: One number per run.
        paired: Whether `a[i]` and `b[i]` are of one seed, which makes a
            difference easier to see where the seed moves both.  The test is
            Student's for pairs, otherwise Welch's.
        difference: A true difference of the means that the runs should find.

    Returns:
        `mean`, that of `a` minus that of `b`; `sd`, the standard deviation of
        the difference between a run of `a` and one of `b`; `interval`, the
        lower and upper end of the 95% interval of `mean`; `p`, the probability
        of a difference at least as large, up or down, if the true means were
        equal; and with a `difference` `runs_needed`, the number of runs of each
        kind with which such a difference has `p < 0.05` in four cases of five.
        All but `mean` are None where the runs tell of no spread.

    Raises:
        ValueError: If `a` or `b` are not finite numbers, there are none, or
            they are paired and not equally many.
        ImportError: If SciPy is missing.

    Example:

    ```python
    compare([0.942, 0.940, 0.943], [0.940, 0.939, 0.940])["p"]  # 0.074
    ```
    """
    first, second = _check_values("a", a), _check_values("b", b)
    if paired and len(first) != len(second):
        raise ValueError(
            "Pairs need equally many numbers of both kinds; for others give "
            f"`paired=False`. Received: {len(first)} and {len(second)} numbers"
        )
    result = {
        "mean": float(first.mean() - second.mean()),
        "sd": None,
        "interval": None,
        "p": None,
    }
    if difference is not None:
        check_number("difference", difference, gt=0)
        result["runs_needed"] = None
    if min(len(first), len(second)) < 2:
        return result
    result["sd"] = sd = (
        _standard_deviation(first - second, abs(first).max())
        if paired
        else math.hypot(*map(_standard_deviation, (first, second)))
    )
    if not sd:
        return result
    stats = _stats()
    test = (
        stats.ttest_rel(first, second)
        if paired
        else stats.ttest_ind(first, second, equal_var=False)
    )
    result["interval"] = [float(end) for end in test.confidence_interval(0.95)]
    result["p"] = float(test.pvalue)
    if difference is not None:

        def power(n):
            freedom = n - 1 if paired else 2 * n - 2
            shift = difference / sd * math.sqrt(n)
            limit = stats.t.ppf(0.975, freedom)
            found = stats.nct.sf([limit, -limit], freedom, shift)
            return found[0] + 1 - found[1]

        result["runs_needed"] = 2 + bisect.bisect_left(
            range(2, 2**60), 0.8, key=power
        )
    return result


def _standard_deviation(values, size=None):
    """0 where values differ by rounding errors of numbers of that size."""
    size = abs(values).max() if size is None else size
    differ = np.ptp(values) > 1e-12 * size
    return float(values.std(ddof=1)) if differ else 0.0


def _check_values(name, values):
    values = np.array(check_numbers(name, values))
    if not values.size:
        raise ValueError(
            f"`{name}` must hold a number for each run. Received: {name}=[]"
        )
    return values


def _stats():
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError(
            "keras_davidnet.evidence needs SciPy: pip install scipy"
        ) from error
    return stats
