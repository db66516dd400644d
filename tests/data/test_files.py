"""A file or a folder is there whole or not at all."""

import ast
import errno
import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import modeling_hdf
from modeling_hdf.data.files import (
    OutputError,
    read_json,
    refuse_filled,
    remove_parts,
    remove_parts_of,
    whole_or_absent,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def full_disk(monkeypatch) -> None:
    """A disk with room for four bytes."""

    def write(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[:4])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write)


WRITERS = [
    (lambda path: write_bytes(path, b"new content"), b"new content"),
    (lambda path: write_text(path, "neu: \u00e4\n"), "neu: \u00e4\n".encode()),
    (lambda path: write_json(path, {"b": [1], "a": None}), b'{\n  "b": [\n    1\n  ],\n  "a": null\n}\n'),
]


@pytest.mark.parametrize("write, content", WRITERS)
def test_a_file_holds_what_was_written_and_nothing_lies_beside_it(tmp_path, write, content):
    path = tmp_path / "new" / "file"
    for _ in range(2):  # new, and in place of another
        write(path)
        assert path.read_bytes() == content and names(path.parent) == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("write, content", WRITERS)
@pytest.mark.parametrize("earlier", ["earlier", None])
def test_a_full_disk_leaves_the_earlier_file_or_none(tmp_path, write, content, earlier):
    path = tmp_path / "file"
    if earlier is not None:
        with open(path, "w") as file:
            file.write(earlier)
    with pytest.raises(OutputError) as error:
        write(path)
    assert error.value.errno == errno.ENOSPC and str(path) in str(error.value)
    assert (path.read_text() if path.exists() else None) == earlier
    assert names(tmp_path) == (["file"] if earlier else [])


LIMITED = """
import resource, sys
from modeling_hdf.data.files import write_json
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
write_json(sys.argv[1], list(range(100_000)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_limit_of_the_system_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("{}")
    run = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1 and "OutputError" in run.stderr and str(path) in run.stderr
    assert path.read_text() == "{}" and names(tmp_path) == ["metrics.json"]


def test_a_killed_writer_leaves_the_earlier_file_and_what_can_be_cleared(tmp_path):
    path = tmp_path / "deep" / "file"
    write_text(path, "earlier")
    code = (
        "import os, sys\nfrom modeling_hdf.data.files import whole_or_absent\n"
        "with whole_or_absent(sys.argv[1]) as part:\n    part.write_text('half')\n    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], timeout=120).returncode == 9
    assert path.read_text() == "earlier" and len(names(path.parent)) == 2
    assert remove_parts(tmp_path) == 1 and names(path.parent) == ["file"]


KILLED_WHILE_REPLACING = """
import os, sys
from modeling_hdf.data.files import whole_or_absent
replace = os.replace
def killed(source, target):  # when the earlier folder is aside, and the new one not yet in its place
    os._exit(9) if ".hdf-part" in str(source) else replace(source, target)
with whole_or_absent(sys.argv[1]) as part:
    part.mkdir()
    os.replace = killed
