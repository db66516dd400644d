"""Picture files as shown: orientation, deep and odd pixel types; and which of them are refused."""

import struct

import numpy as np
import pytest
from PIL import Image

from modeling_hdf.clip_reading_hdf import read_clip
from modeling_hdf.video_reading_hdf import all_frames


def read_picture(path) -> np.ndarray:
    return read_clip(path, all_frames)[0][0]


# What a viewer does to the stored rows and columns for each EXIF orientation, by the standard's own table.
ORIENTATIONS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_pictures_are_turned_and_mirrored_as_their_exif_tag_says(tmp_path, orientation, suffix):
    stored = np.zeros((32, 64, 3), dtype=np.uint8)
    stored[:16, :32], stored[16:, :32] = 255, 128
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"photo.{suffix}", exif=exif)
    expected = ORIENTATIONS[orientation](stored).astype(int)
    picture = read_picture(tmp_path / f"photo.{suffix}")
    assert picture.shape == expected.shape
    assert np.abs(picture - expected).mean() < 3


RAMP = np.linspace(0, 1, 40 * 64).reshape(40, 64)
DEEP = {
    "16-bit PNG": ("a.png", (RAMP * 65535).astype(np.uint16)),
    "16-bit TIFF": ("a.tif", (RAMP * 65535).astype(np.uint16)),
    "32-bit TIFF": ("a.tif", (RAMP * (2**31 - 1)).astype(np.int32)),
    "16 bits in a 32-bit TIFF": ("a.tif", (RAMP * 65535).astype(np.int32)),
    "float TIFF": ("a.tif", RAMP.astype(np.float32)),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_grey_is_scaled_to_eight_bits(tmp_path, name):
    file, pixels = DEEP[name]
    Image.fromarray(pixels).save(tmp_path / file)
    picture = read_picture(tmp_path / file)
    assert picture.shape == (40, 64, 3) and picture.dtype == np.uint8
    assert np.abs(picture - 255.0 * RAMP[..., None]).max() <= 1.0


def test_unsigned_32_bit_tiff_uses_its_whole_range(tmp_path):
    image = Image.fromarray((RAMP * (2**32 - 1)).astype(np.uint32).view(np.int32))
    image.save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    signed = struct.pack("<HHIH", 339, 3, 1, 2)  # the tag SampleFormat, which Pillow writes
    assert content.count(signed) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(signed, struct.pack("<HHIH", 339, 3, 1, 1)))
    assert np.abs(read_picture(tmp_path / "a.tif") - 255.0 * RAMP[..., None]).max() <= 1.0


def test_deep_grey_in_memory_is_scaled_too(tmp_path):
    frames = [Image.fromarray((RAMP * 65535).astype(np.uint16))]
    assert np.abs(read_clip(frames, all_frames)[0][0].numpy() - 255.0 * RAMP[..., None]).max() <= 1.0


def test_colours_of_every_mode_come_out_the_same(tmp_path):
    red = Image.new("RGB", (16, 8), (200, 30, 40))
    transparent = red.convert("RGBA")
    transparent.putalpha(0)  # transparency is dropped, not painted black
    versions = {
        "palette.png": red.convert("P", palette=Image.Palette.ADAPTIVE),
        "alpha.png": transparent,
        "alpha.webp": transparent,
        "still.gif": red,
        "cmyk.tif": red.convert("CMYK"),
        "cmyk.jpg": red.convert("CMYK"),
        "portable.ppm": red,
    }
    for name, image in versions.items():
        image.save(tmp_path / name, **({"exact": True, "lossless": True} if name.endswith("webp") else {}))
        picture = read_picture(tmp_path / name)
        assert picture.shape == (8, 16, 3), name
        assert np.abs(picture - np.array([200.0, 30.0, 40.0])).max() < 6, name
    for mode in ("L", "LA", "1"):
        Image.new(mode, (16, 8), 255 if mode != "LA" else (255, 0)).save(tmp_path / f"{mode}.png")
        np.testing.assert_array_equal(read_picture(tmp_path / f"{mode}.png"), 255)


@pytest.mark.parametrize(
    "pixels, message",
    [
        (np.full((4, 4), 2.0, dtype=np.float32), "floats are not all from 0 to 1"),
        (np.full((4, 4), np.nan, dtype=np.float32), "floats are not all from 0 to 1"),
        (np.full((4, 4), -5, dtype=np.int32), "numbers below 0"),
    ],
)
def test_pixels_without_a_known_white_are_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=f"a.tif: cannot be read as a picture: .*{message}"):
        read_picture(tmp_path / "a.tif")


def test_several_pages_are_no_animation(tmp_path):
    pages = [Image.new("RGB", (16, 8), (shade, 0, 0)) for shade in (200, 10)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "camera.mpo", save_all=True, append_images=pages[1:])
    (tmp_path / "camera.mpo").rename(tmp_path / "camera.jpg")
    for name in ("scan.tif", "camera.jpg"):
        frames, _ = read_clip(tmp_path / name, all_frames)
        assert frames.shape == (1, 8, 16, 3) and abs(int(frames[0, 0, 0, 0]) - 200) < 4


def test_the_still_of_an_apng_for_programs_without_animation_is_no_frame(tmp_path):
    pages = [Image.new("RGB", (16, 8), (shade, 0, 0)) for shade in (200, 10, 90)]
    for has_still, shades in ((True, [10, 90]), (False, [200, 10, 90])):
        pages[0].save(
            tmp_path / "a.png", save_all=True, append_images=pages[1:], default_image=has_still, duration=500
        )
        frames, metadata = read_clip(tmp_path / "a.png", all_frames)
        assert frames[:, 0, 0, 0].tolist() == shades
        assert metadata.duration == pytest.approx(0.5 * len(shades))


def test_an_animation_among_the_frames_of_a_folder_is_refused(tmp_path):
    pages = [Image.new("RGB", (16, 8), (shade, 0, 0)) for shade in (200, 10)]
    pages[0].save(tmp_path / "1.gif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "2.gif")
    with pytest.raises(ValueError, match="1.gif.*animation of 2 frames"):
        read_clip(tmp_path, all_frames)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "git lfs pull"),
        (b"<html>login</html>", "HTML page"),
        (bytes(range(256)), "cannot identify image file"),
    ],
)
def test_files_that_are_no_pictures_say_what_they_are(tmp_path, content, message):
    (tmp_path / "1.jpg").write_bytes(content)
    for clip in (tmp_path / "1.jpg", tmp_path):
        with pytest.raises(ValueError, match=rf"{tmp_path}/1.jpg: .*{message}"):
            read_clip(clip, all_frames)
