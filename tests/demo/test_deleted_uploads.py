"""Uploads: what is refused, broken off or equal to another costs no later visitor, and nothing stays."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("gradio")
import httpx  # noqa: E402
from gradio import processing_utils  # noqa: E402
from gradio_client import Client, handle_file  # noqa: E402
from gradio_client.exceptions import AppError  # noqa: E402

from modeling_hdf.demo import serve  # noqa: E402
from modeling_hdf.demo.limits import DemoLimits  # noqa: E402

FACE = Path(__file__).parents[2] / "examples" / "face.mp4"


@pytest.fixture(scope="module")
def page():
    with serve("hdf-tiny-synthetic", port=0, limits=DemoLimits(megabytes=2)) as page:
        yield page


@pytest.fixture
def folder(page) -> Path:
    return Path(page.GRADIO_CACHE)


def upload(page, content: bytes = FACE.read_bytes(), **options) -> httpx.Response:
    return httpx.post(f"{page.local_url}gradio_api/upload", files={"files": ("a.mp4", content)}, **options)


def ask(page, path: str, **more) -> str:
    """What a program gets that asks about a path: the line about the people, or the error."""
    data = {"path": path, "meta": {"_type": "gradio.FileData"}, **more}
    question = f"{page.local_url}gradio_api/call/analyze"
    event = httpx.post(question, json={"data": [data]}).json()["event_id"]
    return httpx.get(f"{question}/{event}", timeout=60).text


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def wait_until(is_true) -> None:
    end = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_requests_that_are_no_upload_change_nothing(page, folder):
    assert httpx.post(f"{page.local_url}x/upload").status_code == 404
    assert httpx.post(f"{page.local_url}gradio_api/upload", content=b"a").status_code == 400
    (path,) = upload(page).json()
    assert files_in(folder) == [Path(path)]
    assert "Person 1" in ask(page, path)
    assert files_in(folder) == []


def test_of_an_upload_that_breaks_off_nothing_stays(page, folder):
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", page.server_port)) as visitor:
        visitor.sendall(head.encode() + bytes(100_000))
        wait_until(lambda: files_in(folder))
    wait_until(lambda: not any(folder.iterdir()))
    (path,) = upload(page).json()
    assert "Person 1" in ask(page, path)
    assert files_in(folder) == []


def test_too_large_a_body_is_refused_by_its_declared_size_and_by_its_own(page, folder):
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 2100000\r\n"
    with socket.create_connection(("127.0.0.1", page.server_port), timeout=30) as visitor:
        visitor.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
        assert b"413" in visitor.recv(100)  # before any of the body
    two = [("files", ("a.mp4", bytes(1_100_000)))] * 2  # neither is too large alone
    whole = httpx.Request("POST", page.local_url, files=two)
    parts = iter([whole.read()])  # without a declared size
    kind = {"Content-Type": whole.headers["Content-Type"]}
    assert httpx.post(f"{page.local_url}gradio_api/upload", content=parts, headers=kind).status_code == 413
    assert files_in(folder) == []


def test_equal_files_are_deleted_each_with_its_own_answer(page, folder):
    with ThreadPoolExecutor(2) as pool:
        paths = [each.json()[0] for each in pool.map(lambda _: upload(page), range(2))]
    assert len(set(paths)) == 2
    assert "Person 1" in ask(page, paths[0])
    assert files_in(folder) == [Path(paths[1])]
    assert "Person 1" in ask(page, paths[1])
    assert files_in(folder) == []


def test_a_second_question_about_a_file_asks_to_upload_it_again(page, folder):
    (path,) = upload(page, b"no video").json()
    assert "cannot be read as a video" in ask(page, path)
    assert files_in(folder) == []
    again = ask(page, path)
    assert "The file is no longer here: upload it again." in again and path not in again


def test_a_path_beside_the_uploads_is_never_deleted(page, folder):
    (path,) = upload(page).json()
    beside = [*folder.parent.glob("*.mp4")]
    for place in (folder, f"{folder}/../{folder.name}/x", folder.parent):
        assert "event: error" in ask(page, str(place), is_stream=True)
    assert beside and all(example.exists() for example in beside) and files_in(folder) == [Path(path)]
    assert "Person 1" in ask(page, path)


def test_an_address_in_the_place_of_a_file_is_not_fetched(page, folder, monkeypatch):
    fetched = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(FACE.read_bytes())

    monkeypatch.setattr(processing_utils, "PUBLIC_HOSTNAME_WHITELIST", ["127.0.0.1"])  # as if it were public
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        client = Client(page.local_url, verbose=False)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(AppError, match="Upload the file itself: this page fetches nothing"):
                client.predict(handle_file(f"http://127.0.0.1:{server.server_port}/a.mp4"), api_name="/analyze")
        finally:
            server.shutdown()
    assert fetched == [] and files_in(folder) == []
