"""What a visitor may send: files are refused by size, kind, header and first frame, in words without a path."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from modeling_hdf.data import encode_mp4

pytest.importorskip("gradio")
from modeling_hdf.demo.limits import DEMO_LIMITS, DemoLimits, applied, read_upload
from modeling_hdf.limits_hdf import LIMITS


@pytest.fixture
def video(tmp_path) -> str:
    path = tmp_path / "secret_name.mp4"
    path.write_bytes(encode_mp4(np.zeros((30, 64, 64, 3), np.uint8), 10, 30.0))
    return str(path)


def test_a_small_video_passes(video):
    assert read_upload(video, DEMO_LIMITS) == Path(video).read_bytes()


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


def test_too_many_pixels_are_refused(video, monkeypatch):
    monkeypatch.setattr(LIMITS, "frame_pixels", 60 * 60)
    with pytest.raises(ValueError, match="The video is too large; this page takes up to 50 MB"):
        read_upload(video, DEMO_LIMITS)


def zipped() -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "a")
        return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", bytes(20_000_000), zipped(), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"],
    ids=["empty", "zeros", "zip", "playlist"],
)  # fmt: skip
def test_what_is_no_video_is_refused_without_its_path(tmp_path, content):
    path = tmp_path / "secret_name.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="The file") as raised:
        read_upload(str(path), DEMO_LIMITS)
    assert "secret_name" not in str(raised.value)


def test_the_limits_hold_for_the_whole_process_until_the_page_ends():
    before = (LIMITS.frame_pixels, LIMITS.duration, LIMITS.decoding_seconds)
    with applied(DemoLimits(pixels=7, seconds=8.0, work_seconds=9.0)):
        assert (LIMITS.frame_pixels, LIMITS.duration, LIMITS.decoding_seconds) == (7, 8.0, 9.0)
    assert (LIMITS.frame_pixels, LIMITS.duration, LIMITS.decoding_seconds) == before
