"""What the accuracies of several seeds say of the mean over all seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def summarize(values: Sequence[float], gate: float | None = None) -> dict:
    """Mean, spread and Student's t of runs that differ by their seed alone.

    Args:
        values: One number per seed, such as the test accuracy in 0..1.
        gate: The mean to beat.

    Returns:
        `n`, `mean`, `least`, `most`; `sd`, the standard deviation with `n - 1`
        below the sum; `interval`, the lower and upper end of the mean's 95%
        interval, `mean -+ t sd / sqrt(n)`; and with a gate `p`, the
        probability that `n` runs whose true mean is the gate have such a mean
        or a higher one.  The last three are None for one run, and `interval`
        and `p` also for runs that are all equal: they tell of no spread.

    Example:

    ```python
    summarize([0.9402, 0.9391, 0.9411], gate=0.94)["p"]  # 0.42
    ```
    """
    values = np.asarray(values, "float64")
    n = len(values)
    mean = values.mean()
    sd = values.std(ddof=1) if n > 1 else None
    summary = {
        "n": n,
        "mean": float(mean),
        "least": float(values.min()),
        "most": float(values.max()),
        "sd": None if sd is None else float(sd),
        "interval": None,
    }
    if gate is not None:
        summary |= {"gate": gate, "p": None}
    if sd:
        error = sd / math.sqrt(n)
        half = stats.t.ppf(0.975, n - 1) * error
        summary["interval"] = [float(mean - half), float(mean + half)]
        if gate is not None:
            summary["p"] = float(stats.t.sf((mean - gate) / error, n - 1))
    return summary


def print_report(results: Sequence[dict], accuracy: dict) -> None:
    """Prints two tables in Markdown: the seeds, and what they say together.

    Args:
        results: Per seed, its `seed`, and by name its `accuracy` and `seconds`.
        accuracy: By name, the `summarize` of the accuracies.
    """
    seconds = results[0]["seconds"]
    _print_table(
        "seed",
        *(f"{name}, %" for name in accuracy),
        *(f"{part}, s" for part in seconds),
        rows=[
            (
                result["seed"],
                *(f"{100 * result['accuracy'][name]:.2f}" for name in accuracy),
                *(f"{result['seconds'][part]:.1f}" for part in seconds),
            )
            for result in results
        ],
    )
    print()
    _print_table(
        "accuracy, %",
        "n",
        "mean",
        "sd",
        "95% interval",
        "least to most",
        "p against the gate",
        rows=[
            (
                name,
                s["n"],
                _percent(s["mean"]),
                _percent(s["sd"]),
                _percent(*(s["interval"] or [None])),
                _percent(s["least"], s["most"]),
                f"{s['p']:.2g}" if s.get("p") is not None else "-",
            )
            for name, s in accuracy.items()
        ],
    )


def _percent(*values):
    if None in values:
        return "-"
    return " to ".join(f"{100 * value:.3f}" for value in values)


def _print_table(*head, rows):
    for row in (head, ["---"] * len(head), *rows):
        print("|", " | ".join(map(str, row)), "|")
