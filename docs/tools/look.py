"""Opens pages of the built site in Chromium and reports what is wrong.

    pip install playwright
    python docs/tools/look.py SITE [--pages PAGE ...]

Each page is opened as wide as a desktop window and as a phone.  Reported are:
an image that does not load, content that is wider than the window or cut off,
a signature that has to be scrolled, an error in the console, and a request to
another host.
"""

import argparse
import contextlib
import functools
import http.server
import pathlib
import shutil
import sys
import threading

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PAGES = ("index.html", "reference/layers/index.html")
WIDTHS = (1280, 390)  # pixels

# Returns the faults of the open page, as a list of strings.
LOOK = """
async () => {
  const wrong = [];
  const name = (e) => e.tagName.toLowerCase() + ' "' +
    (e.textContent.trim() || e.src || "").slice(0, 40) + '"';
  for (const image of document.images) {
    image.loading = "eager";
    await image.decode().catch(() => wrong.push("broken: " + image.src));
  }
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width)
    wrong.push("the page is wider than the window");
  for (const e of document.querySelectorAll("article *")) {
    const style = getComputedStyle(e);
    const hides = ["hidden", "clip"].includes(style.overflowX);
    if (e.clientWidth && e.scrollWidth > e.clientWidth + 1 && hides)
      wrong.push("cut off: " + name(e));
    const scrolled = e.closest("pre, .md-typeset__scrollwrap, .highlight");
    if (!scrolled && e.getClientRects().length &&
        e.getBoundingClientRect().right > width + 1)
      wrong.push("wider than the window: " + name(e));
  }
  for (const code of document.querySelectorAll(".doc-signature code"))
    if (code.scrollWidth > code.clientWidth + 1)
      wrong.push("signature does not fit: " + name(code));
  return wrong;
}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("site", type=pathlib.Path)
    parser.add_argument("--pages", nargs="+", default=PAGES)
    arguments = parser.parse_args()
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        print(f"Skipped: none of {', '.join(BROWSERS)} is installed.")
        return 0
    # Not needed where there is no browser.
    from playwright.sync_api import sync_playwright

    faults = 0
    with served(arguments.site) as root, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        for name in arguments.pages:
            for width in WIDTHS:
                wrong = look(browser, root, name, width)
                for fault in wrong:
                    print(f"{name} at {width}: {fault}")
                faults += len(wrong)
        browser.close()
    print(f"{len(arguments.pages)} pages at {WIDTHS} pixels: {faults} faults.")
    return min(faults, 1)


def look(browser, root, name, width):
    """The faults of a page in a window of this width."""
    wrong = []

    def on_console(message):
        if message.type == "error":
            wrong.append(f"console: {message.text}")

    def on_request(request):
        if not request.url.startswith((root, "data:", "blob:")):
            wrong.append(f"another host: {request.url}")

    page = browser.new_page(
        viewport={"width": width, "height": 900}, is_mobile=width < 600
    )
    page.on("console", on_console)
    page.on("pageerror", lambda error: wrong.append(f"console: {error}"))
    page.on("request", on_request)
    page.goto(root + name)
    wrong += page.evaluate(LOOK)
    page.close()
    return wrong


@contextlib.contextmanager
def served(folder):
    """Serves a folder on this machine; yields its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
