"""Writes the tables of README.md and of the docs from their results.

    python examples/measure/tables.py

Everything between a pair of marker comments is replaced.  The accuracies come
from the presets and from the runs in docs/results, a JSON file per seed; the
speeds are from the benchmark there; the rest is what the recipes say.  A test
compares the pages with what this renders.
"""

import json
import math
import pathlib
import statistics

from benchmarking import report

from keras_davidnet import presets, recipes
from keras_davidnet.evidence import summarize

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARK = ROOT / "docs/results/benchmark-cpu.json"
ABLATIONS = ROOT / "docs/results/ablations.json"
SMALL_SETS = ROOT / "docs/results/small-sets.jsonl"
VIEWS = {
    "without TTA": "plain",
    "mirror TTA": "mirror",
    "six-view TTA": "mirror_translate",
}
# An interval of two runs says nothing: Student's t is 12.7 there.
LEAST_RUNS = 3


def runs(name: str, source: str) -> list[dict]:
    """What `examples/measure/runs.py` wrote for this page, by seed."""
    folder = (ROOT / source).with_suffix("")
    if (folder / name).is_dir():
        folder /= name
    files = sorted(folder.glob("seed-*.json"))
    if not files:
        raise FileNotFoundError(
            f"There must be a seed-*.json for each run. Received: {folder}"
        )
    return [json.loads(file.read_text()) for file in files]


def percent(values: list[float]) -> str:
    """`94.13 ± 0.15`: the mean and its 95% interval."""
    summary = summarize(values)
    text = f"{100 * summary['mean']:.2f}"
    if summary["interval"] and len(values) >= LEAST_RUNS:
        half = summary["interval"][1] - summary["mean"]
        text += f" ± {100 * half:.2f}"
    return text


def own_views(recipe: recipes.Recipe) -> str:
    """The recipe's test-time augmentation, as the runs name it."""
    return recipe.net_arguments.get("views") or "plain"


def on_two_cores(result: recipes.Result) -> bool:
    return result.hardware.startswith("two cores")


def link(text: str, result: recipes.Result) -> str:
    """The text as a link from README.md to the page of a result."""
    return f"[{text}]({result.source})"


def summary() -> str:
    """README's table: a row per recipe, by its time on two CPU cores."""
    rows = []
    for name in recipes.names():
        recipe = recipes.get(name)
        label, accuracy = f"`{name}`", "not yet trained in full"
        if recipe.measured:
            most = max(recipe.measured, key=lambda result: result.runs)
            tested = [
                run["accuracy"][own_views(recipe)]
                for run in runs(name, most.source)
            ]
            label = link(label, most)
            accuracy = f"{percent(tested)} ({len(tested)})"
        timed = [result for result in recipe.measured if result.seconds]
        cpu = next(filter(on_two_cores, timed), None)
        gpu = next(
            (r for r in timed if r.hardware.startswith("one H200")), None
        )
        dataset = (*recipe.measured, recipe.published)[0].dataset
        row = [
            label,
            dataset,
            accuracy,
            f"{100 * recipe.published.accuracy:.4g}"
            if recipe.published
            else "-",
            link(f"{cpu.seconds / 60:.0f} min", cpu) if cpu else "-",
            link(f"{gpu.seconds:.0f} s", gpu) if gpu else "-",
        ]
        rows.append((cpu.seconds if cpu else math.inf, row))
    rows.sort(key=lambda pair: pair[0])
    head = ["recipe", "data set", "accuracy, % (runs)", "published, %"]
    head += ["two CPU cores", "one H200"]
    return report.table(head, [row for _, row in rows])


