"""The clips that `real_faces.py` measures, and the face crops of each."""

from collections.abc import Callable
from typing import Any

import datasets
import numpy as np

from modeling_hdf.data import CREMAD, FER2013, RAVDESS, VideoFolder, load_clip
from modeling_hdf.faces import FaceDetector, crop_face

CROP, MARGIN = 224, 0.1  # edge in pixels; that of `hdf predict`
NUM_FRAMES = 8  # of a video
_FER2013_PARTS = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest", "all": "all parts"}

# From a row to its crops `(T, H, W, 3)`, uint8 RGB.
Crops = Callable[[dict[str, Any]], np.ndarray]


def read_rows(kind: str, path: str, split: str | None) -> tuple[datasets.Dataset, Crops, str, list[str]]:
    """
    The rows of a dataset, the function that gives the crops of a row, a title and notes.

    Raises:
        SystemExit: if the dataset has no such part; the message names those that it has.
    """
    builder = KINDS[kind](path)
    builder.download_and_prepare()
    split = split or ("test" if kind == "fer2013" else "all")
    parts = {name: part.num_examples for name, part in builder.info.splits.items()}
    title = f"{builder.config.dataset}, {split}"
    if kind == "fer2013":
        is_table = builder.config.table_file() is not None
        title = f"FER2013, {_FER2013_PARTS[split] if is_table else split}"
        if split == "test" and not is_table:
            title += " (PublicTest and PrivateTest together)"
    if split != "all" and split not in parts:
        there = ", ".join(f"{name} ({count})" for name, count in parts.items())
        raise SystemExit(f"{path}: has no {title.partition(', ')[2]}. It has {there}: choose with --split.")
    notes = [f"{builder.num_left_out} listed clips are left out: missing or empty"] if builder.num_left_out else []
    if kind == "fer2013" and split in ("train", "all"):
        notes.append("measured on pictures that models are trained on")
    return builder.as_dataset(split=split), load_clip if kind == "fer2013" else FaceCrops(), title, notes


class FaceCrops:
    """Cuts the main face out of the frames of a clip that a model of `NUM_FRAMES` frames sees."""

    def __init__(self):
        self.detector = FaceDetector()

    def __call__(self, row: dict[str, Any]) -> np.ndarray:
        return crop_face(
            row["clip"], CROP, MARGIN, detector=self.detector, sample=even_frames, name=row["clip_id"]
        ).frames


def even_frames(metadata: Any, timestamps: np.ndarray | None) -> np.ndarray:
    """The frames shown at the centres of `NUM_FRAMES` equal parts of the clip, each once."""
    from modeling_hdf import HDFVideoProcessor

    sampled = HDFVideoProcessor(num_frames=NUM_FRAMES).sample_frames(metadata, timestamps=timestamps)
    return np.unique(sampled)


def _acted(builder: type) -> Callable[[str], datasets.DatasetBuilder]:
    """Nobody was trained on, so all actors of the fold are measured; whoever has fetched a part measures this."""
    return lambda path: builder(config_name="fold1", data_dir=path, cut_splits=(), depth="listing", max_missing=1.0)


KINDS: dict[str, Callable[[str], datasets.DatasetBuilder]] = {
    "fer2013": lambda path: FER2013(data_dir=path, cut_splits=(), depth="listing"),
    "folder": lambda path: VideoFolder(data_dir=path, cut_splits=(), depth="listing"),
    "ravdess": _acted(RAVDESS),
    "cremad": _acted(CREMAD),
}

__all__ = ["CROP", "KINDS", "MARGIN", "NUM_FRAMES", "Crops", "FaceCrops", "even_frames", "read_rows"]
