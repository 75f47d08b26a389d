"""Writes the tables of README.md and of the docs from their results.

    python examples/measure/tables.py

Everything between a pair of marker comments is replaced.  The accuracies are
those of the presets and of the runs in docs/results, a JSON file per seed, the
speeds those of the benchmark there; the rest is what the recipes say.  A test
compares the pages with what this renders.
"""

import json
import pathlib
import statistics

from benchmarking import report
from spread import summarize

from keras_davidnet import presets, recipes

ROOT = pathlib.Path(__file__).parents[2]
BENCHMARK = ROOT / "docs/results/benchmark-cpu.json"
ABLATIONS = ROOT / "docs/results/ablations.json"
VIEWS = {
    "one view": "plain",
    "two views": "mirror",
    "six views": "mirror_translate",
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


def rows(recipe: recipes.Recipe, docs: str) -> list[list[str]]:
    """A row for what was measured first, and for all on two CPU cores."""
    first, *others = recipe.measured or (None,)
    others = [result for result in others if on_two_cores(result)]
    return [row(recipe, result, docs) for result in (first, *others)]


def on_two_cores(result: recipes.Result | None) -> bool:
    return bool(result and result.hardware.startswith("two cores"))


def row(
    recipe: recipes.Recipe, result: recipes.Result | None, docs: str
) -> list[str]:
    """The cells of a result; `docs` is the path of docs/, with its slash."""
    name = f"`{recipe.name}`"
    if on_two_cores(result) and "bfloat16" in result.hardware:
        name += ", bfloat16"
    cells = [name, f"{recipe.batch_size}, {recipe.epochs}"]
    if result:
        results = runs(recipe.name, result.source)
        page = docs + result.source.removeprefix("docs/")
        cells.append(f"[{len(results)}]({page})")
        own = recipe.net_arguments.get("views") or "plain"
        for views in VIEWS.values():
            text = percent([run["accuracy"][views] for run in results])
            cells.append(f"**{text}**" if views == own else text)
    else:
        cells += ["not yet", "-", "-", "-"]
    timed = on_two_cores(result) and result.seconds
    cells.append(f"{result.seconds / 60:.0f} min" if timed else "-")
    published = recipe.published
    cells.append(f"{100 * published.accuracy:.4g}" if published else "-")
    return cells


def table(docs: str) -> str:
    """The table of the recipes, in Markdown."""
    head = ["recipe", "batch, epochs", "runs", *VIEWS]
    head += ["two CPU cores", "published"]
    cells = [rows(recipes.get(name), docs) for name in recipes.names()]
    return report.table(head, sum(cells, []))


def printed() -> str:
    """What README's program printed in the run of seed 1."""
    result = recipes.get("airbench94_muon").measured[0]
    run = runs("airbench94_muon", result.source)[1]
    accuracy = [round(value, 3) for value in run["history"]["accuracy"]]
    test = run["accuracy"]["mirror_translate"]
    return f"```text\n{accuracy}\n{test:.2%} of the test images\n```\n"


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
    """How good a preset is, and how it was trained."""
    facts = presets.info(name)
    rows = [
        [label, *(f"{facts['accuracy'][key][v]:.2%}" for v in VIEWS.values())]
        for label, key in (("the run", "run"), ("this file, float32", "file"))
    ]
    hardware = facts["hardware"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    lines = [
        f"Run: `{facts['command']}`, the only run of this command",
        f"Trained on {facts['trained']} on {facts['backend']} on "
        f"{hardware['cores']} cores of an {hardware['processor']}; {versions}",
        f"SHA-256 of the file: `{facts['sha256']}`",
    ]
    return (
        report.table(["accuracy on the 10,000 test images", *VIEWS], rows)
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
    head = ["two CPU cores", "width", "images/s", "times PyTorch's"]
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
    head = ["recipe", "change", "one view, %", "two views, %", "difference"]
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
        "README.md": {
            "recipes": table("docs/"),
            "printed": printed(),
            "speed": speed(),
        },
        "docs/index.md": {"recipes": table("")},
        "docs/recipes.md": {"recipes": table("")},
        **{
            f"docs/models/{presets.info(name)['recipe']}.md": {
                "facts": facts(name)
            }
            for name in presets.list()
        },
        "docs/speed.md": {"speed": speed()},
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