def accuracies() -> str:
    """The recipes' table: every measured result, under all views."""
    rows = []
    for name in recipes.names():
        recipe = recipes.get(name)
        for result in recipe.measured:
            cells = [f"`{name}`", result.hardware]
            page = result.source.removeprefix("docs/")
            results = runs(name, result.source)
            cells.append(f"[{len(results)}]({page})")
            for views in VIEWS.values():
                text = percent([run["accuracy"][views] for run in results])
                own = views == own_views(recipe)
                cells.append(f"**{text}**" if own else text)
            rows.append(cells)
    return report.table(["recipe", "hardware", "runs", *VIEWS], rows)


def printed() -> str:
    """What README's program printed in the run of seed 7."""
    result = recipes.get("cpu94").measured[0]
    run = runs("cpu94", result.source)[7]
    accuracy = [round(value, 3) for value in run["history"]["accuracy"]]
    test = run["accuracy"]["mirror_translate"]
    return f"```text\n{accuracy}\ntest accuracy: {test:.2%}\n```\n"


def seeds(name: str, source: str) -> str:
    """Each run of a recipe, and what they say together, in percent."""
    results = runs(name, source)
    by_view = [
        [100 * run["accuracy"][views] for run in results]
        for views in VIEWS.values()
    ]
    names = [run["seed"] for run in results]
    columns = [[f"{value:.2f}" for value in values] for values in by_view]
    if len(results) >= LEAST_RUNS:
        names += ["mean", "standard deviation", "95% interval of the mean"]
        for column, values in zip(columns, by_view, strict=True):
            summary = summarize(values)
            low, high = summary["interval"]
            column += [f"{summary['mean']:.2f}", f"{summary['sd']:.2f}"]
            column.append(f"{low:.2f} to {high:.2f}")
    cells = zip(names, *columns, strict=True)
    return report.table(["seed", *VIEWS], cells)


def facts(name: str) -> str:
    """How good a pretrained model is, and how it was trained."""
    info = presets.info(name)
    rows = [
        [label, *(f"{info['accuracy'][key][v]:.2%}" for v in VIEWS.values())]
        for label, key in (
            ("at the end of training", "run"),
            ("the published file, in float32", "file"),
        )
    ]
    hardware = info["hardware"]
    versions = ", ".join(f"{k} {v}" for k, v in info["versions"].items())
    lines = [
        f"Run: `{info['command']}`. This command was run once",
        f"Trained on {info['trained']} on {info['backend']} on "
        f"{hardware['cores']} cores of an {hardware['processor']}; {versions}",
        f"SHA-256 of the file: `{info['sha256']}`",
    ]
    return (
        report.table(["accuracy, 10,000 test images", *VIEWS], rows)
        + "\n"
        + "".join(f"- {line}.\n" for line in lines)
    )


def benchmark() -> str:
    """All tables of the benchmark."""
    return report.tables(json.loads(BENCHMARK.read_text()))


def speed() -> str:
    """DavidNet's speed, beside that of plain PyTorch in the same rounds."""
    rows = []
    for results in json.loads(BENCHMARK.read_text())["comparisons"]:
        pytorch = [r for r in results if r["method"] == "PyTorch"]
        if not pytorch:
            continue
        base = report.speeds(pytorch[0])
        for result in results:
            if (
                result["method"] in ("fit", *report.PLAIN)
                and result["batch"] == pytorch[0]["batch"]
            ):
                speeds = report.speeds(result)
                ratios = report.by_round(speeds, base)
                times = report.spread(ratios, ".2f")
                if result is pytorch[0]:
                    times = "1"
                elif result["precision"] != pytorch[0]["precision"]:
                    times = "-"
                rows.append(
                    (
                        report.name(result),
                        result["width"],
                        report.spread(speeds, ",.0f"),
                        times,
                    )
                )
    head = ["two CPU cores", "width", "images/s", "relative to PyTorch"]
    return report.table(head, rows)


