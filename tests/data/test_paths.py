"""The gate for files that are given away."""

import json
import os
import sys
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from safetensors.numpy import save_file
from trees import write_video

from modeling_hdf.data.paths import check_clip, check_content, checked_file, path_inside, regular_file

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes of POSIX")


@pytest.fixture
def folder(tmp_path):
    """A folder with a file of each kind, and a secret beside it."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.json").write_text('{"a": 1}')
    (folder / "a.py").write_text("a = 1\n")
    (folder / "a.yaml").write_text("a: 1\n")
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    pq.write_table(pa.table({"a": [1]}), folder / "a.parquet")
    save_file({"a": np.ones(3, dtype=np.float32)}, folder / "a.safetensors", metadata={"format": "pt"})
    (tmp_path / "secret.json").write_text('{"key": "secret"}')
    return folder


NAMES = ("a.json", "a.py", "a.yaml", "a.png", "a.parquet", "a.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_its_kind_passes(folder, name):
    assert checked_file(folder, name) == folder / name
    check_content(name, (folder / name).read_bytes())


@needs_posix
def test_a_link_within_the_folder_passes_as_the_file_itself(folder):
    (folder / "deep/link.json").symlink_to("../a.json")
    (folder.parent / "to_folder").symlink_to(folder)
    assert checked_file(folder, "deep/link.json") == folder / "a.json"
    assert checked_file(folder.parent / "to_folder", "a.json") == folder / "a.json"


@needs_posix
@pytest.mark.parametrize("name", ["../secret.json", "deep/../../secret.json", "link.json", "out/secret.json", "chain"])
def test_what_leads_out_of_the_folder_is_refused(folder, name):
    (folder / "link.json").symlink_to(folder.parent / "secret.json")
    (folder / "chain").symlink_to("link.json")
    (folder / "out").symlink_to(folder.parent)
    with pytest.raises(ValueError, match="leads out of"):
        path_inside(folder, name)
    with pytest.raises(ValueError, match="leads out of"):
        checked_file(folder, name)


def test_absolute_paths_and_folders_whose_names_only_begin_alike(folder, tmp_path):
    assert path_inside(folder, folder / "a.json") == folder / "a.json"
    (tmp_path / "folder2").mkdir()
    for path in (tmp_path / "folder2", tmp_path / "secret.json"):
        with pytest.raises(ValueError, match="leads out of"):
            path_inside(folder, path)


@needs_posix
def test_pipes_devices_and_folders_are_refused_unopened(folder):
    os.mkfifo(folder / "pipe.json")
    for path in (folder / "pipe.json", folder / "deep", "/dev/zero"):
        with pytest.raises(ValueError, match="expected a regular file"):
            regular_file(path)
    with pytest.raises(ValueError, match="expected a regular file"):
        checked_file(folder, "pipe.json")
    with pytest.raises(FileNotFoundError):
        checked_file(folder, "nothing.json")


@pytest.mark.parametrize(
    "name, content",
    [
        *((name, b"\x00\x01\xfe\xff") for name in NAMES),
        *((name, b"") for name in NAMES if name not in ("a.py", "a.yaml")),
        ("a.json", b"[1]"),
        ("a.json", b"hf_x"),
        ("a.py", "ü".encode("latin-1")),
        ("a.md", b"text\0"),
        ("a.png", b"\x89PNG\r\n\x1a\nsecret"),
        ("a.parquet", b"PAR1PAR1"),
        ("a.parquet", b"PAR1 and text"),
        ("a.safetensors", b"\xff" * 8 + b"{}"),
        ("a.safetensors", (2).to_bytes(8, "little") + b"{}secret"),
        ("a.safetensors", (2).to_bytes(8, "little") + b"[]"),
        ("a.bin", b"anything"),
        ("a", b"anything"),
        ("a.json.pkl", b"{}"),
    ],
)
def test_what_is_not_what_its_suffix_says_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    for given in (content, tmp_path / name):
        with pytest.raises(ValueError, match=name):
            check_content(name, given)


def test_nothing_lies_behind_or_beside_a_picture_and_tensors(folder):
    for name in ("a.png", "a.safetensors"):
        content = (folder / name).read_bytes()
        for changed in (content + b"secret", content[:-1]):
            with pytest.raises(ValueError, match=name):
                check_content(name, changed)
    picture = bytearray((folder / "a.png").read_bytes())
    picture[20] ^= 1
    with pytest.raises(ValueError, match="a.png"):
        check_content("a.png", bytes(picture))


def test_a_picture_with_text_is_still_one(folder):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", "x", zip=True)
    Image.new("RGB", (4, 4)).save(folder / "a.png", pnginfo=notes)
    assert checked_file(folder, "a.png") == folder / "a.png"


def test_a_clip_is_a_video_or_a_picture(folder, tmp_path):
    write_video(tmp_path / "clip.mp4", 1)
    check_clip("clip.mp4", (tmp_path / "clip.mp4").read_bytes())
    check_clip("a.png", (folder / "a.png").read_bytes())
    for content in (
        b"-----BEGIN " + b"OPENSSH PRIVATE KEY-----\n",
        json.dumps({"a": 1}).encode(),
        zlib.compress(b"a"),
    ):
        with pytest.raises(ValueError, match="clip.mp4"):
            check_clip("clip.mp4", content)
