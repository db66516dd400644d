"""Video files that cannot be read, or only in part: what is said of them, and that nothing is lost without a word."""

import logging
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import HEIGHT, WIDTH, naive_sample, numbered_frame, read_numbers, write_video

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.clip_reading_hdf import read_clip

PROCESSOR = HDFVideoProcessor()


def sample(video, num_frames: int = 16):
    return read_clip(video, partial(PROCESSOR.sample_frames, num_frames=num_frames))


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.mp4", 20)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/moved.mp4":
            self.send_response(302)
            self.send_header("Location", "/clip.mp4")
            self.end_headers()
            return
        body = {"/clip.mp4": self.server.clip, "/page.mp4": b"<html>not a video</html>", "/empty.mp4": b""}
        self.send_response(200 if self.path in body else 404)
        self.end_headers()
        self.wfile.write(body.get(self.path, b"nothing here"))

    def log_message(self, *args):
        pass


@pytest.fixture
def url(clip, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.clip = clip.read_bytes()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("page", ["clip.mp4", "moved.mp4"])
def test_url_is_downloaded(clip, url, page):
    assert np.array_equal(sample(f"{url}/{page}")[0], sample(clip)[0])


@pytest.mark.parametrize(
    "page, reason",
    [
        ("none.mp4", r"could not be downloaded \(the server answers 404 [\w ]+\)\.$"),
        ("page.mp4", "cannot be read"),
        ("empty.mp4", "the video is empty"),
    ],
)
def test_url_without_a_video_is_named(url, page, reason):
    with pytest.raises(ValueError, match=f"{url}/{page}.*{reason}"):
        sample(f"{url}/{page}")


def test_unreachable_url_is_named(url, monkeypatch):
    with pytest.raises(ValueError, match="http://127.0.0.1:9/clip.mp4.*could not be downloaded"):
        sample("http://127.0.0.1:9/clip.mp4")


def test_missing_path_and_directory_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.mp4: no such file"):
        sample(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match=f"{tmp_path}: the folder holds no frame"):
        sample(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no video here\n" * 50, bytes(5000)])
def test_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="bad.mp4: (cannot be read as a video|the video is empty)"):
        sample(path)
    with pytest.raises(ValueError, match="video .*: (cannot be read as a video|the video is empty)"):
        sample(BytesIO(content))


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "LFS pointer: run `git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html><body>log in</body></html>", "is an HTML page"),
        ("Grüße, dies ist kein Video\n".encode() * 200, "is a text file"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nclip.mp4\n#EXT-X-ENDLIST\n", "is a text file or playlist"),
        (
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
            b"a=rtpmap:96 H264/90000\n",
            "is a text file or playlist",
        ),
        (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>', "is a text file or playlist"),
        (b"PK\x03\x04" + bytes(range(256)), "it is a ZIP archive: unpack it"),
        (bytes(5000), "damaged or of an unknown kind"),
    ],
)
def test_what_is_no_video_says_what_it_is(clip, content, message):
    path = clip.with_name("other.mp4")
    path.write_bytes(content)
    for video, name in ((path, str(path)), (content, f"video ({len(content)} bytes)"), (BytesIO(content), "BytesIO")):
        with pytest.raises(ValueError, match=message) as error:
            sample(video)
        assert name in str(error.value)


def test_playlist_does_not_reach_other_files(clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    with pytest.raises(ValueError, match="text file or playlist"):
        sample(b"ffconcat version 1.0\nfile clip.mp4\n")
    playlist = clip.with_name("list.ffconcat")
    playlist.write_text("ffconcat version 1.0\nfile clip.mp4\n")
    with pytest.raises(ValueError, match="list.ffconcat: cannot be read as a video: it is a text file or playlist"):
        sample(playlist)


def test_file_object_in_text_mode_is_refused(tmp_path, clip):
    with open(clip, encoding="latin-1") as file, pytest.raises(TypeError, match="clip.mp4.*binary mode"):
        sample(file)


def write_sound(output: av.container.OutputContainer) -> None:
    stream = output.add_stream("aac", rate=16000)
    stream.layout = "mono"
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
    frame.rate = 16000
    output.mux(stream.encode(frame))
    output.mux(stream.encode())


def test_file_without_a_video_stream_is_named(tmp_path):
    with av.open(str(tmp_path / "voice.mp4"), "w") as output:
        write_sound(output)
    with pytest.raises(ValueError, match="voice.mp4: holds no video stream .*audio"):
        sample(tmp_path / "voice.mp4")


def test_cover_picture_is_not_taken_for_a_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as output:
        cover = output.add_stream("png", rate=1)
        cover.disposition = av.stream.Disposition.attached_pic
        cover.width, cover.height, cover.pix_fmt = WIDTH, HEIGHT, "rgb24"
        packets = cover.encode(av.VideoFrame.from_ndarray(numbered_frame(1), format="rgb24"))
        write_sound(output)
        output.mux(packets)
    with pytest.raises(ValueError, match="song.mp4: holds no video stream"):
        sample(tmp_path / "song.mp4")


def test_file_with_zero_frames_is_named(tmp_path):
    path = tmp_path / "empty.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        output.start_encoding()
    with pytest.raises(ValueError, match="empty.avi"):
        sample(path)


def test_file_without_a_decodable_frame_is_named(tmp_path):
    path = write_video(tmp_path / "noise.mp4", 10)
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    content[start:end] = np.random.default_rng(0).integers(0, 255, end - start, dtype=np.uint8).tobytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match="noise.mp4: no frame can be decoded"):
        sample(path)


def test_truncated_mp4_without_its_index_is_named(clip):
    clip.write_bytes(clip.read_bytes()[:1000])
    with pytest.raises(ValueError, match="clip.mp4: cannot be read"):
        sample(clip)


def test_early_end_is_reported_and_the_rest_is_sampled(tmp_path, caplog):
    path = write_video(tmp_path / "cut.mkv", 120, max_b_frames=0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        frames, metadata = sample(path)
    assert "cut.mkv: declares 4.00 s, but its pictures end" in caplog.text
    assert read_numbers(frames) == naive_sample(path, 16)
    assert metadata.total_num_frames < 119


@pytest.mark.parametrize("kept, is_reported", [(30, False), (28, False), (26, True), (15, True)])
def test_missing_pictures_are_reported_from_a_tenth_of_the_duration(tmp_path, caplog, kept, is_reported):
    path = write_video(tmp_path / "cut.mkv", 30, max_b_frames=0)  # one second
    with av.open(str(path)) as source:
        starts = [packet.pos for packet in source.demux(video=0) if packet.size]
    path.write_bytes(path.read_bytes()[: starts[kept] if kept < 30 else None])
    with caplog.at_level(logging.WARNING):
        _, metadata = sample(path)
    assert metadata.total_num_frames == kept
    assert ("declares 1.00 s, but its pictures end" in caplog.text) == is_reported


def test_damage_midway_is_reported_and_the_rest_is_sampled(tmp_path, caplog):
    path = write_video(tmp_path / "damaged.mp4", 60, max_b_frames=0, gop_size=10)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
    for packet in packets[20:30]:
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        frames, metadata = sample(path, 12)
    assert "damaged.mp4: 10 packets or frames are damaged" in caplog.text
    numbers = read_numbers(frames)
    assert numbers == [2, 7, 12, 17, 19, 19, 32, 37, 42, 47, 52, 57]
    assert metadata.total_num_frames == 50
