"""What a visitor may send, whatever the header of the file says: all else is refused, in words without a path."""

import io
import struct
import zipfile
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from modeling_hdf.data import encode_mp4

pytest.importorskip("gradio")
pytest.importorskip("cv2")
from modeling_hdf.demo.answers import answer  # noqa: E402
from modeling_hdf.demo.limits import DEMO_LIMITS, DemoLimits, applied, read_upload  # noqa: E402
from modeling_hdf.inference import VideoAnalyzer  # noqa: E402
from modeling_hdf.limits_hdf import LimitError  # noqa: E402
from modeling_hdf.video_reading_hdf import VideoFile  # noqa: E402


@pytest.fixture(scope="module")
def analyzer() -> VideoAnalyzer:
    return VideoAnalyzer("hdf-tiny-synthetic", device="cpu")


@pytest.fixture
def video(tmp_path) -> str:
    path = tmp_path / "secret_name.mp4"
    path.write_bytes(encode_mp4(np.zeros((30, 64, 64, 3), np.uint8), 10, 30.0))
    return str(path)


def test_a_small_video_passes(video):
    assert len(list(read_upload(video, DEMO_LIMITS).stream())) == 30


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (DemoLimits(megabytes=0), "has 0 MB; this page takes up to 0 MB"),
        (DemoLimits(seconds=2.0), "lasts 3 seconds; this page takes up to 50 MB, 2 seconds"),
    ],
)
def test_too_much_is_refused_with_the_limits(video, limits, message):
    with pytest.raises(ValueError, match=message) as raised:
        read_upload(video, limits)
    assert "secret_name" not in str(raised.value)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mjpeg"])  # FFmpeg forgets the sizes of some
def test_too_many_pixels_are_refused_in_words_for_visitors(tmp_path, analyzer, codec):
    path = tmp_path / "secret_name.mkv"
    path.write_bytes(encoded(range(5), "matroska", codec=codec))
    limits = DemoLimits(pixels=60 * 60)
    with applied(limits), pytest.raises(ValueError, match="^The video is too large for this page") as raised:
        answer(analyzer, str(path), limits)
    assert "secret_name" not in str(raised.value) and "LIMITS" not in str(raised.value)


def encoded(
    times: range, form: str, time_base: Fraction = Fraction(1, 10), codec: str = "libx264", **options: str
) -> bytes:
    """A grey video of 64x64 pixels with a frame at each of these times."""
    with io.BytesIO() as file:
        with av.open(file, "w", format=form, options=options) as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = 64, 64
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.codec_context.time_base = time_base
            for time in times:
                frame = av.VideoFrame(64, 64, stream.pix_fmt)
                for plane in frame.planes:
                    plane.update(bytes([128]) * plane.buffer_size)
                frame.pts, frame.time_base = time, time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return file.getvalue()


def with_false_duration() -> bytes:
    """A Matroska file of 30 seconds that declares one."""
    content = encoded(range(300), "matroska")
    place = content.index(b"\x44\x89\x88") + 3  # the element Duration, of 8 bytes, in milliseconds
    assert 29_000 < struct.unpack(">d", content[place : place + 8])[0] < 31_000
    return content[:place] + struct.pack(">d", 1000.0) + content[place + 8 :]


@pytest.mark.parametrize(
    ("content", "declared"),
    [
        (lambda: encoded(range(300), "matroska", live="1"), 0.0),
        (lambda: encoded(range(300), "h264"), 0.0),
        (with_false_duration, 1.0),
    ],
    ids=["no duration", "no times", "false duration"],
)
def test_a_video_that_is_longer_than_it_says_is_refused_where_it_is_too_long(tmp_path, analyzer, content, declared):
    path = tmp_path / "a.video"
    path.write_bytes(content())
    source = VideoFile(str(path))
    with source.open():
        assert source.declared_duration == pytest.approx(declared, abs=0.1)
    with pytest.raises(ValueError, match="^The video is longer than 2 seconds; this page takes up to 50 MB"):
        answer(analyzer, str(path), DemoLimits(seconds=2.0))
    with pytest.raises(ValueError, match="^No face was found"):
        answer(analyzer, str(path), DemoLimits(seconds=40.0))


def test_frames_that_stand_almost_still_in_time_are_refused(tmp_path, analyzer):
    path = tmp_path / "a.mkv"
    path.write_bytes(encoded(range(60), "matroska", Fraction(1, 1000)))
    with pytest.raises(ValueError, match="more than 50 frames per second"):
        answer(analyzer, str(path), DemoLimits(fps=50))
    with pytest.raises(ValueError, match="^No face was found"):
        answer(analyzer, str(path), DemoLimits(fps=70))


def test_an_answer_ends_when_its_time_is_over(video, analyzer):
    with pytest.raises(ValueError, match="would take longer than 0 seconds. Send a shorter video"):
        answer(analyzer, video, DemoLimits(work_seconds=0.0))


def picture() -> bytes:
    with io.BytesIO() as file:
        Image.new("RGB", (8, 8)).save(file, "GIF")
        return file.getvalue()


def zipped() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "a")
        return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", bytes(20_000_000), zipped(), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", picture()],
    ids=["empty", "zeros", "zip", "playlist", "picture"],
)  # fmt: skip
def test_what_is_no_video_is_refused_without_its_path(tmp_path, content):
    path = tmp_path / "secret_name.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="The file") as raised:
        read_upload(str(path), DEMO_LIMITS)
    assert "secret_name" not in str(raised.value)


@pytest.mark.parametrize(
    "limits", [DemoLimits(pixels=60 * 60), DemoLimits(work_seconds=0.0)], ids=["pixels", "seconds"]
)
def test_the_limits_hold_for_the_whole_process_until_the_page_ends(video, limits):
    with applied(limits), pytest.raises(LimitError):
        list(VideoFile(video).stream())
    assert len(list(VideoFile(video).stream())) == 30
