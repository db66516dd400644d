"""Rows that come while a video goes on."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from face_clips import FPS, hidden, place_faces, straight
from PIL import Image
from video_files import write_video

from modeling_hdf.inference import VideoAnalyzer, analyze, analyze_stream, streaming
from modeling_hdf.limits_hdf import LIMITS, LimitError


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A face that is there for 6 s, and one that leaves after 4 s."""
    paths = {0: straight((40, 40), (90, 60), 150), 1: hidden(straight((300, 40), (300, 60), 150), 100, 149)}
    path = tmp_path_factory.mktemp("videos") / "clip.mkv"
    return write_video(path, list(place_faces(paths, 150)), rate=FPS)


def test_rows_are_those_of_the_whole_video_and_come_soon(clip, monkeypatch):
    seen = []
    moments = VideoAnalyzer.moments

    def watched(self, frames):
        def counted():
            for frame in frames:
                seen.append(float(frame.start))
                yield frame

        return moments(self, counted())

    monkeypatch.setattr(VideoAnalyzer, "moments", watched)
    rows = []
    for row in analyze_stream(str(clip)):
        rows.append(row)
        if row.end < 3.5:  # while both are there
            assert seen[-1] - row.start < 3.0
    expected = analyze(clip).rows
    assert len(rows) == len(expected) == 20
    key = {(row.start, round(float(row.box[0]) // 200)): row for row in expected}
    for row in rows:
        other = key[row.start, round(float(row.box[0]) // 200)]
        assert row.end == other.end
        np.testing.assert_allclose(row.probabilities, other.probabilities, atol=1e-5)
    assert {row.person for row in rows} == {1, 2}


@pytest.fixture
def serve():
    """Serves contents by path, and gives the address; with the query "broken" half of what the headers declare."""
    contents = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, is_broken = self.path.partition("?")
            content = contents[path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if is_broken else content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def start(given: dict[str, bytes]) -> str:
        contents.update(given)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    server.shutdown()


def test_a_network_stream_is_read_as_it_arrives_without_an_end_and_reads_no_local_file(serve, clip, monkeypatch):
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nfile://{clip}\n#EXT-X-ENDLIST\n".encode()
    address = serve({"/clip.mkv": clip.read_bytes(), "/list.m3u8": playlist})
    monkeypatch.setattr(LIMITS, "frames", 10)  # of a file
    monkeypatch.setattr(LIMITS, "decoding_seconds", 0.0)
    assert len(list(analyze_stream(f"{address}/clip.mkv", hop=2.0))) == 5
    with pytest.raises(LimitError):
        list(analyze_stream(str(clip)))
    with pytest.raises(ValueError, match="list.m3u8: "):
        list(analyze_stream(f"{address}/list.m3u8"))


def test_a_stream_that_breaks_off_is_told(serve, clip, monkeypatch):
    told = []
    monkeypatch.setattr(streaming.logger, "warning", told.append)
    address = serve({"/clip.mkv": clip.read_bytes()})
    whole = len(list(analyze_stream(f"{address}/clip.mkv", hop=2.0)))
    assert whole == 5 and told == []
    broken = len(list(analyze_stream(f"{address}/clip.mkv?broken", hop=2.0)))
    assert 0 < broken < whole
    (warning,) = told
    assert warning.startswith(f"{address}/clip.mkv?broken: ") and "errors while it was read" in warning


def test_a_camera_on_the_network_may_send_pictures_with_exif(serve):
    with BytesIO() as file:
        exif = Image.Exif()
        exif[0x0112] = 1  # orientation: upright
        for _ in range(30):
            Image.new("RGB", (64, 48), "red").save(file, "JPEG", exif=exif)
        address = serve({"/camera.mjpeg": file.getvalue()})
    frames = [frame.rgb() for frame in streaming.LiveVideo(f"{address}/camera.mjpeg").stream()]
    assert len(frames) == 30 and frames[0].shape == (48, 64, 3)


def test_what_cannot_be_streamed_is_named(monkeypatch):
    with pytest.raises(ValueError, match="camera 97: cannot be opened"):
        list(analyze_stream(97))
    with pytest.raises(ValueError, match="`same_person` needs the whole video"):
        list(analyze_stream(0, same_person=True))
    monkeypatch.setattr(streaming.sys, "platform", "win32")
    with pytest.raises(ValueError, match="camera 0: cameras are read on Linux and macOS only"):
        list(analyze_stream(0))
