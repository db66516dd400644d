"""Uploads without an answer: their number is bounded, and they are deleted in time, but no answer suffers from it."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("gradio")
import httpx  # noqa: E402
from gradio_client import Client, handle_file  # noqa: E402

from modeling_hdf.demo import answers, serve  # noqa: E402
from modeling_hdf.demo.limits import DEMO_LIMITS, DemoLimits, Upload  # noqa: E402

FACE = Path(__file__).parents[2] / "examples" / "face.mp4"


def upload(page, content: bytes) -> httpx.Response:
    return httpx.post(f"{page.local_url}gradio_api/upload", files={"files": ("a.mp4", content)})


def ask(client: Client) -> str:
    return client.predict(handle_file(str(FACE)), api_name="/analyze")[1]


def wait_until(is_true: Callable[[], bool]) -> float:
    """Seconds until it is true."""
    start = time.monotonic()
    while not is_true():
        assert time.monotonic() < start + 30
        time.sleep(0.02)
    return time.monotonic() - start


def test_more_uploads_than_may_wait_are_refused_until_one_has_its_answer():
    with serve("hdf-tiny-synthetic", port=0, limits=DemoLimits(megabytes=10, uploads=2)) as page:
        folder, client = Path(page.GRADIO_CACHE), Client(page.local_url, verbose=False)
        assert "Person 1" in ask(client)  # it counts no longer
        paths = [upload(page, content).json()[0] for content in (bytes(1000), FACE.read_bytes())]
        for content in (bytes(1000), bytes(9_900_000)):
            refused = upload(page, content)
            assert refused.status_code == 503 and "too many videos. Please try again in some" in refused.text
        with pytest.raises(httpx.HTTPStatusError, match="503"):
            ask(client)
        assert len(list(folder.iterdir())) == 2
        question = f"{page.local_url}gradio_api/call/analyze"
        data = [{"path": paths[1], "meta": {"_type": "gradio.FileData"}}]
        event = httpx.post(question, json={"data": data}).json()["event_id"]
        assert "Person 1" in httpx.get(f"{question}/{event}", timeout=60).text
        assert "Person 1" in ask(client)
        assert len(list(folder.iterdir())) == 1


def test_an_upload_for_which_nobody_asks_an_answer_is_deleted():
    with serve("hdf-tiny-synthetic", port=0, limits=DemoLimits(uploads=1, upload_seconds=1.0)) as page:
        folder = Path(page.GRADIO_CACHE)
        assert upload(page, bytes(1000)).status_code == 200
        wait_until(lambda: not any(folder.iterdir()))
        assert upload(page, bytes(1000)).status_code == 200


def test_an_upload_that_stalls_is_given_up():
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    )
    with serve("hdf-tiny-synthetic", port=0, limits=DemoLimits(uploads=1, upload_seconds=2.0)) as page:
        folder = Path(page.GRADIO_CACHE)
        with socket.create_connection(("127.0.0.1", page.server_port), timeout=30) as visitor:
            visitor.sendall(head.encode() + bytes(100_000))
            wait_until(lambda: any(folder.rglob("*")))
            assert upload(page, b"a").status_code == 503
            assert b"408" in visitor.recv(100)
        assert not any(folder.iterdir())
        assert upload(page, b"a").status_code == 200


def test_an_answer_that_takes_longer_than_an_upload_may_wait_is_given(monkeypatch):
    read, taken = answers.read_upload, []

    def slow(path: str, limits: DemoLimits) -> Upload:
        video = read(path, limits)
        taken.append(wait_until(lambda: not Path(path).exists()))
        return video

    monkeypatch.setattr(answers, "read_upload", slow)
    with serve("hdf-tiny-synthetic", port=0, limits=DemoLimits(upload_seconds=1.0)) as page:
        assert "Person 1" in ask(Client(page.local_url, verbose=False))
    assert taken


def test_an_upload_may_wait_longer_than_the_answers_before_it_take():
    assert DEMO_LIMITS.upload_seconds > (DEMO_LIMITS.waiting + 1) * DEMO_LIMITS.work_seconds
