"""Tables and picture of a benchmark, from what its JSON holds."""

import statistics

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def print_comparison(results: list[dict]) -> None:
    _print_speeds(f"width {results[0]['width']}", results)
    _print_table(
        ["ratio", "median", "rounds"],
        [
            (
                f"{_name(one)} / {_name(other)}",
                f"{statistics.median(ratios):.2f}",
                ", ".join(f"{ratio:.2f}" for ratio in ratios),
            )
            for one, other, ratios in _ratios(results)
        ],
    )


def print_rest(report: dict) -> None:
    """What `print_comparison` leaves out."""
    _print_speeds("width 1", report["augmentation"])
    with_it, without = map(_seconds, report["augmentation"])
    cost = [a - b for a, b in zip(with_it, without, strict=True)]
    widest = report["comparisons"][-1][0]
    share = statistics.median(cost) / statistics.median(_seconds(widest))
    print(
        f"\nAugmentation: {_spread([1e3 * c for c in cost], '.1f')} ms a "
        f"batch, {share:.1%} of a step at width {widest['width']}"
    )
    _print_speeds("no net", report["pipeline"])
    every = sum(report["comparisons"], [])
    imports = {
        name: _spread([r[f"import_{name}_s"] for r in every], ".3f")
        for name in ("keras", "package")
    }
    third, *_, last = report["resident_bytes"]
    versions = {k: v for r in every for k, v in r["versions"].items()}
    print(
        f"\nResident memory after {len(report['resident_bytes']) + 2} fits "
        f"over that after the third: {last / third - 1:+.2%}"
        f"\nimport keras: {imports['keras']} s; the package after it: "
        f"{imports['package']} s\n"
        f"\n{every[0]['device']}, {report['processor']}, {report['cores']} "
        f"cores, {every[0]['precision']}\n"
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f"\n{report['command']} took {report['seconds']:.0f} s"
    )


def save_picture(report: dict, path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    by_width, ratios, by_batch, fits = axes.flat

    by_name = {}
    for results in report["comparisons"]:
        for result in results:
            if result["batch"] == results[0]["batch"]:
                by_name.setdefault(_name(result), []).append(result)
    for name, results in by_name.items():
        _plot_speeds(by_width, results, "width", label=name)
    by_width.set(title="images a second", xlabel="width", yscale="log")
    by_width.legend()

    for results in report["comparisons"]:
        for one, other, values in _ratios(results):
            name = f"{_name(one)} / {_name(other)}\nwidth {one['width']}"
            ratios.plot(
                values, [name] * len(values), "o", color="C0", alpha=0.4
            )
            ratios.plot(statistics.median(values), name, "|", color="C3", ms=16)
    ratios.axvline(1, color="grey")
    ratios.set(title="ratios, round by round; median red")
    ratios.invert_yaxis()
    ratios.tick_params(axis="y", labelsize="small")

    first = report["comparisons"][0][0]
    batches = sorted(
        (r for r in report["comparisons"][0] if _name(r) == _name(first)),
        key=lambda r: r["batch"],
    )
    _plot_speeds(by_batch, batches, "batch")
    by_batch.set(
        title=f"{_name(first)} at width {first['width']}",
        xlabel="batch size",
        ylabel="images a second",
        ylim=(0, None),
    )
    memory = by_batch.twinx()
    memory.plot(
        [r["batch"] for r in batches],
        [_peak_gb(r) for r in batches],
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


def _name(result):
    if "torch" in result["way"].lower():
        return result["way"]
    return f"{result['way']} ({result['backend']})"


def _speeds(result):
    return [r["images_per_s"] for r in result["rounds"]]


def _seconds(result):
    """That a batch took, round by round."""
    return [result["batch"] / speed for speed in _speeds(result)]


def _peak_gb(result):
    return result["rounds"][-1]["peak_bytes"] / 1e9


def _ratios(results):
    """Each fit over PyTorch and its backend's other ways, batch by batch."""
    for one in results:
        for other in results:
            plain = "torch" in other["way"].lower()
            comparable = one["batch"] == other["batch"] and (
                plain or one["backend"] == other["backend"]
            )
            if comparable and one["way"] == "fit" != other["way"]:
                pairs = zip(_speeds(one), _speeds(other), strict=True)
                yield one, other, [a / b for a, b in pairs]


def _spread(values, form):
    """Median, least and most."""
    return (
        f"{statistics.median(values):{form}} "
        f"({min(values):{form}}-{max(values):{form}})"
    )


def _plot_speeds(axis, results, by, **options):
    speeds = [_speeds(r) for r in results]
    middle = [statistics.median(s) for s in speeds]
    spread = [
        [m - min(s) for m, s in zip(middle, speeds, strict=True)],
        [max(s) - m for m, s in zip(middle, speeds, strict=True)],
    ]
    x = [r[by] for r in results]
    axis.errorbar(x, middle, spread, marker="o", capsize=3, **options)


def _print_speeds(title, results):
    _print_table(
        [title, "batch", "images/s", "first step, s", "peak memory, GB"],
        [
            (
                _name(r),
                r["batch"],
                _spread(_speeds(r), ",.0f"),
                f"{r['first_step_s']:.1f}",
                f"{_peak_gb(r):.2f}",
            )
            for r in results
        ],
    )


def _print_table(head, rows):
    print()
    for cells in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, cells)) + " |")
