"""Clips that ask for too much: each is refused by name before it fills the memory."""

import os
import struct
import subprocess
import sys
import warnings
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from transformers.video_utils import VideoMetadata
from video_files import numbered_frame, read_numbers, write_video

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.clip_reading_hdf import open_clip, read_clip
from modeling_hdf.data import load_clip
from modeling_hdf.data.builders.clip_files import inspect_clip
from modeling_hdf.limits_hdf import LIMITS, LimitError
from modeling_hdf.mp4_index_hdf import count_index_entries
from modeling_hdf.video_reading_hdf import all_frames

READ_WITH_LITTLE_MEMORY = """
import resource, sys
from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data.builders.clip_files import inspect_clip
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    HDFVideoProcessor().load_clip(sys.argv[1])
except ValueError as error:
    print(type(error).__name__, error)
print(inspect_clip(sys.argv[1], "full").problem)
"""


def refusal(path: Path, megabytes: int) -> str:
    """What a process that may take so much more memory says of a clip."""
    command = [sys.executable, "-c", READ_WITH_LITTLE_MEMORY, str(path), str(megabytes << 20)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    message, problem = result.stdout.splitlines()
    assert problem == "unreadable"
    return message


def png_header(width: int, height: int) -> bytes:
    """A PNG file that says its size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_video_of_huge_black_frames_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    width = height = 12_000
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts, frame.time_base = 0, Fraction(1, 30)
    with av.open(str(tmp_path / "black.mkv"), "w") as output:
        stream = output.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    message = refusal(tmp_path / "black.mkv", 190)  # one decoded frame takes 206 MiB
    assert f"{tmp_path}/black.mkv: no frame" in message and "more pixels than the limit of 67,108,864" in message
    path = write_video(tmp_path / "clip.mp4", 3)
    monkeypatch.setattr(LIMITS, "frame_pixels", 96 * 32 - 1)
    with pytest.raises(
        LimitError, match=f"{path}: its frames have 96 x 32 = 3,072 pixels, .*`LIMITS.frame_pixels` of"
    ):
        read_clip(path, all_frames)


def test_size_that_grows_midway_is_not_decoded(tmp_path, monkeypatch, caplog):
    with av.open(str(tmp_path / "grows.mkv"), "w") as output:
        stream = output.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 32, "yuvj420p"
        for index in range(3):
            picture = Image.fromarray(numbered_frame(index)).resize((960, 320) if index == 1 else (96, 32))
            jpeg = BytesIO()
            picture.save(jpeg, "jpeg")
            packet = av.Packet(jpeg.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 30)
            output.mux(packet)
    assert len(read_clip(tmp_path / "grows.mkv", all_frames)[0]) == 3
    monkeypatch.setattr(LIMITS, "frame_pixels", 10_000)
    frames, _ = read_clip(tmp_path / "grows.mkv", all_frames)
    assert read_numbers(frames) == [0, 2] and "grows.mkv: 1 packets or frames are damaged" in caplog.text


@pytest.mark.parametrize("kind", ["stsz", "trun"])
def test_index_of_fifty_million_packets_is_refused_before_it_is_loaded(tmp_path, kind):
    options = {"container_options": {"movflags": "frag_keyframe+empty_moov"}} if kind == "trun" else {}
    content = bytearray(write_video(tmp_path / "clip.mp4", 5, **options).read_bytes())
    start = content.index(kind.encode()) + 4
    numbers = (0, 50_000_000) if kind == "trun" else (0, 100, 50_000_000)  # flags, for `stsz` one size, count
    content[start : start + 4 * len(numbers)] = struct.pack(f">{len(numbers)}I", *numbers)
    (tmp_path / "clip.mp4").write_bytes(content)
    message = refusal(tmp_path / "clip.mp4", 300)
    assert f"{tmp_path}/clip.mp4: its index lists 50,0" in message and "limit is 8,000,000" in message
    with pytest.raises(LimitError, match=r"video \(\d+ bytes\): its index lists"):
        read_clip(bytes(content), all_frames)


def with_compressed_index(content: bytes, length: int | None = None, times: int = 1) -> bytes:
    """A QuickTime file with its index compressed, as often as given; its length can be a false one."""

    def box(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(data), kind) + data

    start = content.index(b"moov") - 4
    end = start + int.from_bytes(content[start : start + 4], "big")
    index = content[start:end]
    for _ in range(times):
        stored = struct.pack(">I", length or len(index)) + zlib.compress(index)
        index = box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", stored)))
    return content[:start] + index + content[end:]


def test_a_compressed_index_is_read_and_counted(tmp_path):
    path = write_video(tmp_path / "clip.mov", 12)
    content = path.read_bytes()
    path.write_bytes(with_compressed_index(content))
    assert read_numbers(read_clip(path, all_frames)[0]) == list(range(12))
    for times in (1, 2, 3):
        assert count_index_entries(BytesIO(with_compressed_index(content, times=times))) == 12
    no_zlib = with_compressed_index(content).replace(zlib.compress(b"")[:2], b"no")
    assert count_index_entries(BytesIO(no_zlib)) == 0
    bomb = bytearray(content)
    start = bomb.index(b"stsz") + 4
    bomb[start : start + 12] = struct.pack(">3I", 0, 100, 50_000_000)
    for damaged in (with_compressed_index(bytes(bomb)), with_compressed_index(content, length=0xFFFFFFF0)):
        path.write_bytes(damaged)
        with pytest.raises(LimitError, match=r"clip.mov: its index lists [0-9,]+ packets, and the limit is 8,000,000"):
            read_clip(path, all_frames)


def test_index_is_counted_as_ffmpeg_counts_it(tmp_path):
    for name, options in (
        ("clip.mp4", {}),
        ("clip.mov", {}),
        ("parts.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("clip.mkv", {}),
    ):
        path = write_video(tmp_path / name, 45, **options)
        with open(path, "rb") as file:
            assert count_index_entries(file) == (0 if name.endswith("mkv") else 45)
    with av.open(str(tmp_path / "sound.mov"), "w") as output:  # 16,000 numbers a second are no packets
        stream = output.add_stream("pcm_s16le", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.int16), format="s16", layout="mono")
        sound.rate = 16000
        output.mux(stream.encode(sound))
        output.mux(stream.encode())
    assert count_index_entries(str(tmp_path / "sound.mov")) == 0
    for content in (b"", b"\0\0\0\1moov", b"\0\0\0\0moov" + bytes(50), b"\0\0\0\7moov\0\0\0\1moov"):
        assert count_index_entries(BytesIO(content)) == 0


@pytest.mark.parametrize("size", [9_000, 12_000, 60_000])  # Pillow warns above 9,459 and raises above 13,377
def test_picture_that_says_it_is_huge_is_refused(tmp_path, size):
    for name in ("1.png", "a.apng"):
        (tmp_path / name).write_bytes(png_header(size, size))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with pytest.raises(LimitError, match=f"^{tmp_path}/{name}: .*{size * size:,} pixels, and the limit"):
                read_clip(tmp_path / name, all_frames)
            with pytest.raises(LimitError, match=f"^video .*{size * size:,} pixels"):
                read_clip((tmp_path / name).read_bytes(), all_frames)
    assert inspect_clip(str(tmp_path / "a.apng"), "full").problem == "unreadable"
    (tmp_path / "a.apng").unlink()
    found = inspect_clip(str(tmp_path), "quick")
    assert found.problem == "unreadable" and f"{tmp_path}/1.png: " in found.detail


def test_animation_on_a_huge_canvas_is_refused(tmp_path):
    first, second = (Image.new("P", (8, 8), shade) for shade in (0, 1))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    content = bytearray((tmp_path / "a.gif").read_bytes())
    content[6:10] = struct.pack("<2H", 60_000, 60_000)  # the canvas, of which the frames fill a corner
    (tmp_path / "a.gif").write_bytes(content)
    assert "a.gif: the picture has 3,600,000,000 pixels" in refusal(tmp_path / "a.gif", 500)
    content[6:10] = struct.pack("<2H", 12_000, 12_000)
    (tmp_path / "a.gif").write_bytes(content)
    assert "a.gif: its frames have 12,000 x 12,000" in refusal(tmp_path / "a.gif", 300)


def test_many_large_pictures_are_refused_together(tmp_path):
    Image.new("1", (8_000, 8_000)).save(tmp_path / "large.png")  # 192 MB as RGB
    frames = [str(tmp_path / "large.png")] * 30
    with pytest.raises(LimitError, match=f"{tmp_path}: 30 frames of 8,000 x 8,000 pixels take 5,760,000,000 bytes"):
        load_clip({"clip": {"path": None, "frames": frames}})


def jumping_video(path: Path, seconds: int) -> Path:
    return write_video(path, 4, pts=[0, 30, 60, 30 * seconds], max_b_frames=0)


def test_jump_of_the_time_stamps_does_not_ask_for_millions_of_frames(tmp_path):
    path = jumping_video(tmp_path / "day.mkv", 86_400 * 3)  # three days, which could be
    processor = HDFVideoProcessor(num_frames=4)
    assert len(processor.load_clip(path)[0]) == 4
    with pytest.raises(ValueError, match="day.mkv: .*fps=8 are 2,073,.* frames, and the limit is 2,000,000"):
        processor.load_clip(path, num_frames=None, fps=8)
    path = jumping_video(tmp_path / "year.mkv", 86_400 * 400)
    with pytest.raises(LimitError, match="year.mkv: its time stamps span 34,560,.* seconds"):
        processor.load_clip(path)
    metadata = VideoMetadata(4, fps=1e-7, duration=4e7)
    with pytest.raises(ValueError, match="videos.*320,000,000 frames"):
        processor(np.zeros((4, 3, 8, 8), np.uint8), fps=8, video_metadata=[metadata])


def test_long_times_are_sampled_exactly():
    """Products that do not fit into 64 bits: compared with whole numbers of any size."""
    timestamps = np.array([0, 1 << 55, (1 << 60) + 1, 1 << 61], dtype=np.int64)
    indices = HDFVideoProcessor().sample_frames(VideoMetadata(3), num_frames=50, timestamps=timestamps)
    starts = timestamps.tolist()
    expected = [
        max(i for i in range(3) if starts[i] * 100 <= (2 * position + 1) * starts[3]) for position in range(50)
    ]
    assert indices.tolist() == expected


@pytest.mark.parametrize("kind", ["video", "animation", "folder"])
def test_each_reader_counts_frames_and_bytes(tmp_path, monkeypatch, kind):
    pictures = [Image.fromarray(numbered_frame(number)) for number in range(12)]
    path = tmp_path / {"video": "clip.mkv", "animation": "clip.gif", "folder": "frames"}[kind]
    if kind == "video":
        write_video(path, 12)
    elif kind == "animation":
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    else:
        path.mkdir()
        for number, picture in enumerate(pictures):
            picture.save(path / f"{number}.png")
    size = 12 * 32 * 96 * 3
    monkeypatch.setattr(LIMITS, "frames", 12)
    monkeypatch.setattr(LIMITS, "returned_bytes", size)
    assert len(read_clip(path, all_frames)[0]) == 12
    monkeypatch.setattr(LIMITS, "returned_bytes", size - 1)
    with pytest.raises(LimitError, match=f"{path}: 12 frames of 96 x 32 pixels take {size:,} bytes"):
        read_clip(path, all_frames)
    assert len(list(open_clip(path).stream())) == 12  # one at a time
    monkeypatch.setattr(LIMITS, "frames", 11)
    with pytest.raises(LimitError, match=f"{path}: 12 or more .*limit is 11. Cut it .*`LIMITS.frames` of"):
        list(open_clip(path).stream())
    if kind != "folder":
        monkeypatch.setattr(LIMITS, "frames", 12)
        monkeypatch.setattr(LIMITS, "decoding_seconds", 0.0)
        with pytest.raises(LimitError, match=f"{path}: decoding has taken"):
            list(open_clip(path).stream())
