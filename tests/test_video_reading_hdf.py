"""Reading of video files: containers, timestamps, orientation, pixel formats, memory, bad input."""

import os
import struct
import subprocess
import sys
from fractions import Fraction
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from video_files import HEIGHT, WIDTH, naive_sample, read_numbers, write_video

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.clip_reading_hdf import read_clip
from modeling_hdf.joined_clock_hdf import JoinedClock
from modeling_hdf.video_reading_hdf import VideoFile, all_frames

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


def test_two_passes_over_one_file_object_do_not_disturb_each_other(tmp_path):
    pictures = list(np.random.default_rng(0).integers(0, 255, (60, 160, 240, 3), dtype=np.uint8))  # a large file
    video = VideoFile(BytesIO(write_video(tmp_path / "large.mp4", pictures).read_bytes()))
    alone = [frame.rgb() for frame in video.stream()]
    together = list(zip(video.stream(), video.stream(), strict=True))
    assert len(together) == len(alone) == 60
    for (first, second), expected in zip(together, alone, strict=True):
        assert np.array_equal(first.rgb(), expected) and np.array_equal(second.rgb(), expected)


@pytest.mark.parametrize("name, codec", [("clip.ts", "libx264"), ("clip.mpg", "mpeg2video")])
def test_time_goes_on_where_the_clock_of_joined_files_starts_again(tmp_path, name, codec):
    path = write_video(tmp_path / name, 50, codec=codec, rate=25, max_b_frames=2 * (codec == "libx264"))
    path.write_bytes(path.read_bytes() * 3)
    frames = list(VideoFile(path).stream())
    assert read_numbers(np.stack([frame.rgb() for frame in frames])) == [*range(50)] * 3
    assert {later.start - earlier.start for earlier, later in pairwise(frames)} == {Fraction(1, 25)}
    frames, metadata = read_clip(path, partial(PROCESSOR.sample_frames, num_frames=6))
    assert metadata.duration == pytest.approx(6.0) and read_numbers(frames) == [12, 37] * 3


def test_packets_with_a_wrong_time_do_not_move_those_after_them():
    def shown(times: list[int]) -> list[int]:
        clock, result = JoinedClock(), []
        for time in times:
            packet = SimpleNamespace(dts=time, pts=time, duration=2, time_base=Fraction(1, 10))
            clock.read(packet)
            clock.correct(packet)
            result.append(packet.pts)
        return result

    assert shown([100, 102, 5, 7, 108, 110]) == [100, 102, 104, 106, 108, 110]
    assert shown([100, 102, 0, 2, 4, 6, 8, 10, 12, 120]) == [100, 102, 104, 106, 108, 110, 112, 114, 116, 224]
    assert shown([100, 102, 0, 2, 0, 2]) == [100, 102, 104, 106, 108, 110]


@pytest.mark.parametrize("name", ["avi h264 with B-frames", "avi mpeg4 with B-frames", "avi mpeg4"])
def test_times_of_an_avi_run_forward_also_behind_a_damaged_packet(tmp_path, name):
    file_name, options = CONTAINERS[name]
    path = write_video(tmp_path / file_name, 20, pts=[*range(10), *range(30, 40)], **options)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    expected = sorted(packet.pts for packet in packets)
    assert max(np.diff(expected)) > 15
    assert [frame.ticks for frame in VideoFile(path).stream()] == expected
    content = bytearray(path.read_bytes())
    content[packets[4].pos + 8 : packets[4].pos + packets[4].size] = bytes(packets[4].size - 8)
    after = [frame.ticks for frame in VideoFile(bytes(content)).stream()]
    assert after == sorted(after) and len(after) > 15
    assert after[-4:] == expected[-4:]  # the keyframe sets the clock right


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
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)  # off by default; the older torchvisions switch it on
    try:
        frames, _ = read_clip(bytes(content), lambda metadata, timestamps: np.array([0, 0, 5]))
        assert read_numbers(frames) == [0, 0, 5]
        # The pass over the packet headers tells of the damage behind frame 5; the decoder does not meet it,
        assert "_frames" not in {record.funcName for record in caplog.records}
        with pytest.raises(ValueError, match="frame"):
            read_clip(bytes(content), lambda metadata, timestamps: np.array([0, 0, 40]))
        assert "_frames" in {record.funcName for record in caplog.records}  # unless it is asked for what lies there
    finally:
        av.logging.set_level(level)


def test_without_sampling_all_frames_are_returned(clip):
    assert read_numbers(read_clip(clip, all_frames)[0]) == list(range(20))


@pytest.mark.skipif("HDF_REAL_VIDEOS" not in os.environ, reason="HDF_REAL_VIDEOS names a folder of real clips")
def test_real_clip_is_sampled_over_its_whole_length():
    frames, metadata = sample(Path(os.environ["HDF_REAL_VIDEOS"]) / "single_face.mp4")
    assert metadata.total_num_frames == 72
    assert metadata.frames_indices == [int((i + 0.5) * 72 / 16) for i in range(16)]
    assert frames.shape == (16, 360, 640, 3)
