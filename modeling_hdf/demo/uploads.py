"""Uploaded files: each lies in a folder of its own, deleted with its answer; and nothing is loaded from elsewhere."""

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from gradio import processing_utils
from gradio.route_utils import upload_fn
from gradio.routes import API_PREFIX, file_upload_statuses
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import DemoLimits

# No CDN, no telemetry, no fonts of others: the browser itself refuses what does not come from this server.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; worker-src 'self' blob:; frame-ancestors *"
)
_FORM_BYTES = 64_000  # what a form has beside the content of its file


class Uploads:
    """
    Receives uploads in place of gradio, which would keep the equal files of several visitors in one place, and puts no
    bound on how many there are.

    Args:
        folder (`Path`): gradio's cache. Each upload gets a folder inside, under a name that nobody can guess.
        limits ([`DemoLimits`]): size, number and age of uploads.
    """

    def __init__(self, folder: Path, limits: DemoLimits):
        self.folder, self.limits = folder.resolve(), limits
        self.most_bytes = limits.megabytes * 1_000_000
        self._folders: set[Path] = set()  # of uploads that arrive or wait for their answer

    async def receive(self, request: Request) -> Response:
        """
        Stores an upload and answers with its paths, as gradio does. Of an upload that fails nothing stays. One for
        which nobody asks an answer in time is deleted.
        """
        if len(self._folders) >= self.limits.uploads:
            return PlainTextResponse("The page holds too many videos. Please try again in some minutes.", 503)
        upload_id = request.query_params.get("upload_id")
        progress = file_upload_statuses if upload_id else None
        folder = self.folder / secrets.token_hex(16)
        self._folders.add(folder)
        try:
            form = Request(request.scope, self._limited(request))
            async with asyncio.timeout(self.limits.upload_seconds):
                paths, _, _ = await upload_fn(form, folder, self.most_bytes, upload_id, upload_progress=progress)
        except BaseException as error:
            self._delete(folder)
            if isinstance(error, MultiPartException):
                return PlainTextResponse(error.message, 413 if "maximum allowed size" in error.message else 400)
            if isinstance(error, HTTPException):
                return PlainTextResponse(error.detail, error.status_code)
            if isinstance(error, ClientDisconnect):
                return Response(status_code=400)
            if isinstance(error, TimeoutError):
                return PlainTextResponse("The upload took too long.", 408)
            raise
        asyncio.get_running_loop().call_later(self.limits.upload_seconds, self._delete, folder)
        return JSONResponse(paths)

    def _limited(self, request: Request) -> Receive:
        """The body of a request, which ends with an error where it becomes too large."""
        left = self.most_bytes + _FORM_BYTES
        declared = request.headers.get("content-length", "")

        async def receive() -> Message:
            nonlocal left
            if declared.isdecimal() and int(declared) > self.most_bytes + _FORM_BYTES:
                left = -1
            else:
                message = await request.receive()
                left -= len(message.get("body", b""))
            if left < 0:
                raise MultiPartException(f"File size exceeded maximum allowed size of {self.most_bytes} bytes.")
            return message

        return receive

    def delete(self, path: str) -> None:
        """Deletes an upload, also if it is no longer there."""
        place = Path(path).resolve()
        if self.folder in place.parents:
            self._delete(self.folder / place.relative_to(self.folder).parts[0])

    def _delete(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folders.discard(folder)


class Guard:
    """Middleware of the server: gives uploads to [`Uploads`], and adds the content policy to every answer."""

    def __init__(self, app: ASGIApp, uploads: Uploads):
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        app = self.app
        if scope["type"] == "http" and scope["method"] == "POST":
            if scope["path"].removeprefix(scope.get("root_path", "")) == f"{API_PREFIX}/upload":
                app = await self.uploads.receive(Request(scope, receive))
        await app(scope, receive, send_with_policy)


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """
    Refuses addresses in the place of files while the block runs. For each address that a program gives for a file,
    gradio would fetch all that the address returns, of any size, before the page is asked.
    """

    async def refuse(url: str, cache_dir: str) -> str:
        raise gr.Error("Upload the file itself: this page fetches nothing from an address.", print_exception=False)

    fetch = processing_utils.async_ssrf_protected_download
    processing_utils.async_ssrf_protected_download = refuse
    try:
        yield
    finally:
        processing_utils.async_ssrf_protected_download = fetch


__all__ = ["Guard", "Uploads", "nothing_fetched"]