def ablations() -> str:
    """Mean accuracies of the changed recipes, and what each change lost."""
    rows = []
    results = json.loads(ABLATIONS.read_text())["accuracy"]
    for recipe, changes in results.items():
        whole = next(iter(changes.values()))
        for change, seeds in changes.items():
            one, two = (
                statistics.mean(100 * run[views] for run in seeds.values())
                for views in ("plain", "mirror")
            )
            difference = ""
            if seeds is not whole:
                lost = [
                    100 * (run["plain"] - whole[seed]["plain"])
                    for seed, run in seeds.items()
                ]
                difference = (
                    f"{statistics.mean(lost):+.2f} "
                    f"({min(lost):+.2f} to {max(lost):+.2f})"
                )
            label = f"`{recipe}`" if seeds is whole else ""
            rows.append((label, change, f"{one:.2f}", f"{two:.2f}", difference))
    head = ["recipe", "change", "without TTA, %", "mirror TTA, %"]
    head.append("difference")
    return report.table(head, rows)


def against_pytorch(source: str) -> str:
    """Accuracy beside plain PyTorch's, a column for each run, in percent."""
    columns = {}
    for kind in ("keras_davidnet", "PyTorch"):
        for run in runs(kind.lower(), source):
            tested = [run["accuracy"][views] for views in VIEWS.values()]
            columns[f"{kind}, seed {run['seed']}"] = [
                f"{100 * value:.2f}"
                for value in [*run["history"]["accuracy"], *tested]
            ]
    count = len(next(iter(columns.values()))) - len(VIEWS)
    names = [f"training, epoch {epoch + 1}" for epoch in range(count)]
    names += [f"test, {views}" for views in VIEWS]
    cells = zip(names, *columns.values(), strict=True)
    return report.table(["accuracy", *columns], cells)


def small_sets() -> str:
    """Accuracy and minutes of each method on each set of images."""
    rows = [json.loads(line) for line in SMALL_SETS.read_text().splitlines()]
    methods = dict.fromkeys(row["method"] for row in rows)
    cells = {}
    for row in rows:
        of_set = cells.setdefault(row["set"], {})
        of_set.setdefault(row["method"], []).append(row)

    def cell(runs):
        if not runs:
            return "-"
        cpu_seconds = statistics.mean(run["cpu_seconds"] for run in runs)
        accuracy = percent([run["accuracy"] for run in runs])
        return f"{accuracy} ({cpu_seconds / 60:.1f} min)"

    def first(of_set):
        run = next(iter(of_set.values()))[0]
        height, width, channels = run["image_shape"]
        shape = f"{height}x{width}, {'color' if channels == 3 else 'gray'}"
        return f"{run['train_images']:,}", run["classes"], shape

    return report.table(
        ["set", "training images", "classes", "size", *methods],
        [
            (
                name.replace("_", " "),
                *first(of_set),
                *(cell(of_set.get(method)) for method in methods),
            )
            for name, of_set in cells.items()
        ],
    )


def replaced(text: str, name: str, content: str) -> str:
    """The page with new content between the markers of that name."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"The page must hold both. Received: {begin}{end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def pages() -> dict[pathlib.Path, str]:
    """The pages with their tables as they must be, by path."""
    contents = {
        "README.md": {"recipes": summary(), "printed": printed()},
        "docs/recipes.md": {"recipes": accuracies()},
        "docs/pretrained.md": {name: facts(name) for name in presets.list()},
        "docs/speed.md": {"speed": speed()},
        "docs/own-images.md": {"small sets": small_sets()},
        "docs/results/benchmark-cpu.md": {"benchmark": benchmark()},
        "docs/results/ablations.md": {"ablations": ablations()},
        "docs/results/airbench96.md": {
            "airbench96": against_pytorch("docs/results/airbench96.md")
        },
    }
    for name in recipes.names():
        for result in recipes.get(name).measured:
            tables = contents.setdefault(result.source, {})
            tables[name] = seeds(name, result.source)
    pages = {}
    for name, tables in contents.items():
        path = ROOT / name
        text = path.read_text()
        for marker, content in tables.items():
            text = replaced(text, marker, content)
        pages[path] = text
    return pages


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
