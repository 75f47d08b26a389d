"""The numbers of README and the docs are those of the committed results."""

import statistics

import pytest

pytest.importorskip("scipy")

import tables  # noqa: E402

from keras_davidnet import recipes  # noqa: E402

PAGES = {str(p.relative_to(tables.ROOT)): t for p, t in tables.pages().items()}


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_up_to_date(page):
    """If not, run `python examples/measure/tables.py`."""
    assert (tables.ROOT / page).read_text() == PAGES[page]


@pytest.mark.parametrize("name", recipes.names())
def test_measured_results_are_those_of_the_files(name):
    recipe = recipes.get(name)
    views = recipe.net_arguments.get("views") or "plain"
    for result in recipe.measured:
        runs = tables.runs(name, result.source)
        accuracy = [run["accuracy"][views] for run in runs]
        plain = [run["accuracy"]["plain"] for run in runs]
        assert result.runs == len(runs)
        # They are given to a hundredth of a percent.
        assert result.accuracy == pytest.approx(
            statistics.mean(accuracy), abs=5.1e-5
        )
        if result.std is not None:
            assert result.std == pytest.approx(
                statistics.stdev(accuracy), abs=5.1e-5
            )
        if result.plain_accuracy is not None:
            assert result.plain_accuracy == pytest.approx(
                statistics.mean(plain), abs=5.1e-5
            )
        if result.seconds is not None:
            seconds = [run["seconds"]["training"] for run in runs]
            assert min(abs(s - result.seconds) for s in seconds) <= 0.5
