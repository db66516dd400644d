"""The videos that the arguments of `hdf predict` name."""

import glob
import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from os.path import samefile
from pathlib import Path
from typing import Any

from ..downloading_hdf import Download, is_url
from ..faces.folders import find_clips
from ..file_kinds_hdf import file_kind, frame_files, natural_key
from .tables import FORMATS

ANNOTATED, PLOT = "annotated.mp4", "png"  # suffixes of outputs that could be taken for inputs
SETTINGS, SUMMARY = "predict.json", "summary.csv"  # of the runs that fill an output folder


@dataclass(frozen=True)
class Input:
    """A video to analyse.

    Attributes:
        name: as it is called in tables and messages.
        video: what [`analyze`] takes.
        output: relative path of its output files, without their suffix.
        problem: why it cannot be read; empty if it is not known to be bad.
    """

    name: str
    video: Any
    output: str
    problem: str = ""

    def kept(self) -> "Input":
        """This video, to be read twice: a URL is downloaded once, and kept until `close`."""
        remote = isinstance(self.video, str) and is_url(self.video)
        return replace(self, video=Download(self.video)) if remote else self

    def modified(self) -> float:
        """When its files were last written, in seconds since 1970; 0 if nothing tells, infinity for standard input."""
        if isinstance(self.video, dict) and "bytes" in self.video:
            return math.inf
        try:
            if isinstance(self.video, dict):
                files = self.video["frames"]
            elif isinstance(self.video, str) and not is_url(self.video):
                files = frame_files(self.video) if os.path.isdir(self.video) else [self.video]
            else:
                files = []
            return max(map(os.path.getmtime, files), default=0.0)
        except (OSError, ValueError):  # told when it is analysed
            return 0.0

    def close(self) -> None:
        """Removes what was downloaded."""
        if isinstance(self.video, Download):
            self.video.close()


def find_inputs(arguments: Iterable[str], output: str | None = None) -> list[Input]:
    """
    The videos that arguments name, each once.

    Args:
        arguments: each a file, an http(s) URL, a folder of frames, another folder, which is searched for videos,
            frame folders and pictures at any depth, a pattern such as `"videos/*.mp4"`, or `"-"` for standard input.
        output: the output folder, which is not searched below a folder, nor are those of earlier runs. Annotated
            videos and plots that an earlier run wrote there, or among the videos of a folder, are no inputs.

    Raises:
        ValueError: if two videos would have the same files in the output folder, or one would have those of the
            summary.
    """
    found: dict[str, Input] = {}
    for argument in arguments:
        for each in _of_argument(argument, Path(output or os.devnull)):
            found.setdefault(each.name, replace(each, name=_as_text(each.name)))
    videos, places = _without_written(list(found.values()), output), {}
    for each in videos[:]:
        if output is not None and each.output.casefold() == "summary":
            raise ValueError(f"{each.name}: its table would take the place of {SUMMARY}; rename the folder.")
        other = places.setdefault(each.output.casefold(), each)
        if other is not each and _is_one_file(other.video, each.video):
            videos.remove(each)
        elif other is not each and output is not None:
            are_files = not any(isinstance(video, str) and is_url(video) for video in (other.video, each.video))
            advice = "give the folder that holds both, or " * are_files
            raise ValueError(
                f"{other.name} and {each.name} would both be written to {each.output}; {advice}analyse them in two "
                "runs, each with an --output of its own."
            )
    return videos


def _as_text(name: str) -> str:
    """A name that tables and pictures can hold: bytes that are no UTF-8, as in old archives, are spelled out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _without_written(videos: list[Input], output: str | None) -> list[Input]:
    if output is None:
        return videos
    written = {
        os.path.realpath(Path(output) / f"{each.output}.{kind}") for each in videos for kind in (ANNOTATED, PLOT)
    }
    return [each for each in videos if not isinstance(each.video, str) or os.path.realpath(each.video) not in written]


def _is_one_file(first: Any, second: Any) -> bool:
    return all(isinstance(each, str) and os.path.exists(each) for each in (first, second)) and samefile(first, second)


def _of_argument(argument: str, output: Path) -> Iterator[Input]:
    if argument == "-":
        yield Input("standard input", {"bytes": sys.stdin.buffer.read(), "path": "standard input"}, "stdin")
    elif is_url(argument):
        name = argument.partition("?")[0].rstrip("/").rpartition("/")[2]
        yield Input(argument, argument, name or "video")
    elif os.path.isdir(argument):
        yield from _of_folder(Path(argument), output)
    elif os.path.lexists(argument) or not glob.has_magic(argument):
        problem = "" if os.path.lexists(argument) else f"{argument}: there is no such file."
        yield Input(argument, argument, Path(argument).name, problem)
    else:
        matches = sorted(glob.glob(argument, recursive=True), key=natural_key)
        if not matches:
            yield Input(argument, argument, argument, f"{argument}: matches no file.")
        for match in matches:
            if os.path.isdir(match):
                yield from _of_folder(Path(match), output)
            else:
                yield Input(match, match, Path(match).name)


def _of_folder(folder: Path, output: Path) -> Iterator[Input]:
    results = _results(folder)
    inventory = find_clips(folder, output, leave_out=results)
    if not inventory.clips and not inventory.unreadable:
        yield Input(str(folder), None, folder.resolve().name, f"{folder}: holds no video and no image.")
        return
    is_frame_folder = len(inventory.clips) > 1 and all(
        clip.kind == "image" and clip.path.parent == folder for clip in inventory.clips
    )
    if is_frame_folder:
        yield Input(str(folder), _frames(folder, results), folder.resolve().name)
    else:
        for clip in inventory.clips:
            video = _frames(clip.path, results) if clip.kind == "frames" else str(clip.path)
            yield Input(str(clip.path), video, clip.path.relative_to(folder).as_posix())
    for name, message in inventory.unreadable.items():
        yield Input(str(folder / name), None, name, message)


def _results(folder: Path) -> set[Path]:
    """What earlier runs wrote at any depth: output folders that hold nothing else, and files beside videos."""
    found = set()
    for settings in folder.rglob(SETTINGS):
        output = settings.parent
        if output != folder and _holds_results(output):
            found.add(output)
        else:
            found.update(path for path in output.rglob("*") if _has_table(path))
    return found


def _frames(folder: Path, results: set[Path]) -> str | dict[str, list[str]]:
    """A folder of frames as [`analyze`] takes it: only its frames are named if plots lie among them."""
    try:
        files = frame_files(folder) if results else []
    except (OSError, ValueError):  # told when it is analysed
        return str(folder)
    frames = [file for file in files if Path(file) not in results]
    return str(folder) if len(frames) == len(files) else {"frames": frames}


def _holds_results(folder: Path) -> bool:
    """Whether all videos and pictures in an output folder, at any depth, were written by a run."""
    return all(_is_result(path) for path in folder.rglob("*") if path.is_file() and file_kind(path))


def _is_result(path: Path) -> bool:
    return path.name.endswith(f".{ANNOTATED}") or _has_table(path)  # a killed run leaves copies without a table


def _has_table(path: Path) -> bool:
    """Whether it is the copy or the plot of a video whose table lies beside it."""
    for suffix in (f".{ANNOTATED}", f".{PLOT}"):
        if path.name.endswith(suffix):
            video = path.name.removesuffix(suffix)
            return any(path.with_name(f"{video}.{kind}").is_file() for kind in FORMATS)
    return False


__all__ = ["ANNOTATED", "PLOT", "SETTINGS", "SUMMARY", "Input", "find_inputs"]
