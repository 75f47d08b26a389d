"""Writes the tables of README.md and of the docs from their results.

    python examples/measure/tables.py

Everything between a pair of marker comments is replaced.  The accuracies are
those of the runs in docs/results, a JSON file per seed; the rest is what the
recipes say.  A test compares the pages with what this renders.
"""

import json
import pathlib

from spread import summarize

from keras_davidnet import recipes

ROOT = pathlib.Path(__file__).parents[2]
VIEWS = {
    "one view": "plain",
    "two views": "mirror",
    "six views": "mirror_translate",
}
# An interval of two runs says nothing: Student's t is 12.7 there.
LEAST_RUNS = 3


def runs(name: str, result: recipes.Result) -> list[dict]:
    """What `examples/measure/runs.py` wrote for this result, by seed."""
    folder = (ROOT / result.source).with_suffix("")
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


def row(recipe: recipes.Recipe, docs: str) -> list[str]:
    """The cells of a recipe; `docs` is the path of docs/, with its slash."""
    name = f"`{recipe.name}`"
    cells = [name, f"{recipe.batch_size}, {recipe.epochs}"]
    if recipe.measured:
        result = recipe.measured[0]
        results = runs(recipe.name, result)
        page = docs + result.source.removeprefix("docs/")
        cells.append(f"[{len(results)}]({page})")
        own = recipe.net_arguments.get("views") or "plain"
        for views in VIEWS.values():
            text = percent([run["accuracy"][views] for run in results])
            cells.append(f"**{text}**" if views == own else text)
    else:
        cells += ["not yet", "-", "-", "-"]
    minutes = [
        f"{result.seconds / 60:.0f} min"
        for result in recipe.measured
        if result.seconds and result.hardware.startswith("two cores")
    ]
    cells.append(minutes[0] if minutes else "-")
    published = recipe.published
    cells.append(f"{100 * published.accuracy:.4g}" if published else "-")
    return cells


def table(docs: str) -> str:
    """The table of the recipes, in Markdown."""
    head = ["recipe", "batch, epochs", "runs", *VIEWS]
    head += ["two CPU cores", "published"]
    rows = [row(recipes.get(name), docs) for name in recipes.names()]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def printed() -> str:
    """What README's program printed in the run of seed 1."""
    result = recipes.get("airbench94_muon").measured[0]
    run = runs("airbench94_muon", result)[1]
    accuracy = [round(value, 3) for value in run["history"]["accuracy"]]
    test = run["accuracy"]["mirror_translate"]
    return f"```text\n{accuracy}\n{test:.2%} of the test images\n```\n"


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
    pages = {}
    for name, docs in (
        ("README.md", "docs/"),
        ("docs/index.md", ""),
        ("docs/recipes.md", ""),
    ):
        path = ROOT / name
        text = replaced(path.read_text(), "recipes", table(docs))
        if "<!-- printed" in text:
            text = replaced(text, "printed", printed())
        pages[path] = text
    return pages


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
