"""A real browser for tests: headless Chromium driven over its DevTools pipe, with keys as a hand would press them."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
]
_KEYS = {
    "End": 35,
    "Home": 36,
    "Tab": 9,
    "Enter": 13,
    " ": 32,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


class Browser:
    """One page in one browser.

    Args:
        profile: an empty folder for what the browser keeps.

    `complaints` collects console messages, exceptions and whatever the page's policy refused; `requests` every address
    that the page asked for.
    """

    def __init__(self, profile: Path) -> None:
        commands, self._commands = os.pipe()
        self._predictions, predictions = os.pipe()

        def place() -> None:  # Chromium reads commands from descriptor 3 and answers on 4.
            kept = os.dup(commands), os.dup(predictions)
            os.dup2(kept[0], 3)
            os.dup2(kept[1], 4)

        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command, preexec_fn=place, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(commands)
        os.close(predictions)
        self._number, self._buffer, self._session = 0, b"", ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._events: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        os.close(self._commands)
        os.close(self._predictions)

    def open(self, page: Path | str, width: int = 1280, height: int = 900) -> None:
        """Load a file or an address in a window of that size, on a telephone's terms where it is narrow."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while "Page.loadEventFired" not in self._events:
            self._receive()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys one after the other; `Shift+Tab` holds one."""
        for key in keys:
            held, _, name = key.rpartition("+")
            name = name or "+"
            code = _KEYS.get(name, ord(name[0].upper()))
            text = {"Enter": "\r"}.get(name, name if len(name) == 1 else "")
            event = {"key": name, "code": name, "windowsVirtualKeyCode": code, "modifiers": 8 if held else 0}
            self.call("Input.dispatchKeyEvent", type="keyDown", **event, **({"text": text} if text else {}))
            self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in an `<input type=file>`, as its dialogue would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def wait_for(self, condition: str, patience: float = 60.0) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + patience
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"not within {patience:g} s: {condition}"
            time.sleep(0.05)

    def settle(self, milliseconds: int = 50) -> None:
        """Wait until the page has been drawn; longer for animations."""
        self.run(f"new Promise(done => setTimeout(() => requestAnimationFrame(done), {milliseconds}))")

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """The page as a PNG file, all of it or what the window shows."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        options: dict[str, Any] = {"captureBeyondViewport": True, "clip": clip} if whole else {}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol and its answer."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            prediction = self._receive()
            if prediction.get("id") == number:
                if "error" in prediction:
                    raise AssertionError(f"{method}: {prediction['error']}")
                return dict(prediction["result"])

    def _receive(self, patience: float = 60.0) -> dict[str, Any]:
        deadline = time.monotonic() + patience
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._predictions], [], [], max(0, deadline - time.monotonic()))
            read = os.read(self._predictions, 1 << 20) if ready else b""
            if not read:
                raise AssertionError(f"Chromium does not answer (exit code {self._process.poll()})")
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._notice(message.get("method", ""), message.get("params", {}))
        return message

    def _notice(self, event: str, parameters: dict[str, Any]) -> None:
        self._events.append(event)
        if event == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        if event in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(json.dumps(parameters)[:500])
