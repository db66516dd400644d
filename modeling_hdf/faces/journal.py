"""The journal of cropped folders: which clips are done, and which files under the output folder are ours.

`faces.jsonl` has one line of JSON for each clip that was tried:

    {"clip": "holiday/beach.mov", "status": "ok", "outputs": ["holiday/beach.mp4"], "frames": 169, "faces": 1,
     "frames_without_face": [[0, 95], [168, 168]], "frames_filled": 0, "start": 3.62, "seconds": 2.71, ...}

`status` is `ok`, `no_face` or `failed`; `frames_without_face` holds the first and last frame of each stretch; `start`
and `seconds` say which part of the clip the crop shows; `frame_files` lists the files of outputs that are folders.

A run removes and replaces only files that the journal lists. A user may have edited the journal or copied it from
elsewhere: a run names a line that does not fit and ignores it.
"""

import filecmp
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..data.files import OutputError, write_text
from ..file_kinds_hdf import natural_key
from .places import JOURNAL, REJECTED, Clip
from .settings import CropSettings

STATUSES = ("ok", "no_face", "failed")


class Journal:
    """The records of `faces.jsonl`, by clip. A record is written as soon as its clip is done.

    Args:
        folder: the output folder.

    Attributes:
        records: by name of the clip.
        problems: one message for each line that does not fit; [`rewrite`] moves such lines to a separate file.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / JOURNAL
        self.records: dict[str, dict] = {}
        self.problems: list[str] = []
        self._rejected: list[bytes] = []
        self._owners: dict[str, str] = {}  # clips by output
        if self.path.exists():
            self._read(self.path.read_bytes())

    def _read(self, content: bytes) -> None:
        *lines, last = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._read_line(line, number)
        if last.strip():  # a killed run may have cut the line off; its clip is cropped again
            self._read_line(last, len(lines) + 1, may_be_cut_off=True)

    def _read_line(self, line: bytes, number: int, may_be_cut_off: bool = False) -> None:
        try:
            record = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            if may_be_cut_off:
                return
            reason = "is not JSON"
        else:
            reason = self._misfit(record)
            if not reason:
                self._take(record)
                return
        self.problems.append(f"{self.path}, line {number}: {reason}; its clip is done again.")
        self._rejected.append(line)

    def _misfit(self, record: Any) -> str:
        """Why a line is not a valid record; empty if it is valid."""
        if not isinstance(record, dict):
            return "is no JSON object"
        if record.get("status") not in STATUSES:
            return f"`status` is none of {', '.join(STATUSES)}"
        for name, fits in _FIELDS[record["status"]].items():
            if name not in record or not fits(record[name]):
                return f"`{name}` is missing" if name not in record else f"`{name}` is not what it should be"
        if not _is_frame_files(record.get("frame_files", {})):
            return "`frame_files` is not what it should be"
        others = [
            self._owners[each]
            for each in record["outputs"]
            if self._owners.get(each, record["clip"]) != record["clip"]
        ]
        if others:
            return f"`outputs` belong to {others[0]}"
        outside = [output for output in record["outputs"] if not self._is_inside(output)]
        return f"`outputs` leave the folder: {outside[0]}" if outside else ""

    def _take(self, record: dict) -> None:
        for output in self.records.get(record["clip"], {"outputs": []})["outputs"]:
            self._owners.pop(output, None)
        self.records[record["clip"]] = record
        self._owners |= dict.fromkeys(record["outputs"], record["clip"])

    def _is_inside(self, output: str) -> bool:
        """Whether the output lies in the output folder, after following links, and is not the journal."""
        root = os.path.realpath(self.folder)
        place = os.path.join(os.path.realpath(os.path.join(root, os.path.dirname(output))), os.path.basename(output))
        return place.startswith(os.path.join(root, "")) and os.path.relpath(place, root) not in (JOURNAL, REJECTED)

    def rewrite(self) -> None:
        """Write one line for each clip, in natural order; set aside lines that do not fit. Raises `OutputError`."""
        if self._rejected:
            place, number = self.folder / REJECTED, 1
            while os.path.lexists(place):
                number += 1
                place = self.folder / f"{Path(REJECTED).stem}-{number}.jsonl"
            text = b"\n".join([*self._rejected, b""]).decode("utf-8", errors="backslashreplace")
            write_text(place, text)
            self.problems.append(f"these lines are kept in {place}")
            self._rejected = []
        ordered = sorted(self.records.values(), key=lambda record: natural_key(record["clip"]))
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in ordered))

    def add(self, record: dict, made: Path) -> dict:
        """Append the record of a clip, then move its crops into place: even after a kill, all crops are listed.

        Files that an earlier record of the clip lists are removed first, unless the clip failed now. The clip fails
        if one of its outputs would replace any other file.

        Args:
            record: the record of the clip, with its outputs.
            made: the folder that holds the new outputs, at the same relative paths as in the output folder.

        Returns:
            The record that was written.

        Raises:
            OutputError: if the folder cannot be written to.
        """
        earlier = self.records.get(record["clip"], {"outputs": []})
        obstacles = (self._obstacle(output, record["clip"], made) for output in record["outputs"])
        obstacle = next(filter(None, obstacles), None)
        if obstacle:
            record = record | {"status": "failed", "message": obstacle}
        if record["status"] == "failed":
            record = record | {"outputs": earlier["outputs"], "frame_files": earlier.get("frame_files", {})}
            moves = []
        else:
            moves = record["outputs"]
        with _writing(self.path):
            for output in set(earlier["outputs"]) - set(record["outputs"]) | set(moves):
                # A file that exists but is not listed equals the new file, see `_obstacle`.
                names = {*_files(earlier, output), *_files(record, output)}
                self._remove(output, names)
            self._append(record)
        for output in moves:
            with _writing(self.folder / output):
                (self.folder / output).parent.mkdir(parents=True, exist_ok=True)
                os.replace(made / output, self.folder / output)
        shutil.rmtree(made, ignore_errors=True)
        return record

    def _append(self, record: dict) -> None:
        self._take(record)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(
                file.fileno()
            )  # the record reaches the disk before the crops are in place, even if the power fails

    def _obstacle(self, output: str, clip: str, made: Path) -> str | None:
        """Why a new output cannot take its place; `None` if the place is free or holds an earlier or equal output."""
        place, new = self.folder / output, made / output
        if not self._is_inside(output):
            return f"{place}: a link leads out of {self.folder}; remove it, or make the folder itself."
        for folder in place.relative_to(self.folder).parents:
            if os.path.lexists(self.folder / folder) and not os.path.isdir(self.folder / folder):
                return f"{self.folder / folder}: is a file, and the folder of {output} should be there; move it away."
        if not os.path.lexists(place):
            return None
        record = self.records.get(clip, {"outputs": []})
        is_ours = output in record["outputs"]
        if place.is_dir() and not place.is_symlink():
            listed = _files(record, output) if is_ours else []
            others = [name for name in os.listdir(place) if name not in listed or (place / name).is_dir()]
            foreign = [name for name in others if not _is_equal(place / name, new / name)]
            return f"{place}: holds {min(foreign)}, which is no crop of {clip}; move it away." if foreign else None
        if is_ours or (_is_equal(place, new) and output not in self._owners):
            return None
        return f"{place}: is there, but {self.path} does not list it as the crop of {clip}; move it away."

    def _remove(self, output: str, frame_files: Iterable[str]) -> None:
        """Remove a file, a link (not its target), or these files of a folder and then the folder if it is empty."""
        if not self._is_inside(output):
            return
        place = self.folder / output
        if place.is_symlink() or place.is_file():
            place.unlink()
        elif place.is_dir():
            for name in frame_files:
                if not (place / name).is_dir() or (place / name).is_symlink():
                    (place / name).unlink(missing_ok=True)
            if not os.listdir(place):
                place.rmdir()

    def drop(self, clip: str) -> None:
        """Forget a clip and remove its outputs. Raises `OutputError`."""
        record = self.records.pop(clip)
        for output in record["outputs"]:
            self._owners.pop(output, None)
        with _writing(self.folder):
            for output in record["outputs"]:
                self._remove(output, _files(record, output))

    def outputs(self) -> dict[str, list[str]]:
        """The outputs of each clip."""
        return {name: record["outputs"] for name, record in self.records.items()}

    def is_done(self, clip: Clip) -> bool:
        """Whether the present version of the clip was cropped or had no face. Failed clips are tried again."""
        record = self.records.get(clip.name, {"status": "failed"})
        if record["status"] == "failed" or not all(self._is_there(record, output) for output in record["outputs"]):
            return False
        try:
            return record["source"] == clip.signature()
        except (OSError, ValueError):
            return False  # the next try gives the reason

    def _is_there(self, record: dict, output: str) -> bool:
        place, names = self.folder / output, _files(record, output)
        if not names:
            return os.path.isfile(place)
        return os.path.isdir(place) and set(names) <= set(os.listdir(place))

    def other_settings(self, settings: CropSettings) -> dict | None:
        """Settings of an earlier run that differ from `settings`."""
        made = [record["settings"] for record in self.records.values() if record["status"] != "failed"]
        return next((other for other in made if other != asdict(settings)), None)


def _files(record: dict, output: str) -> list[str]:
    """Names of the files of an output that is a folder."""
    return record.get("frame_files", {}).get(output, [])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns an `OSError` in the block into an `OutputError` that names the path."""
    try:
        yield
    except OSError as error:
        raise OutputError(error.errno, error.strerror, str(path)) from error


