"""A page in headless Chromium, spoken to by the DevTools protocol over two pipes: no port, no package, no network."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run")
# The protocol is spoken over the file descriptors 3 and 4, each message ended by a zero byte.
_ON_3_AND_4 = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'


@dataclass
class Page:
    """One tab. `complaints`: exceptions, and what it wrote on its console as a warning or an error."""

    to: BinaryIO
    by: BinaryIO
    session: str = ""
    complaints: list[str] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Asks, and waits for the answer."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while True:
            said = self._read()
            if said.get("id") == number:
                assert "error" not in said, said
                answer: dict[str, Any] = said["result"]
                return answer
            self._hear(said)

    def open(self, file: Path, *, width: int, height: int, dark: bool) -> None:
        """Opens a file as on a screen of that width, and waits until it says that it has drawn its pictures."""
        self.complaints.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.value(
            "new Promise(done => { const look = () => document.body?.dataset.drawn ? done(true) : setTimeout(look, 20);"
            " look(); })"
        )

    def value(self, expression: str) -> Any:
        """What a line of JavaScript gives, awaited."""
        said = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def picture(self, file: Path) -> None:
        """The whole page, as PNG."""
        said = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(said["data"]))

    def _read(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self.by.read(1)) != b"\0":
            assert byte, "the browser has ended"
            text += byte
        said: dict[str, Any] = json.loads(text)
        return said

    def _hear(self, said: dict[str, Any]) -> None:
        told = said.get("params", {})
        if said.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"].get("exception", told)))
        elif said.get("method") == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(told["args"]))
        elif said.get("method") == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(told["entry"]["text"])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A Chromium whose profile is in `folder`. It ends with the block."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    assert program, "no Chromium was found; scripts/setup installs it where there is apt-get"
    our_read, its_write = os.pipe()
    its_read, our_write = os.pipe()
    argv = [program, *_FLAGS, f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]
    with (
        subprocess.Popen(
            ["bash", "-c", _ON_3_AND_4, "bash", str(its_read), str(its_write), *argv],
            pass_fds=(its_read, its_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
        os.fdopen(our_write, "wb") as to,
        os.fdopen(our_read, "rb") as by,
    ):
        os.close(its_read)
        os.close(its_write)
        try:
            page = Page(to, by)
            target = page.call("Target.createTarget", url="about:blank")["targetId"]
            page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                page.call(f"{domain}.enable")
            yield page
            page.session = ""
            page.call("Browser.close")
            process.wait(timeout=20)
        finally:
            process.kill()
