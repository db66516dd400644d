"""Downloads end: after a size, after a time, and before they lead into a private network."""

import asyncio
import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modeling_hdf import downloading_hdf
from modeling_hdf.downloading_hdf import download, is_public_address
from modeling_hdf.limits_hdf import LIMITS, LimitError

CONTENT = bytes(range(256)) * 8


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(f"{self.headers['Host'].partition(':')[0]}{self.path}")
        kind, _, rest = self.path[1:].partition("/")
        try:
            getattr(self, kind)(rest)
        except OSError:
            pass  # the client has gone

    def start(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def plain(self, rest):
        self.start()
        self.wfile.write(CONTENT)

    def declared(self, rest):
        self.start(Content_Length=str(10**12))

    def endless(self, rest):
        self.start()
        while True:
            self.wfile.write(bytes(1 << 16))

    def packed(self, rest):
        self.start(Content_Encoding="gzip")
        self.wfile.write(gzip.compress(CONTENT if rest == "small" else bytes(100 << 20)))

    def packed_twice(self, rest):
        self.start(Content_Encoding="gzip, gzip")
        self.wfile.write(gzip.compress(gzip.compress(bytes(1 << 20))))

    def drips(self, rest):
        if rest == "headers":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        else:
            self.start()
        while True:
            self.wfile.write(b"a")
            self.wfile.flush()
            time.sleep(0.1)

    def to(self, rest):
        host, _, path = rest.partition("/")
        location = f"http://{host}:{self.server.server_port}/{path}" if host != "file" else "file:///etc/passwd"
        self.start(302, Location=location)

    def around(self, rest):
        self.start(302, Location="/around")

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,127.0.0.2,localhost")
    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    server.daemon_threads, server.asked = True, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def url(server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def internet(monkeypatch) -> None:
    """127.0.0.1 stands for an address of the internet, all others are private."""
    monkeypatch.setattr(downloading_hdf, "is_public_address", lambda address: address == "127.0.0.1")


def test_a_file_comes_as_it_is(url):
    for path in ("plain", "packed/small"):
        with download(f"{url}/{path}") as file:
            assert file.read() == CONTENT


def test_a_download_works_where_a_loop_runs_already(url):
    async def notebook() -> bytes:
        return download(f"{url}/plain").read()

    assert asyncio.run(notebook()) == CONTENT


@pytest.mark.parametrize("path", ["declared", "endless", "packed/large"])
def test_what_is_too_long_is_broken_off(url, monkeypatch, path):
    monkeypatch.setattr(LIMITS, "downloaded_bytes", 1 << 20)
    with pytest.raises(LimitError, match=f"{url}/{path}: its download has .*, and the limit is 1,048,576"):
        download(f"{url}/{path}")


def test_the_limit_itself_is_allowed(url, monkeypatch):
    monkeypatch.setattr(LIMITS, "downloaded_bytes", len(CONTENT))
    assert download(f"{url}/plain").read() == CONTENT
    monkeypatch.setattr(LIMITS, "downloaded_bytes", len(CONTENT) - 1)
    with pytest.raises(LimitError):
        download(f"{url}/plain")


def test_what_is_packed_in_layers_is_refused(url):
    with pytest.raises(ValueError, match="packed as 'gzip, gzip'"):
        download(f"{url}/packed_twice")


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_sends_a_byte_now_and_then_is_left(url, monkeypatch, part):
    monkeypatch.setattr(LIMITS, "download_seconds", 1.0)
    start = time.monotonic()
    with pytest.raises(LimitError, match="its download has taken 1 seconds, and the limit is 1.0"):
        download(f"{url}/drips/{part}")
    assert time.monotonic() - start < 10


@pytest.mark.usefixtures("internet")
@pytest.mark.parametrize("path", ["to/127.0.0.2/plain", "to/127.0.0.1/to/127.0.0.2/plain", "to/localhost/plain"])
def test_a_redirect_from_the_internet_into_a_private_network_is_not_followed(url, server, monkeypatch, path):
    real = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self, host, *args, **options):
        return await real(self, "127.0.0.2" if host == "localhost" else host, *args, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    with pytest.raises(ValueError, match=f"{url}/.*redirects to (127.0.0.2|localhost), an address of a private"):
        download(f"{url}/{path}")
    assert "127.0.0.2/plain" not in server.asked and "localhost/plain" not in server.asked


@pytest.mark.usefixtures("internet")
def test_a_name_that_has_another_address_when_it_is_asked_gives_nothing(url, monkeypatch):
    async def is_public(host):
        return True

    monkeypatch.setattr(downloading_hdf, "_is_public", is_public)
    with pytest.raises(ValueError, match="redirects to 127.0.0.2, an address of a private network"):
        download(f"{url}/to/127.0.0.2/plain")


@pytest.mark.usefixtures("internet")
def test_other_redirects_are_followed(url, server):
    assert download(f"{url}/to/127.0.0.1/plain").read() == CONTENT
    private = url.replace("127.0.0.1", "127.0.0.2")
    assert download(f"{private}/to/127.0.0.2/plain").read() == CONTENT  # the user's own network
    assert download(f"{private}/to/127.0.0.1/plain").read() == CONTENT


@pytest.mark.parametrize(
    "path, reason", [("around", "more than 10 redirects"), ("to/file", "could not be downloaded")]
)
def test_redirects_that_lead_nowhere_are_named(url, path, reason):
    with pytest.raises(ValueError, match=f"{url}/{path}: .*{reason}"):
        download(f"{url}/{path}")


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "ff02::1", "::"),
    ],
)
def test_addresses_of_private_networks(address):
    assert not is_public_address(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet(address):
    assert is_public_address(address)