def _is_equal(present: Path, new: Path) -> bool:
    """Whether two files have the same content; links never do."""
    if present.is_symlink() or not (present.is_file() and new.is_file()):
        return False
    return filecmp.cmp(present, new, shallow=False)


# ---- Checks of the fields of a line ----


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_file_name(value: Any) -> bool:
    return _is_relative(value) and len(PurePosixPath(value).parts) == 1


def _is_relative(value: Any) -> bool:
    """Whether the value is a path that stays below its folder, on any system."""
    if not _is_text(value) or "\0" in value:
        return False
    posix, windows = PurePosixPath(value), PureWindowsPath(value)
    if posix.is_absolute() or windows.drive and os.name == "nt" or windows.root and os.name == "nt":
        return False
    return posix.parts != () and ".." not in posix.parts and (os.name != "nt" or ".." not in windows.parts)


def _is_frame_files(value: Any) -> bool:
    names = _is_list_of(_is_file_name)
    return isinstance(value, dict) and all(_is_relative(output) and names(value[output]) for output in value)


def _is_stretch(value: Any) -> bool:
    return _is_list_of(_is_count)(value) and len(value) == 2 and value[0] <= value[1]


def _is_signature(value: Any) -> bool:
    return _is_list_of(lambda number: type(number) is int)(value) and len(value) == 3


def _is_settings(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {field.name for field in fields(CropSettings)}:
        return False
    try:
        return asdict(CropSettings(**value)) == value
    except (TypeError, ValueError):
        return False


_FAILED = {
    "clip": _is_text,
    "outputs": _is_list_of(_is_relative),
    "settings": _is_settings,
    "message": _is_text,
}
_NO_FACE = _FAILED | {"source": _is_signature, "frames": _is_count}
_OK = {name: fits for name, fits in _NO_FACE.items() if name != "message"} | {
    "faces": _is_count,
    "warnings": _is_list_of(lambda text: isinstance(text, str)),
    "frames_without_face": _is_list_of(_is_stretch),
}
_FIELDS = {"ok": _OK, "no_face": _NO_FACE, "failed": _FAILED}


__all__ = ["Journal"]
