"""Chromium without a window, driven through its debugging pipe: pages opened, expressions evaluated, pictures taken."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
# The browser reads commands from its file 3 and answers into 4.
START = """
import fcntl, os, sys
into, out = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(into, 3)
os.dup2(out, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def executable():
    """Its path, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser. What it asks the network for is in `requests`, what it complains of in `complaints`."""

    def __init__(self, process, to, back, seconds):
        self._process, self._to, self._back, self._seconds = process, to, back, seconds
        self._number, self._buffer, self._session = 0, b"", None
        self.requests, self.complaints = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """The result of one command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self._seconds
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _receive(self, deadline):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"Chromium did not answer within {self._seconds} s"
            piece = os.read(self._back, 1 << 20)
            assert piece, "Chromium ended"
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(line)
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message.get("method") == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled":
            self.complaints.append(" ".join(str(one.get("value")) for one in params["args"]))
        return message

    def evaluate(self, expression):
        """The value of an expression of the page, awaited where it is a promise."""
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def open(self, url, *, width=1100, height=900, dark=False, scale=1, mobile=False):
        """Open a page and wait until it says that it is ready, or that it has failed."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=url)
        self.wait("document.documentElement?.dataset.ready || document.querySelector('#status.failed')")

    def selftest(self, path, width=1100, height=900):
        """Open a page; the outputs of its examples, one array for each network. Nothing is loaded or complained of."""
        self.requests.clear()
        self.complaints.clear()
        self.open(path.as_uri() + "#selftest", width=width, height=height)
        assert self.evaluate("document.getElementById('status').textContent") == ""
        assert {url.split(":")[0] for url in self.requests} <= {"file", "blob", "data"}
        assert self.complaints == []
        types = {"Float32Array": np.float32, "Uint8Array": np.uint8}
        return [
            np.frombuffer(base64.b64decode(one["bytes"]), types[one["type"]]).reshape(one["shape"])
            for one in json.loads(self.evaluate("document.getElementById('selftest').textContent"))
        ]

    def wait(self, expression):
        """Wait until an expression of the page is true."""
        deadline = time.monotonic() + self._seconds
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"not within {self._seconds} s: {expression}"
            time.sleep(0.05)

    def drag(self, *places):
        """Press the mouse at the first place (x, y), move it along the others and let it go."""
        for event, (x, y) in (("mousePressed", places[0]), *(("mouseMoved", place) for place in places[1:])):
            self.send("Input.dispatchMouseEvent", type=event, x=x, y=y, button="left", buttons=1, clickCount=1)
        x, y = places[-1]
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)

    def choose(self, selector, path):
        """Choose a file in an input of the page."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self, path, *, whole=True):
        """Write a PNG of the page, below what a window shows of it, too."""
        options = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole, **options)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))


@contextlib.contextmanager
def browser(seconds=120):
    """A `Browser`, ended with the context. Each command has `seconds`."""
    into, to = os.pipe()
    back, out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = [executable(), f"--user-data-dir={profile}", *ARGUMENTS]
        with subprocess.Popen(
            [sys.executable, "-c", START, str(into), str(out), *arguments], pass_fds=(into, out), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            os.close(into)
            os.close(out)
            try:
                yield Browser(process, to, back, seconds)
            finally:
                os.close(to)
                os.close(back)
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