"""


def test_what_a_killed_writer_had_put_aside_comes_back(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "earlier").touch()
    run = subprocess.run([sys.executable, "-c", KILLED_WHILE_REPLACING, str(folder)], timeout=120)
    assert run.returncode == 9 and not folder.exists()
    assert remove_parts_of(tmp_path / "other") == 0 and not folder.exists()
    assert remove_parts_of(folder) == 1 and names(folder) == ["earlier"] and names(tmp_path) == ["out"]


def test_only_what_dead_writers_of_this_file_left_is_removed(tmp_path):
    (tmp_path / ".dead.hdf-part" / "out").mkdir(parents=True)
    (tmp_path / ".other.hdf-part" / "else").mkdir(parents=True)
    (tmp_path / "elsewhere" / "out").mkdir(parents=True)
    (tmp_path / "file.hdf-part").touch()
    if sys.platform != "win32":
        (tmp_path / ".link.hdf-part").symlink_to("elsewhere")
    kept = {"elsewhere", "file.hdf-part", ".other.hdf-part", ".link.hdf-part"} & set(names(tmp_path))
    with whole_or_absent(tmp_path / "out") as at_work:
        at_work.mkdir()
        assert remove_parts_of(tmp_path / "out") == 1
        assert set(names(tmp_path)) == kept | {at_work.parent.name} and at_work.is_dir()
        assert remove_parts(tmp_path) == 1 and at_work.is_dir()  # that of the other
    assert (tmp_path / "out").is_dir() and names(tmp_path / "elsewhere") == ["out"]


def test_a_folder_takes_the_place_of_an_earlier_one_as_a_whole(tmp_path):
    folder = tmp_path / "out"
    for name in ("first", "second"):
        with whole_or_absent(folder) as part:
            part.mkdir()
            (part / name).write_text(name)
            assert part.name == folder.name  # some writers go by the name, or its ending
        assert names(folder) == [name] and names(tmp_path) == ["out"]
    with pytest.raises(KeyboardInterrupt), whole_or_absent(folder) as part:
        part.mkdir()
        raise KeyboardInterrupt
    assert names(folder) == ["second"] and names(tmp_path) == ["out"]


def test_a_folder_that_cannot_be_moved_into_place_leaves_the_earlier_one(tmp_path, monkeypatch):
    folder, replace = tmp_path / "out", os.replace
    folder.mkdir()
    (folder / "first").touch()

    def refuse(source, target):
        if Path(target) == folder and Path(source).name == folder.name:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError), whole_or_absent(folder) as part:
        part.mkdir()
    assert names(folder) == ["first"]


def test_a_file_does_not_replace_a_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").touch()
    with pytest.raises(OutputError, match="out"):
        write_text(tmp_path / "out", "text")
    assert names(tmp_path / "out") == ["kept"]


def test_places_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as error:
        write_text(tmp_path / "file" / "below", "text")
    assert error.value.filename == str(tmp_path / "file" / "below")


def test_an_error_of_reading_another_file_is_not_one_of_writing(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"), whole_or_absent(tmp_path / "copy") as part:
        part.write_bytes((tmp_path / "missing").read_bytes())
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes of POSIX")
def test_a_pipe_is_written_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)


@pytest.mark.parametrize(
    "value, name", [({"a": {"b": [0.5, math.nan]}}, "a.b.1"), ({"a": math.inf}, "a"), ([-math.inf], "0")]
)
def test_numbers_that_json_lacks_are_named(tmp_path, value, name):
    with pytest.raises(ValueError, match=rf"out.json: `{name}` is -?(nan|inf), which JSON cannot store"):
        write_json(tmp_path / "out.json", value)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is not JSON"),
        (b'{"a": ', "is not JSON"),
        (b"\xff\xfe{", "is not UTF-8 text"),
        (b"[1]", "is not a JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": {"b": 1, "b": 2}}', "is not JSON .it gives 'b' twice"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, content, message):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: {message}.*Restore it"):
        read_json(path, "Restore it.")


def test_an_object_comes_back(tmp_path):
    value = {"name": "\u00e4", "values": [1, 0.1, None, True]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", "") == value == json.loads((tmp_path / "a.json").read_bytes())


def test_folders_that_hold_something_are_refused(tmp_path):
    refuse_filled(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    refuse_filled(tmp_path / "empty")
    (tmp_path / "empty" / "file").touch()
    for path in (tmp_path / "empty", tmp_path / "empty" / "file"):
        with pytest.raises(FileExistsError, match="is not empty; give a folder that does not exist yet"):
            refuse_filled(path)


# ---- That the package uses it ----

WRITES = {"write_text", "write_bytes", "to_parquet", "to_csv"}  # methods that write into their place


def unsafe_writes(source: str) -> list[int]:
    """Lines that write a file, and not within a block of `whole_or_absent`."""
    lines = []

    def is_write(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        if isinstance(node.func, ast.Attribute):
            return node.func.attr in WRITES
        if not (isinstance(node.func, ast.Name) and node.func.id == "open"):
            return False
        modes = [value.value for value in ast.walk(node) if isinstance(value, ast.Constant)]
        return ast.unparse(node.args[0]) != "os.devnull" and any(mode in ("w", "wb", "x", "xb") for mode in modes)

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.With) and any("whole_or_absent(" in ast.unparse(item) for item in node.items):
            return
        lines.extend([node.lineno] if is_write(node) else [])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return lines


def test_every_file_of_the_package_is_written_by_these_functions():
    package = Path(modeling_hdf.__file__).parent
    found = {
        path.relative_to(package).as_posix(): unsafe_writes(path.read_text(encoding="utf-8"))
        for path in package.rglob("*.py")
    }
    assert len(found) > 80
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_unsafe_writes_are_found():
    assert unsafe_writes("path.write_text('a')\nopen(path, 'wb')\ntable.to_csv(path)") == [1, 2, 3]
    assert unsafe_writes("open(path)\nopen(os.devnull, 'w')\nwrite_text(path, 'a')") == []
    assert unsafe_writes("with whole_or_absent(path) as part:\n    part.write_text('a')") == []
