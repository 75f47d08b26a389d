"""The picture of a benchmark, from what its JSON holds."""

import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from benchmarking.report import name, peak_gb, ratios_of, speeds


def save_picture(report: dict, path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    by_width, ratios, by_batch, fits = axes.flat

    by_name = {}
    for results in report["comparisons"]:
        for result in results:
            if result["batch"] == results[0]["batch"]:
                by_name.setdefault(name(result), []).append(result)
    for label, results in by_name.items():
        _plot_speeds(by_width, results, "width", label=label)
    by_width.set(title="images a second", xlabel="width", yscale="log")
    by_width.legend(fontsize="x-small", loc="upper right")

    for results in report["comparisons"]:
        for one, other, values in ratios_of(results):
            label = f"{name(one)} / {name(other)}\nwidth {one['width']}"
            ratios.plot(
                values, [label] * len(values), "o", color="C0", alpha=0.4
            )
            ratios.plot(
                statistics.median(values), label, "|", color="C3", ms=16
            )
    ratios.axvline(1, color="grey")
    ratios.set(title="ratios, round by round; median red")
    ratios.invert_yaxis()
    ratios.tick_params(axis="y", labelsize="small")

    first = report["comparisons"][0][0]
    batches = sorted(
        (r for r in report["comparisons"][0] if name(r) == name(first)),
        key=lambda r: r["batch"],
    )
    _plot_speeds(by_batch, batches, "batch")
    by_batch.set(
        title=f"{name(first)} at width {first['width']}",
        xlabel="batch size",
        ylabel="images a second",
        ylim=(0, None),
    )
    memory = by_batch.twinx()
    memory.plot(
        [r["batch"] for r in batches],
        [peak_gb(r) for r in batches],
        "s--",
        color="C1",
    )
    memory.set(ylabel="peak memory, GB (dashed)", ylim=(0, None))

    resident = [n / 1e9 for n in report["resident_bytes"]]
    fits.plot(range(3, len(resident) + 3), resident, "o-")
    fits.set(
        title="resident memory after each fit, GB",
        xlabel="fit",
        ylim=(0, 1.2 * max(resident)),
    )
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _plot_speeds(axis, results, by, **options):
    rounds = [speeds(r) for r in results]
    middle = [statistics.median(s) for s in rounds]
    spread = [
        [m - min(s) for m, s in zip(middle, rounds, strict=True)],
        [max(s) - m for m, s in zip(middle, rounds, strict=True)],
    ]
    x = [r[by] for r in results]
    axis.errorbar(x, middle, spread, marker="o", capsize=3, **options)
