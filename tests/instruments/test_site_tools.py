"""The tools that make and look at the documentation."""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LOOK = ROOT / "docs" / "tools" / "look.py"
PIXEL = (
    "data:image/gif;base64,"
    "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
)


def look(site):
    return subprocess.run(
        [sys.executable, LOOK, site, "--pages", "index.html"],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def page(tmp_path):
    """Writes the only page of a site."""

    def write(body):
        (tmp_path / "index.html").write_text(
            '<link rel="icon" href="data:,">'
            '<meta name="viewport" content="width=device-width">'
            f"<article>{body}</article>"
        )
        return tmp_path

    return write


browser = pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "google-chrome")))
    or importlib.util.find_spec("playwright") is None,
    reason="needs Chromium and Playwright",
)


@browser
def test_a_page_without_faults_passes(page):
    site = page(f'<p>Text</p><img src="{PIXEL}"><pre>{"long " * 300}</pre>')
    (site / "style.css").write_text("pre {overflow: auto}")
    with open(site / "index.html", "a") as file:
        file.write('<link rel="stylesheet" href="style.css">')
    done = look(site)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@browser
def test_each_fault_is_found(page):
    site = page(
        '<img src="missing.png">'
        '<img src="http://127.0.0.2:9/a.png">'
        '<div style="width: 500px">wide</div>'
        '<div style="width: 9em; overflow: hidden">'
        '<p style="width: 20em">long</p></div>'
        '<div class="doc-signature"><code style="display: block; '
        f'overflow: auto">{"long" * 500}</code></div>'
        "<script>console.error('bad')</script>"
        "<script>throw new Error('worse')</script>"
    )
    done = look(site)
    assert done.returncode == 1
    for width, fault in (
        (1280, "broken: http://127.0.0.1"),
        (1280, "another host: http://127.0.0.2:9/a.png"),
        (390, 'wider than the window: div "wide"'),
        (390, "the page is wider than the window"),
        (1280, 'cut off: div "long"'),
        (390, 'signature does not fit: code "long'),
        (1280, "console: bad"),
        (1280, "console: worse"),
    ):
        assert f"index.html at {width}: {fault}" in done.stdout
    assert 'at 1280: wider than the window: div "wide"' not in done.stdout


def test_without_a_browser_nothing_is_opened(page, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = look(page(""))
    assert done.returncode == 0
    assert done.stdout.startswith("Skipped: none of chromium, ")


def test_the_notebook_is_its_source_executed():
    jupytext = pytest.importorskip("jupytext")
    path = ROOT / "examples" / "walkthrough.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    source = jupytext.read(path.with_suffix(".py"))
    assert [
        (cell["cell_type"], "".join(cell["source"]))
        for cell in notebook["cells"]
    ] == [(cell.cell_type, cell.source) for cell in source.cells]

    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1))
    for cell in code:
        outputs = cell["outputs"]
        assert not any(o["output_type"] == "error" for o in outputs)
        assert not any(o.get("name") == "stderr" for o in outputs)
        if any("image/png" in o.get("data", {}) for o in outputs):
            assert cell["metadata"]["alt"]
    assert path.stat().st_size < 1_000_000  # GitHub shows it
