"""Nothing that is private passes to the Hub, wherever in a file it stands."""

import json
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from safetensors.numpy import save_file

from modeling_hdf.cli.main import main
from modeling_hdf.hub.client import push_files, write_files
from modeling_hdf.hub.gate import check_files

TOKEN = "hf_" + "aB3" * 11 + "x"
KEY = "-----BEGIN " + "OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk"
URL = "https://me:" + "geheim@example.org/x"


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "name, content, line",
    [
        ("a.py", f"a = 1\n# {TOKEN}\n", 2),
        ("a.md", f"a\n\n{URL}", 3),
        ("a.md", "a\n" + TOKEN.replace("_", "\\_"), 2),
        ("a.md", "https&#58;//me:" + "geheim@example.org", 1),
        ("a.txt", KEY, 1),
        ("a.csv", f"a,b\n1,{TOKEN}\n", 2),
        ("a.json", json.dumps({"a": 1, "b": {"c": [TOKEN]}}, indent=1), 5),
        ("a.json", json.dumps({"a": 1, TOKEN: 1}, indent=1), 3),
        ("a.json", f'{{"a":\n"{escaped(TOKEN)}"}}', 2),
        ("a.json", json.dumps({"id2label": {"0": TOKEN}}), 1),
        ("a.json", json.dumps({"a": KEY}), 1),
        ("a.json", json.dumps({"command": "train.py --hub_token x"}), 1),
    ],
)
def test_a_secret_in_any_text_is_refused_with_its_line_and_not_shown(name, content, line):
    with pytest.raises(ValueError, match=f"{name}, line {line}: holds ") as error:
        check_files({"b.txt": b"b", name: content.encode()})
    assert not any(secret in str(error.value) for secret in (TOKEN, KEY, "geheim"))


def test_a_name_given_twice_hides_no_secret():
    with pytest.raises(ValueError, match="a.json: is not JSON .it gives 'a' twice") as error:
        check_files({"a.json": f'{{"a": "{TOKEN}",\n"a": 1}}'.encode()})
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    "content, line",
    [
        ({"a": 1, "b": ["in /home/me/clips"]}, 4),
        ({"/home/me/clips": 1}, 2),
        ({"id2label": {"0": "/home/me"}}, 3),
        ({"recall": {r"C:\Users\me": 1}}, 3),
    ],
)
def test_a_path_of_this_machine_anywhere_in_json_is_refused(content, line):
    with pytest.raises(ValueError, match=f"a.json, line {line}: names a path of this machine"):
        check_files({"a.json": json.dumps(content, indent=1).encode()})
    check_files({"a.json": json.dumps({"id2label": {"0": "/ none", "1": "/other"}, "recall": {"/other": 1}}).encode()})


def test_texts_of_pictures_and_tensors_are_read(tmp_path):
    for compressed in (False, True):
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Comment", f"with {TOKEN}", zip=compressed)
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=notes)
        assert (TOKEN.encode() in (tmp_path / "a.png").read_bytes()) != compressed
        with pytest.raises(ValueError, match="a.png: holds a token|a.png, line 1: holds a token"):
            check_files({"a.png": tmp_path / "a.png"})
    save_file({"a": np.ones(3)}, tmp_path / "a.safetensors", metadata={"note": TOKEN})
    with pytest.raises(ValueError, match="a.safetensors, line 1: holds a token"):
        check_files({"a.safetensors": tmp_path / "a.safetensors"})


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", TOKEN]),
        pa.array([["a"], ["b", TOKEN]]),
        pa.array([{"bytes": b"", "path": TOKEN}]),
        pa.array([None, TOKEN]).dictionary_encode(),
        pa.array(["a", "/home/me/a.mp4"]),
    ],
)
def test_texts_of_parquet_are_read_at_any_depth(tmp_path, column):
    pq.write_table(pa.table({"other": range(len(column)), "text": column}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="a.parquet: column text.*(holds a token|names a path)") as error:
        check_files({"a.parquet": tmp_path / "a.parquet"})
    assert TOKEN not in str(error.value)
    pq.write_table(pa.table({"text": ["a", None]}).replace_schema_metadata({"n": TOKEN}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="notes on its columns, line 1: holds a token"):
        check_files({"a.parquet": tmp_path / "a.parquet"})


@pytest.mark.parametrize("name", ["../a.txt", "/a.txt", "a/../../b.txt", "..\\a.txt", ""])
def test_names_that_leave_the_repository_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="is no path within a repository"):
        write_files({name: b"a"}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes of POSIX")
def test_links_and_pipes_are_neither_written_nor_pushed(online, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "link.txt").symlink_to("secret.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("link.txt", "pipe.txt"):
        with pytest.raises(ValueError, match=f"{name}: is "):
            write_files({"a.txt": tmp_path / name}, tmp_path / "out")
        with pytest.raises(ValueError, match=f"{name}: is "):
            push_files({"a.txt": tmp_path / name}, "org/name", replaces="x", message="x")
    assert not online.requests and not (tmp_path / "out").exists()


# ---- `hdf push` ----


def hidden_in_picture(folder):
    (folder / "confusion_matrix.png").write_text(KEY)


def behind_picture(folder):
    with open(folder / "training_curves.png", "ab") as file:
        file.write(KEY.encode())


def in_code(folder):
    with open(folder / "dam_hdf.py", "a") as file:
        file.write(f"\nKEY = '{TOKEN}'\n")


def linked(name):
    def link(folder):
        (folder.parent / "outside").write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(folder.parent / "outside")

    link.__name__ = f"linked {name}"
    return link


def in_names(folder):
    change(folder / "config.json", id2label={str(index): f"{TOKEN} {index}" for index in range(7)})


def change(path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def code_elsewhere(folder):
    (folder.parent / "secret.py").write_text("a = 1\n")
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    change(folder / "config.json", auto_map=auto_map | {"AutoModel": "../secret.HDFModel"})


def imports_elsewhere(folder):
    (folder.parent / "secret.py").write_text("a = 1\n")
    with open(folder / "dam_hdf.py", "a") as file:
        file.write("\nfrom ./../secret import a\n")


ATTACKS = [
    *(hidden_in_picture, behind_picture, in_code, in_names, code_elsewhere, imports_elsewhere),
    *map(linked, ("config.json", "model.safetensors", "metrics.json", "confusion_matrix.png", "modeling_hdf.py")),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_push_of_a_folder_with_something_private_sends_nothing(online, folder, tmp_path, capsys, attack):
    attack(folder)
    assert main(["push", str(folder), "org/name"]) == 1
    assert main(["push", str(folder), "org/name", "--dry-run", str(tmp_path / "dry")]) == 1
    told = capsys.readouterr()
    assert not online.requests and not (tmp_path / "dry").exists()
    assert TOKEN not in told.err + told.out and "b3BlbnNz" not in told.err + told.out
    assert any(name in told.err for name in os.listdir(folder))
