"""The tables that say what several seeds tell of a recipe."""

from collections.abc import Sequence

from keras_davidnet.evidence import summarize as summarize


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
