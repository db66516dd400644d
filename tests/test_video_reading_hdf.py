"""Reading of video files: containers, timestamps, orientation, pixel formats, memory, bad input."""

import logging
import os
import struct
import subprocess
import sys
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
from modeling_hdf.video_reading_hdf import all_frames

PROCESSOR = HDFVideoProcessor()
CONTAINERS = {
    "mp4": ("clip.mp4", {}),
    "fragmented mp4 (no frame count in the header)": (
        "clip.mp4",
        {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    ),
    "mov": ("clip.mov", {}),
    "mkv": ("clip.mkv", {}),
    "mpeg-ts": ("clip.ts", {}),
    "webm vp8": ("clip.webm", {"codec": "libvpx", "max_b_frames": 0}),
    "webm vp9": ("clip.webm", {"codec": "libvpx-vp9", "max_b_frames": 0}),
    "avi mpeg4": ("clip.avi", {"codec": "mpeg4", "max_b_frames": 0}),
    "avi mpeg4 with B-frames": ("clip.avi", {"codec": "mpeg4"}),
    "avi h264 with B-frames": ("clip.avi", {}),
    "avi motion jpeg": ("clip.avi", {"codec": "mjpeg", "max_b_frames": 0, "pix_fmt": "yuvj420p"}),
    "raw h264 (no timestamps)": ("clip.h264", {"container": "h264"}),
}


def sample(video, num_frames: int = 16):
    return read_clip(video, partial(PROCESSOR.sample_frames, num_frames=num_frames))


class WriteOnly:
    """A pipe to the muxer: it cannot go back to write durations or an index."""

    def __init__(self):
        self.content = BytesIO()

    def write(self, data: bytes) -> int:
        return self.content.write(data)


class ReadOnly:
    """A pipe to the reader: it cannot seek."""

    def __init__(self, content: bytes):
        self.content = BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self.content.read(size)


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_video(tmp_path / "clip.mp4", 20)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("length", [1, 4, 16, 45])
def test_sampling_equals_naive_reference_in_every_container(tmp_path, name, length, caplog):
    file_name, options = CONTAINERS[name]
    path = write_video(tmp_path / file_name, length, **options)
    for num_frames in (1, 4, 16):
        frames, metadata = sample(path, num_frames)
        assert frames.shape == (num_frames, HEIGHT, WIDTH, 3) and frames.dtype == np.uint8
        assert read_numbers(frames) == naive_sample(path, num_frames) == metadata.frames_indices
    assert not caplog.records


@pytest.mark.parametrize("name", ["mp4", "mov", "mpeg-ts", "avi mpeg4", "raw h264 (no timestamps)"])
def test_constant_rate_equals_sampling_by_index(tmp_path, name):
    file_name, options = CONTAINERS[name]
    frames, _ = sample(write_video(tmp_path / file_name, 32, rate=25, **options))
    assert read_numbers(frames) == [int((i + 0.5) * 32 / 16) for i in range(16)]


@pytest.mark.parametrize("name", ["mp4", "mov", "mkv", "webm vp8", "webm vp9", "avi mpeg4", "mpeg-ts"])
def test_variable_rate_follows_presentation_time(tmp_path, name, caplog):
    file_name, options = CONTAINERS[name]
    pts = [0, 1, 2, 3, 20, 21, 22, 50, 51, 52]
    path = write_video(tmp_path / file_name, len(pts), pts=pts, **options)
    numbers = read_numbers(sample(path, 10)[0])
    assert numbers == naive_sample(path, 10)
    assert numbers.count(3) >= 3 and numbers.count(6) >= 4  # the two long frames
    assert not caplog.records


@pytest.mark.parametrize("name", ["mp4", "mkv", "mpeg-ts", "webm vp9"])
def test_first_frame_need_not_start_at_zero(tmp_path, name, caplog):
    file_name, options = CONTAINERS[name]
    path = write_video(tmp_path / file_name, 20, pts=range(300, 320), **options)
    frames, metadata = sample(path, 4)
    assert read_numbers(frames) == naive_sample(path, 4) == [2, 7, 12, 17]
    assert metadata.duration == pytest.approx(20 / 30, abs=2e-3)
    assert not caplog.records


def test_edit_list_hides_the_frames_before_it(tmp_path, caplog):
    source = write_video(tmp_path / "source.mp4", 60, max_b_frames=0, gop_size=60)
    with av.open(str(source)) as read, av.open(str(tmp_path / "trimmed.mp4"), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.pts is not None:
                shift = 30 * packet.duration
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                written.mux(packet)
    frames, metadata = sample(tmp_path / "trimmed.mp4", 5)
    assert read_numbers(frames) == naive_sample(tmp_path / "trimmed.mp4", 5) == [33, 39, 45, 51, 57]
    assert metadata.total_num_frames == 30 and not caplog.records


@pytest.mark.parametrize("container, codec", [("matroska", "libx264"), ("webm", "libvpx"), ("mpegts", "libx264")])
def test_files_written_to_a_pipe_have_no_duration_and_are_sampled_whole(tmp_path, container, codec):
    pipe = WriteOnly()
    write_video(pipe, 33, codec=codec, container=container, max_b_frames=0)
    path = tmp_path / "live"
    path.write_bytes(pipe.content.getvalue())
    with av.open(str(path)) as source:
        assert source.streams.video[0].frames == 0
        assert container == "mpegts" or source.duration is None
    assert read_numbers(sample(path)[0]) == naive_sample(path, 16)


def test_path_bytes_and_file_objects_give_the_same_frames(clip):
    expected, _ = sample(clip)
    content = clip.read_bytes()
    with open(clip, "rb") as file:
        file.seek(100)  # a file object is read from its start, wherever it stands
        for video in (str(clip), content, bytearray(content), BytesIO(content), file, ReadOnly(content)):
            assert np.array_equal(sample(video)[0], expected)


def test_file_name_with_colon_and_percent_sign(clip):
    odd = clip.rename(clip.with_name("rec 12:30 100%d.mp4"))
    assert sample(odd, 2)[0].shape[0] == 2


def test_metadata_describes_the_clip(clip):
    _, metadata = sample(clip, 4)
    assert metadata.total_num_frames == 20
    assert metadata.fps == pytest.approx(30)
    assert metadata.duration == pytest.approx(2 / 3)
    assert (metadata.height, metadata.width) == (HEIGHT, WIDTH)
    assert metadata.video_backend == "pyav"
    assert metadata.frames_indices == [2, 7, 12, 17]


ONE = 1 << 16
TURNS = {
    "phone upright": ((0, ONE, -ONE, 0), lambda picture: np.rot90(picture, -1)),
    "upside down": ((-ONE, 0, 0, -ONE), lambda picture: np.rot90(picture, 2)),
    "phone upright, other way": ((0, -ONE, ONE, 0), lambda picture: np.rot90(picture, 1)),
    "mirrored": ((-ONE, 0, 0, ONE), lambda picture: picture[:, ::-1]),
    "flipped": ((ONE, 0, 0, -ONE), lambda picture: picture[::-1]),
    "transposed": ((0, ONE, ONE, 0), lambda picture: picture.swapaxes(0, 1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_display_matrix_in_mp4_header_is_honoured(tmp_path, turn):
    (a, b, c, d), expected = TURNS[turn]
    picture = np.zeros((32, 64, 3), dtype=np.uint8)
    picture[:16, :32] = 255  # the top left quarter tells all eight orientations apart, with the one below
    picture[16:, :32] = 128
    path = write_video(tmp_path / "clip.mp4", [picture] * 3)
    header = path.read_bytes()
    matrix = header.index(b"tkhd") + 4 + 40  # version and flags, times, track, duration, layer, volume: 40 bytes
    header = header[:matrix] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + header[matrix + 36 :]
    path.write_bytes(header)

    frames, metadata = sample(path, 2)
    assert frames.shape[1:] == expected(picture).shape == (metadata.height, metadata.width, 3)
    assert np.abs(frames[0].astype(int) - expected(picture)).mean() < 3


def test_display_matrix_in_matroska_is_honoured(tmp_path):
    matrix = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)
    path = write_video(tmp_path / "clip.mkv", 3, display_matrix=matrix)
    frames, _ = sample(path, 3)
    assert read_numbers(np.rot90(frames, 1, axes=(1, 2))) == [0, 1, 2]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le", "gray", "gray16le", "yuva420p", "bgra"])
def test_pixel_formats_and_odd_sizes_become_rgb(tmp_path, pix_fmt):
    picture = np.zeros((33, 51, 3), dtype=np.uint8)
    picture[:, :25], picture[:, 25:] = (220, 40, 40), (30, 60, 200)
    path = write_video(tmp_path / "clip.mkv", [picture] * 2, codec="ffv1", pix_fmt=pix_fmt, max_b_frames=0)
    frames, _ = sample(path, 1)
    expected = picture.astype(float)
    if pix_fmt.startswith("gray"):
        expected = np.repeat((expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    assert frames.shape == (1, 33, 51, 3)
    assert np.abs(frames[0] - expected)[:, np.r_[:22, 29:51]].max() < 8


MEMORY_SCRIPT = """
import resource, sys
from functools import partial
from modeling_hdf.video_processing_hdf import HDFVideoProcessor
from modeling_hdf.clip_reading_hdf import read_clip

sample = partial(HDFVideoProcessor().sample_frames, num_frames=16)
peaks = []
for path in sys.argv[1:]:
    read_clip(path, sample)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(peaks[1] - peaks[0])
"""


def test_sixty_seconds_need_no_more_memory_than_two(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, 240, 320, 3), dtype=np.uint8)
    paths = []
    for seconds in (2, 60):
        frames = [noise[index % 30] for index in range(30 * seconds)]
        path = tmp_path / f"{seconds}.mp4"
        paths.append(str(write_video(path, frames, codec="mpeg4", max_b_frames=0)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", MEMORY_SCRIPT, *paths]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    whole_clip = 60 * 30 * 240 * 320 * 3 / 1024  # kilobytes
    assert int(result.stdout.split()[-1]) < 0.05 * whole_clip


def test_decoding_stops_after_the_last_sampled_frame(tmp_path, caplog):
    path = write_video(tmp_path / "clip.mp4", 60, max_b_frames=0)
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as source:
        first = next(packet.pos for packet in source.demux(video=0) if packet.pts and packet.is_keyframe)
    content[first + 8 : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - first - 8)
    frames, _ = read_clip(bytes(content), lambda metadata, timestamps: np.array([0, 0, 5]))
    assert read_numbers(frames) == [0, 0, 5]
    assert not caplog.records  # the damage behind frame 5 was not met


def test_without_sampling_all_frames_are_returned(clip):
    assert read_numbers(read_clip(clip, all_frames)[0]) == list(range(20))


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
    "page, reason", [("none.mp4", "404"), ("page.mp4", "cannot be read"), ("empty.mp4", "the video is empty")]
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


@pytest.mark.skipif("HDF_REAL_VIDEOS" not in os.environ, reason="HDF_REAL_VIDEOS names a folder of real clips")
def test_real_clip_is_sampled_over_its_whole_length():
    frames, metadata = sample(Path(os.environ["HDF_REAL_VIDEOS"]) / "single_face.mp4")
    assert metadata.total_num_frames == 72
    assert metadata.frames_indices == [int((i + 0.5) * 72 / 16) for i in range(16)]
    assert frames.shape == (16, 360, 640, 3)
