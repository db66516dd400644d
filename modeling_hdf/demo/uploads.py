"""Uploaded files: each is deleted with its answer, and the browser is told to load nothing from elsewhere."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from starlette.datastructures import MutableHeaders

# No CDN, no telemetry, no fonts of others: the browser itself refuses what does not come from this server.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors *"
)


class Uploads:
    """
    Counts who still needs an uploaded file: gradio stores equal files of several visitors in one place.

    A file is deleted when everybody who uploaded it has an answer, and while no upload arrives, which might be of the
    same file.
    """

    def __init__(self):
        self._lock = Lock()
        self._needed: Counter[str] = Counter()
        self._arriving = 0

    def begin(self) -> None:
        """An upload begins to arrive."""
        with self._lock:
            self._arriving += 1

    def end(self, paths: Iterable[str]) -> None:
        """It has arrived as these files."""
        with self._lock:
            self._arriving -= 1
            self._needed.update(paths)
            self._sweep()

    def answered(self, path: str) -> None:
        """One visitor who uploaded this file has the answer."""
        with self._lock:
            self._needed[path] -= 1
            self._sweep()

    def _sweep(self) -> None:
        if self._arriving:
            return
        for path in [path for path, count in self._needed.items() if count <= 0]:
            del self._needed[path]
            Path(path).unlink(missing_ok=True)
            if not os.listdir(Path(path).parent):  # the folder that gradio made for it
                Path(path).parent.rmdir()


class Guard:
    """Middleware of the server: tells [`Uploads`] what arrives, and adds the content policy to every answer."""

    def __init__(self, app, uploads: Uploads):
        self.app, self.uploads = app, uploads

    async def __call__(self, scope, receive, send) -> None:
        is_upload = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith("/upload")
        arrived = bytearray()

        async def send_on(message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            elif is_upload and message["type"] == "http.response.body":
                arrived.extend(message.get("body", b""))
                if not message.get("more_body"):  # before the visitor can ask for the answer
                    self.uploads.end(_paths(arrived))
            await send(message)

        if is_upload:
            self.uploads.begin()
        await self.app(scope, receive, send_on)


def _paths(answer: bytes) -> list[str]:
    """The paths in the answer to an upload; none in an error message."""
    try:
        return json.loads(answer)
    except ValueError:
        return []


__all__ = ["Guard", "Uploads"]
