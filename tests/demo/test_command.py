"""`hdf demo` as a process: whom it answers, and what it leaves when it is told to end."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio")
import httpx  # noqa: E402

from modeling_hdf.demo import serve  # noqa: E402

FACE = Path(__file__).parents[2] / "examples" / "face.mp4"


def can_connect(host: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex((host, port)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no 127.0.0.2, and other signals")
@pytest.mark.parametrize(
    ("options", "is_open"), [([], False), (["--host", "0.0.0.0"], True)], ids=["default", "network"]
)
def test_this_machine_alone_is_answered_and_nothing_is_left(tmp_path, options, is_open):
    command = [sys.executable, "-m", "modeling_hdf", "demo", "--model", "hdf-tiny-synthetic", "--port", "0", *options]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"open (http://\S+)", server.stdout.readline())[1]
            port = urlsplit(url).port
            assert can_connect("127.0.0.1", port) and can_connect("127.0.0.2", port) == is_open
            upload = httpx.post(f"http://127.0.0.1:{port}/gradio_api/upload", files={"files": FACE.read_bytes()})
            (place,) = upload.json()
            assert Path(place).is_relative_to(tmp_path) and Path(place).is_file()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_server_asks_no_other_machine(monkeypatch):
    asked, find_address = [], socket.getaddrinfo

    def record(host, *arguments, **options):
        asked.append(host)
        return find_address(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", record)
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED", raising=False)  # gradio reports its use unless it is told not to
    with serve("hdf-tiny-synthetic", port=0) as page:
        assert "hdf-dfer" in httpx.get(page.local_url).text
        time.sleep(1)  # gradio reports from a thread of its own
    assert {host.decode() if isinstance(host, bytes) else host for host in asked} <= {"127.0.0.1", "localhost", None}
