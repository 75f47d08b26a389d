"""Opens the pages of the built site in Chromium, and says what is wrong.

    python docs/tools/look.py SITE [--pages PAGE ...] [--screenshots FOLDER]

Each page is opened as wide as a desktop's window and as a phone.  Wrong are: a
picture that does not load, content wider than the window or cut off, a
signature that has to be scrolled, an error in the console, and a request to
another host.
"""

import argparse
import base64
import contextlib
import functools
import http.server
import pathlib
import shutil
import sys
import threading

from chromium import Chromium

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (1280, 390)  # pixels

# What is wrong with the page that is open, as a list of strings.
LOOK = """
(async () => {
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
})()
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("site", type=pathlib.Path)
    parser.add_argument("--pages", nargs="+", help="such as index.html")
    parser.add_argument("--screenshots", type=pathlib.Path)
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"Left out: none of {', '.join(BROWSERS)} is installed.")
        return 0
    pages = arguments.pages or sorted(
        str(path.relative_to(arguments.site))
        for path in arguments.site.rglob("*.html")
    )
    faults = 0
    with served(arguments.site) as root, Chromium(browser) as chromium:
        for page in pages:
            for width in WIDTHS:
                wrong = look(chromium, root, page, width)
                for fault in wrong:
                    print(f"{page} at {width}: {fault}")
                faults += len(wrong)
                if arguments.screenshots:
                    name = f"{page.replace('/', '_')}-{width}.png"
                    save(chromium, arguments.screenshots / name)
    print(f"{len(pages)} pages at {WIDTHS} pixels: {faults} faults.")
    return min(faults, 1)


def look(chromium, root, page, width):
    chromium.resize(width, height=900)
    events = chromium.open(root + page)
    wrong = chromium.evaluate(LOOK)
    for method, event in [*events, *chromium.events()]:
        if method == "Runtime.exceptionThrown":
            thrown = event["exceptionDetails"]
            text = thrown.get("exception", {}).get("description")
            wrong.append(f"console: {text or thrown['text']}")
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            wrong.append(f"console: {event['entry']['text']}")
        elif method == "Runtime.consoleAPICalled" and event["type"] == "error":
            values = (arg.get("value", arg["type"]) for arg in event["args"])
            wrong.append(f"console: {' '.join(map(str, values))}")
        elif method == "Network.requestWillBeSent":
            url = event["request"]["url"]
            if not url.startswith((root, "data:", "blob:")):
                wrong.append(f"another host: {url}")
    return wrong


def save(chromium, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = chromium.call(
        "Page.captureScreenshot", captureBeyondViewport=True
    )
    path.write_bytes(base64.b64decode(picture["data"]))


@contextlib.contextmanager
def served(folder):
    """Serves a folder on this machine; yields its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
