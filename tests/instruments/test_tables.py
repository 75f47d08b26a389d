"""The numbers of README and the docs are those of the committed results."""

import pytest

pytest.importorskip("scipy")

import tables  # noqa: E402

PAGES = {str(p.relative_to(tables.ROOT)): t for p, t in tables.pages().items()}


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_up_to_date(page):
    """If not, run `python examples/measure/tables.py`."""
    assert (tables.ROOT / page).read_text() == PAGES[page]
