"""The tables of a benchmark, from what its JSON holds."""

import statistics

# Of the product of two square matrices of this size.
PRODUCT = 4096
PRODUCT_FLOP = 2 * PRODUCT**3
# Nothing of Keras.
PLAIN = (
    "plain JAX",
    "PyTorch",
    "torch.compile",
    "predict by PyTorch",
    "predict by ONNX Runtime",
)


def tables(report: dict) -> str:
    """All of them, as Markdown."""
    parts = []
    for results in [*report["comparisons"], report["predict"]]:
        nets = [r for r in results if r["method"] != "matrix product"]
        title = f"width {nets[0]['width']}"
        parts.append(_speed_table(title, nets))
        parts.append(_ratio_table(nets))
    parts.append(_share_table(report["comparisons"]))
    parts.append(_host_table(report["steps at once"]))
    parts.append(_speed_table("width 1", report["augmentation"]))
    parts.append(_speed_table("no net", report["pipeline"]))
    return "\n".join([*filter(None, parts), _facts(report)])


def name(result: dict) -> str:
    method, backend = result["method"], result["backend"]
    precision = "" if result["precision"] == "float32" else ", bfloat16"
    if method in PLAIN:
        return method + precision
    return f"{method} ({backend}{precision})"


def speeds(result: dict) -> list[float]:
    return [r["images_per_s"] for r in result["rounds"]]


def peak_gb(result: dict) -> float:
    return result["rounds"][-1]["peak_bytes"] / 1e9


def ratios_of(results: list[dict]):
    """`fit` and `predict` over what lacks Keras and what has their backend."""
    ours = [r for r in results if r["method"] in ("fit", "predict")]
    for one in ours:
        for other in results:
            comparable = all(
                one[key] == other[key] for key in ("batch", "precision")
            ) and (
                other["method"] in PLAIN or one["backend"] == other["backend"]
            )
            if comparable and one["method"] != other["method"]:
                yield one, other, by_round(speeds(one), speeds(other))


def by_round(ones, others):
    return [a / b for a, b in zip(ones, others, strict=True)]


def _seconds(result):
    """That a batch took, round by round."""
    return [result["batch"] / speed for speed in speeds(result)]


def spread(values, form):
    """Median, least and most."""
    return (
        f"{statistics.median(values):{form}} "
        f"({min(values):{form}}-{max(values):{form}})"
    )


def _speed_table(title, results):
    return table(
        [title, "batch", "images/s", "first step, s", "peak memory, GB"],
        [
            (
                name(r),
                r["batch"],
                spread(speeds(r), ",.0f"),
                f"{r['first_step_s']:.1f}",
                f"{peak_gb(r):.2f}",
            )
            for r in results
        ],
    )


def _ratio_table(results):
    rows = [
        (
            f"{name(one)} / {name(other)}",
            f"{statistics.median(ratios):.2f}",
            ", ".join(f"{ratio:.2f}" for ratio in ratios),
        )
        for one, other, ratios in ratios_of(results)
    ]
    return rows and table(["ratio", "median", "rounds"], rows)


def _share_table(comparisons):
    """What a net computes per second, of what a matrix product does."""
    rows = []
    for results in comparisons:
        products = {
            r["precision"]: [PRODUCT_FLOP * speed for speed in speeds(r)]
            for r in results
            if r["method"] == "matrix product"
        }
        for r in results:
            peak = products.get(r["precision"])
            if peak and r["flop_per_image"]:
                flops = [r["flop_per_image"] * speed for speed in speeds(r)]
                rows.append(
                    (
                        f"{name(r)}, width {r['width']}",
                        r["batch"],
                        spread([f / 1e9 for f in flops], ",.0f"),
                        spread([p / 1e9 for p in peak], ",.0f"),
                        spread(by_round(flops, peak), ".0%"),
                    )
                )
    return table(
        ["share of the peak", "batch", "GFLOPS", "product's", "share"], rows
    )


def _host_table(results):
    """What `fit` adds to a step of its backend's bare loop."""
    bare = {r["backend"]: r for r in results if r["method"] == "bare loop"}
    rows = []
    for r in results:
        seconds = _seconds(r)
        loop = _seconds(bare[r["backend"]])
        more = [a - b for a, b in zip(seconds, loop, strict=True)]
        rows.append(
            (
                name(r),
                r["batch"],
                spread([1e6 * s for s in seconds], ",.0f"),
                "" if r["method"] == "bare loop" else _more(more),
            )
        )
    return table(
        ["width 1", "batch", "µs per step", "over the bare loop, µs"], rows
    )


def _more(seconds):
    values = [1e6 * s for s in seconds]
    return (
        f"{statistics.median(values):+,.0f} "
        f"({min(values):+,.0f} to {max(values):+,.0f})"
    )


def _facts(report):
    with_it, without = map(_seconds, report["augmentation"])
    cost = [a - b for a, b in zip(with_it, without, strict=True)]
    widest = report["comparisons"][-2][0]
    share = statistics.median(cost) / statistics.median(_seconds(widest))
    every = sum(report["comparisons"], [])
    # The others import side by side.
    (alone,) = report["pipeline"]
    third, *_, last = report["resident_bytes"]
    versions = {k: v for r in every for k, v in r["versions"].items()}
    return "\n".join(
        [
            f"- Augmentation: {spread([1e3 * c for c in cost], '.1f')} ms per "
            f"batch of {report['augmentation'][0]['batch']}, {share:.1%} of a "
            f"step at width {widest['width']}.",
            f"- Resident memory after {len(report['resident_bytes']) + 2} fits "
            f"over that after the third: {last / third - 1:+.2%}.",
            f"- `import keras`: {alone['import_keras_s']:.1f} s; `import "
            f"keras_davidnet` after it: {alone['import_package_s']:.3f} s.",
            f"- {every[0]['device']}, {report['processor']}, "
            f"{report['cores']} cores; "
            + ", ".join(f"{k} {version}" for k, version in versions.items())
            + ".",
            f"- `{report['command']}` took {report['seconds']:.0f} s.",
        ]
    )


def table(head, rows):
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, c))} |\n" for c in lines)
