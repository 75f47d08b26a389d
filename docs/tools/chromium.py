"""Chromium without a window, driven through a pipe: no package is needed.

The protocol is Chrome's DevTools Protocol, as JSON with a zero byte after each
message (https://chromedevtools.github.io/devtools-protocol/).
"""

import fcntl
import json
import os
import subprocess
import tempfile


class Chromium:
    """One tab of a new browser; a context manager that ends it.

    Args:
        path: Of the program.
    """

    def __init__(self, path: str):
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        read, commands = os.pipe()
        answers, write = os.pipe()
        # The browser reads at 3 and writes at 4, where these may lie now.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]

        def place():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [
                path,
                "--headless",
                "--remote-debugging-pipe",
                f"--user-data-dir={self._profile.name}",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                # Root, as in a container, has no sandbox.
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
            ],
            preexec_fn=place,
            pass_fds=(3, 4),
            stderr=subprocess.DEVNULL,
        )
        for end in (read, write, *high):
            os.close(end)
        self._commands = os.fdopen(commands, "wb", buffering=0)
        self._answers = os.fdopen(answers, "rb")
        self._count, self._session, self._events = 0, None, []
        target = self.call("Target.createTarget", url="about:blank")
        self._session = self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        self.call("Browser.close")
        self._process.wait()
        self._commands.close()
        self._answers.close()
        self._profile.cleanup()

    def call(self, method: str, **params) -> dict:
        """Sends a command and returns its result.

        Raises:
            RuntimeError: If Chromium refuses it.
            EOFError: If Chromium ended.
        """
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self):
        """The next message; events are kept."""
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise EOFError("Chromium ended.")
            message += byte
        message = json.loads(message)
        if "method" in message:
            self._events.append((message["method"], message.get("params")))
        return message

    def events(self) -> list[tuple[str, dict]]:
        """The events since the last call, as `(method, params)`."""
        events, self._events = self._events, []
        return events

    def resize(self, width: int, height: int) -> None:
        """Gives the page's window a size, in pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def open(self, url: str) -> list[tuple[str, dict]]:
        """Opens a page and waits until it is loaded; returns its events."""
        self.events()
        self.call("Page.navigate", url=url)
        events = self.events()
        while not any(name == "Page.loadEventFired" for name, _ in events):
            self._read()
            events += self.events()
        return events

    def evaluate(self, script: str):
        """The value of a script, or of the promise that it returns."""
        answer = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")
