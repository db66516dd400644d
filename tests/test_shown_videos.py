"""Videos as players show them: formats, square pixels, side data, which stream, and times that say nothing."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from transformers.video_utils import VideoMetadata
from video_files import HEIGHT, WIDTH, numbered_frame, read_numbers, write_video

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.clip_reading_hdf import read_clip
from modeling_hdf.file_kinds_hdf import VIDEO_SUFFIXES, has_suffix
from modeling_hdf.video_reading_hdf import all_frames

PROCESSOR = HDFVideoProcessor()
ONE = 1 << 16


def sample(video, num_frames: int):
    return read_clip(video, partial(PROCESSOR.sample_frames, num_frames=num_frames))


FORMATS = {
    "clip.mp4": {}, "clip.mov": {}, "clip.m4v": {}, "clip.f4v": {}, "clip.mkv": {}, "clip.avi": {"max_b_frames": 0},
    "clip.ts": {}, "clip.m2ts": {}, "clip.mts": {"container": "mpegts"}, "clip.flv": {}, "clip.nut": {},
    "clip.3gp": {"codec": "mpeg4"}, "clip.3g2": {"codec": "mpeg4"},
    "clip.webm": {"codec": "libvpx", "max_b_frames": 0},
    "clip.ogv": {"codec": "libvpx", "max_b_frames": 0, "container": "ogg"},
    "clip.mpg": {"codec": "mpeg2video"}, "clip.mpeg": {"codec": "mpeg1video"}, "clip.vob": {"codec": "mpeg2video"},
    "clip.m2v": {"codec": "mpeg2video", "container": "mpeg2video"}, "clip.mxf": {"codec": "mpeg2video", "rate": 25},
    "clip.wmv": {"codec": "wmv2", "max_b_frames": 0}, "clip.asf": {"codec": "wmv2", "max_b_frames": 0},
    "clip.rm": {"codec": "rv20", "max_b_frames": 0}, "clip.h264": {},
    "clip.ivf": {"codec": "libvpx", "max_b_frames": 0},
    "clip.mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "max_b_frames": 0},
    "clip.y4m": {"codec": "wrapped_avframe", "container": "yuv4mpegpipe", "max_b_frames": 0},
    "clip.wtv": {"codec": "mpeg2video", "container": "wtv"},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_opens_as_path_and_as_content(tmp_path, name, caplog):
    path = write_video(tmp_path / name, 12, **FORMATS[name])
    frames, _ = read_clip(path, all_frames)
    assert read_numbers(frames) == list(range(12))
    if name != "clip.mjpeg":  # without its name, one JPEG picture
        np.testing.assert_array_equal(read_clip(path.read_bytes(), all_frames)[0], frames)
    assert has_suffix(path, VIDEO_SUFFIXES) and not caplog.records


@pytest.mark.parametrize("aspect, width", [(Fraction(4, 3), 128), (Fraction(1, 2), 48), (Fraction(1, 40), WIDTH)])
def test_pixels_are_made_square(tmp_path, aspect, width, caplog):
    path = write_video(tmp_path / "clip.mp4", 3, pixel_aspect=aspect)  # the last is no pixel but a fault
    frames, metadata = sample(path, 3)
    assert frames.shape == (3, HEIGHT, width, 3) and (metadata.height, metadata.width) == (HEIGHT, width)
    back = [np.asarray(Image.fromarray(frame).resize((WIDTH, HEIGHT))) for frame in frames]
    assert read_numbers(np.stack(back)) == [0, 1, 2]
    assert (f"{path}: declares pixels with sides of 1:40" in caplog.text) == (aspect == Fraction(1, 40))


def test_pixels_are_made_square_before_the_picture_is_turned(tmp_path):
    matrix = (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30)
    path = write_video(tmp_path / "clip.mp4", 3, display_matrix=matrix, pixel_aspect=Fraction(4, 3))
    assert sample(path, 1)[0].shape == (1, 128, HEIGHT, 3)


@pytest.mark.parametrize("name, is_mirrored", [("clip.mp4", False), ("clip.mov", True), ("clip.mkv", False)])
@pytest.mark.parametrize("source", ["path", "content"])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_side_data_of_an_unknown_kind_does_not_hide_the_turn(tmp_path, name, source, turn, is_mirrored, monkeypatch):
    """As PyAV raises for files of newer cameras, whose side data its table lacks."""
    a, b, c, d = [(ONE, 0, 0, ONE), (0, -ONE, ONE, 0), (-ONE, 0, 0, -ONE), (0, ONE, -ONE, 0)][turn]
    if is_mirrored:  # after the turn
        a, c = -a, -c
    picture = np.zeros((32, 64, 3), dtype=np.uint8)
    picture[:16, :32], picture[16:, :32] = 255, 128
    path = write_video(tmp_path / name, [picture] * 3, display_matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    expected = np.rot90(picture, turn)[:, :: -1 if is_mirrored else 1]  # counterclockwise
    video = path if source == "path" else path.read_bytes()
    usual, _ = sample(video, 2)
    assert np.abs(usual[0].astype(int) - expected).mean() < 3
    met = []

    def refuse(frame):
        met.append(frame)
        raise ValueError("31 is not a valid Type")

    monkeypatch.setattr("av.frame.SideDataContainer", refuse)
    frames, _ = sample(video, 2)
    assert met and frames.shape[1:] == expected.shape
    assert np.abs(frames[0].astype(int) - expected).mean() < 3


@pytest.mark.parametrize("default, numbers", [(0, range(4)), (1, range(100, 112))])
def test_the_default_video_stream_is_taken(tmp_path, default, numbers):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w", options={"default_mode": "infer_no_subs"}) as output:
        streams = [output.add_stream("mpeg4", rate=30) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for start, stop, stream in ((0, 4, streams[0]), (100, 112, streams[1])):
            for number in range(start, stop):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")))
            output.mux(stream.encode())
    assert read_numbers(read_clip(path, all_frames)[0]) == list(numbers)


def test_times_that_are_all_one_count_as_none(tmp_path):
    # Matroska counts milliseconds: at 100 000 frames per second all frames start at 0.
    path = write_video(tmp_path / "clip.mkv", 12, rate=100_000, max_b_frames=0)
    with av.open(str(path)) as source:
        assert {frame.pts for frame in source.decode(video=0)} == {0}
    frames, metadata = sample(path, 4)
    assert read_numbers(frames) == [1, 4, 7, 10]
    assert metadata.total_num_frames == 12


def test_a_duration_of_zero_is_no_duration():
    for metadata in (VideoMetadata(20, duration=0.0), VideoMetadata(20, duration=0.0, fps=0.0)):
        with pytest.raises(ValueError, match="known duration"):
            PROCESSOR.sample_frames(metadata, fps=3)


def write_changing_size(path: Path) -> None:
    """A stream of JPEG pictures of two sizes, which FFmpeg decodes as one video."""
    content = b""
    for number, scale in enumerate((1, 2, 1)):
        part = path.with_name(f"{number}.jpg")
        picture = Image.fromarray(numbered_frame(number))
        picture.resize((WIDTH * scale, HEIGHT * scale), Image.Resampling.NEAREST).save(part, quality=95)
        content += part.read_bytes()
    path.write_bytes(content)


def test_a_size_that_changes_midway_is_scaled_to_that_of_the_first_frame(tmp_path):
    write_changing_size(tmp_path / "clip.mjpeg")
    for picked in ([0, 1, 2], [1, 2]):
        frames, _ = read_clip(tmp_path / "clip.mjpeg", lambda picked=picked, **_: np.array(picked))
        assert frames.shape == (len(picked), HEIGHT, WIDTH, 3)
        assert read_numbers(frames) == picked
