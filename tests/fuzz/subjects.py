"""What is fuzzed: sound files of each kind, how they are damaged, and what of the package reads them."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "support"))
from mutations import damage_bytes, damage_json, damage_json_lines, damage_safetensors, damage_yaml
from video_files import numbered_frame, write_video

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.cli.train import training_parser
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import load_clip
from modeling_hdf.data.builders.clip_files import inspect_clip
from modeling_hdf.data.builders.folder import VideoFolderConfig
from modeling_hdf.evaluation.predictions import PREFIX, read_predictions, write_predictions
from modeling_hdf.evaluation.results import read_results
from modeling_hdf.faces.journal import Journal
from modeling_hdf.inference.classifier import load_classifier
from modeling_hdf.pretrained import TINY_SYNTHETIC
from modeling_hdf.training.recipes import parse_with_recipe


@dataclass(frozen=True)
class Subject:
    """A kind of file.

    Attributes:
        name: what the table calls it.
        file: the damaged file, in a folder that holds whatever else is needed.
        damage: takes the sound content and random numbers, returns the damaged content.
        read: takes the path of the damaged file and reads it.
        is_folder: whether a message may name the folder of the file in its place.
    """

    name: str
    file: str
    damage: Callable[[bytes, Random], bytes]
    read: Callable[[Path], Any]
    is_folder: bool = False


def _read_clip(path: Path) -> None:
    _inspect(path)
    HDFVideoProcessor(num_frames=4).load_clip(path)
    load_clip({"clip": {"path": str(path), "frames": None}})
    HDFVideoProcessor(num_frames=4).load_clip(path.read_bytes(), num_frames=None, fps=8, name=str(path))


def _read_frames(path: Path) -> None:
    _read_clip_of_folder(path.parent)


def _read_clip_of_folder(folder: Path) -> None:
    _inspect(folder)
    HDFVideoProcessor(num_frames=4).load_clip(folder)


def _inspect(path: Path) -> None:
    """A check says what is wrong, and never raises."""
    for depth in ("listing", "headers", "quick", "full"):
        try:
            found = inspect_clip(str(path), depth)
        except Exception as error:
            raise AssertionError(f"inspect_clip raised {type(error).__name__}: {error}") from error
        assert found.problem is None or str(path.parent) in found.detail, found.detail


def _read_list(path: Path) -> None:
    VideoFolderConfig(data_dir=str(path.parent)).read_listing()


def _read_journal(path: Path) -> None:
    journal = Journal(path.parent)
    journal.rewrite()


def _read_recipe(path: Path) -> None:
    arguments = ["--recipe", str(path), "--output_dir", str(path.parent / "run"), "--report_to", "none"]
    parse_with_recipe(training_parser(), "train", arguments)


SUBJECTS = (
    Subject("MP4, H.264", "clip.mp4", damage_bytes, _read_clip),
    Subject("WebM, VP9", "clip.webm", damage_bytes, _read_clip),
    Subject("AVI, MPEG-4", "clip.avi", damage_bytes, _read_clip),
    Subject("GIF", "clip.gif", damage_bytes, _read_clip),
    Subject("animated PNG", "clip.apng", damage_bytes, _read_clip),
    Subject("PNG", "photo.png", damage_bytes, _read_clip),
    Subject("JPEG", "photo.jpg", damage_bytes, _read_clip),
    Subject("folder of frames", "frames/2.png", damage_bytes, _read_frames, is_folder=True),
    Subject("list, CSV", "csv/clips.csv", damage_bytes, _read_list),
    Subject("list, JSON lines", "jsonl/clips.jsonl", damage_json_lines, _read_list),
    Subject("metrics.json", "metrics/metrics.json", damage_json, lambda path: read_results(path.parent)),
    Subject("faces.jsonl", "faces/faces.jsonl", damage_json_lines, _read_journal),
    Subject("config.json", "model/config.json", damage_json, lambda path: load_classifier(str(path.parent)), True),
    Subject("recipe", "recipe.yaml", damage_yaml, _read_recipe),
    Subject("predictions.csv", "predictions.csv", damage_bytes, read_predictions),
    Subject(
        "safetensors",
        "model/model.safetensors",
        damage_safetensors,
        lambda path: load_classifier(str(path.parent)),
        True,
    ),
    Subject(
        "processor",
        "model/video_preprocessor_config.json",
        damage_json,
        lambda path: load_classifier(str(path.parent)),
        True,
    ),
)


def write_sound_files(folder: Path) -> None:
    """One file of each kind, small and sound."""
    write_video(folder / "clip.mp4", 20)
    write_video(folder / "clip.webm", 12, codec="libvpx-vp9", max_b_frames=0)
    write_video(folder / "clip.avi", 12, codec="mpeg4", max_b_frames=0)
    pictures = [Image.fromarray(numbered_frame(number)) for number in range(6)]
    pictures[0].save(folder / "clip.gif", save_all=True, append_images=pictures[1:], duration=40)
    pictures[0].save(folder / "clip.apng", save_all=True, append_images=pictures[1:], duration=40)
    pictures[5].save(folder / "photo.png")
    pictures[5].save(folder / "photo.jpg")
    for name in ("frames", "csv", "jsonl", "metrics", "faces"):
        (folder / name).mkdir()
    for number, picture in enumerate(pictures):
        picture.save(folder / "frames" / f"{number}.png")
    rows = [
        {"path": f"{index}.mp4", "label": ("Happy", "Sad", "Anger")[index % 3], "split": split, "group": f"p{index}"}
        for index, split in enumerate(["train"] * 9 + ["test"] * 3)
    ]
    lines = ["path,label,split,group", *(",".join(row.values()) for row in rows)]
    (folder / "csv" / "clips.csv").write_text("\n".join(lines) + "\n")
    (folder / "jsonl" / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = {"clip": "a/b.mp4", "status": "ok", "outputs": ["a/b.mp4"], "frames": 9, "faces": 1, "settings": {}}
    record |= {"frames_without_face": [[0, 3]], "source": [1, 2.5], "start": 0.0, "seconds": 0.3}
    journal = "".join(json.dumps(record | {"clip": f"a/{index}.mp4"}) + "\n" for index in range(4))
    (folder / "faces" / "faces.jsonl").write_text(journal)
    shutil.copy(Path(TINY_SYNTHETIC) / "metrics.json", folder / "metrics")
    shutil.copy(configuration_path("train", "synthetic"), folder / "recipe.yaml")
    _write_predictions(folder / "predictions.csv")
    shutil.copytree(TINY_SYNTHETIC, folder / "model")
    for path in (folder / "model").iterdir():
        os.chmod(path, 0o644)


def _write_predictions(path: Path) -> None:
    names = ["Happy", "Sad", "Anger"]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 9)
    columns = {"clip_id": [f"c{index}" for index in range(9)], "label": [names[index % 3] for index in range(9)]}
    columns["predicted"] = [names[best] for best in probabilities.argmax(1)]
    columns |= {PREFIX + name: probabilities[:, index] for index, name in enumerate(names)}
    write_predictions(pd.DataFrame(columns), path.parent)


__all__ = ["SUBJECTS", "Subject", "write_sound_files"]
