"""Downloads a clip within limits of size and time, and refuses redirects from the internet to a private network."""

import asyncio
import ipaddress
import socket
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from tempfile import SpooledTemporaryFile
from typing import BinaryIO
from urllib.request import getproxies

from huggingface_hub.utils import httpx

from .limits_hdf import LIMITS

_MOST_SILENT_SECONDS = 30.0
_MOST_REDIRECTS = 10
_BYTES_IN_MEMORY = 64 << 20  # longer downloads go to disk


class _Refused(Exception):
    """Ends a download; the text gives the reason."""


class Download(str):
    """The URL of a file that is downloaded once, when it is first opened, and kept until `close`."""

    @cached_property
    def file(self) -> BinaryIO:
        """The file; errors as for [`download`]."""
        return download(str(self))

    def close(self) -> None:
        if "file" in vars(self):
            self.file.close()


def is_url(path: str) -> bool:
    """Whether a path is an http(s) address."""
    return path.lower().startswith(("http://", "https://"))


def download(url: str) -> BinaryIO:
    """
    Downloads a file.

    Args:
        url (`str`): http(s) address. It may lie in a private network, such as a local file server. But an internet
            address may not redirect to a private network.

    Returns:
        A temporary file at its start, which is deleted when it is closed.

    Raises:
        LimitError: if it is longer than 2 GiB (also unpacked) or takes more than 10 minutes; see [`LIMITS`].
        ValueError: if it cannot be downloaded, or redirects to a private, loopback or link-local address; the message
            names the URL.
    """
    file = SpooledTemporaryFile(max_size=_BYTES_IN_MEMORY)
    try:
        _run(_fetch(url, file))
    except (httpx.HTTPError, httpx.InvalidURL, _Refused) as error:
        raise ValueError(f"{url}: could not be downloaded ({str(error) or type(error).__name__}).") from error
    file.seek(0)
    return file


def _run(work: Coroutine) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(max_workers=1) as thread:  # a notebook already runs an event loop
        thread.submit(asyncio.run, work).result()


async def _fetch(url: str, file: BinaryIO) -> None:
    start = time.monotonic()
    try:
        # A limit on the total time, since a server can send single bytes, also of the headers, without end.
        async with asyncio.timeout(LIMITS.download_seconds), httpx.AsyncClient(timeout=_MOST_SILENT_SECONDS) as client:
            # Compressed content may unpack to a thousand times its size; videos are already compressed.
            request = client.build_request("GET", url, headers={"Accept-Encoding": "identity"})
            came_from_internet = False
            for _ in range(_MOST_REDIRECTS + 1):
                is_public = await _is_public(request.url.host)
                if came_from_internet and not is_public:
                    raise _Refused(f"it redirects to {request.url.host}, an address of a private network")
                response = await client.send(request, stream=True)
                try:
                    if came_from_internet and not _peer_is_public(response):
                        raise _Refused(f"it redirects to {request.url.host}, an address of a private network")
                    if response.next_request is None:
                        await _save(response, file, url)
                        return
                finally:
                    await response.aclose()
                request, came_from_internet = response.next_request, came_from_internet or is_public
            raise _Refused(f"more than {_MOST_REDIRECTS} redirects")
    except TimeoutError:
        LIMITS.check_download(url, time.monotonic() - start)
        raise


async def _save(response: httpx.Response, file: BinaryIO, url: str) -> None:
    if not response.is_success:
        raise _Refused(f"the server answers {response.status_code} {response.reason_phrase}".rstrip())
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", "gzip", "deflate"):
        # These encodings unpack to at most a thousand times the size. Other or nested encodings unpack to far more.
        raise _Refused(f"it is packed as {response.headers['Content-Encoding']!r}")
    LIMITS.check_downloaded(url, int(response.headers.get("Content-Length", "0")))
    async for block in response.aiter_bytes():
        LIMITS.check_downloaded(url, file.tell() + len(block))
        file.write(block)


async def _is_public(host: str) -> bool:
    """Whether all addresses of a host are internet addresses. True for no address: a proxy may know it."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True
    return all(is_public_address(address[0]) for *_, address in found)


def _peer_is_public(response: httpx.Response) -> bool:
    """Whether the answer came from the internet. The address of a name may have changed since it was looked up."""
    if any(getproxies().get(kind) for kind in ("http", "https", "all")):
        return True  # the address belongs to the proxy
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    return peer is None or is_public_address(peer[0])


def is_public_address(address: str) -> bool:
    """Whether an IP address is an internet address: not private, loopback, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    ip = inner or ip
    return ip.is_global and not ip.is_multicast


__all__ = ["Download", "download", "is_url"]
