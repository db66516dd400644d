"""The pictures that the checkpoint for real faces is trained on, as grey tensors."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from training import LUMINANCE

from modeling_hdf import HDFConfig, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import FER2013, SyntheticFaces

HELD_OUT = 10  # one still in so many is for validation
STILL = 48  # pixels, edge of FER2013's stills
NUM_FRAMES = HDFConfig.from_pretrained(configuration_path("model", "x3d_faces")).num_frames


def prepare(data_dir: str, edge: int) -> dict[str, torch.Tensor]:
    """
    Reads and renders all pictures.

    Args:
        data_dir: FER2013 as its builder takes it. Only its Training part is used.
        edge: height and width of the pictures that come out.

    Returns:
        `dict[str, torch.Tensor]`: uint8 `stills` and `validation_stills` `(N, H, W)`, `clips`, `validation_clips`
        `(N, T, H, W)`, and their labels as `<name>.labels`. A still is held out by the hash of its pixels, so that
        equal stills are on one side.
    """
    stills = FER2013(data_dir=data_dir, cut_splits=())
    stills.download_and_prepare()
    rows = stills.as_dataset(split="train")
    held_out = torch.tensor([is_held_out(picture) for picture in as_grey(rows, 1, STILL)[0]])
    pictures, labels = as_grey(rows, 1, edge)
    found = {
        "stills": pictures[~held_out, 0], "stills.labels": labels[~held_out],
        "validation_stills": pictures[held_out, 0], "validation_stills.labels": labels[held_out],
    }  # fmt: skip
    clips = SyntheticFaces()
    clips.download_and_prepare()
    for split, name in (("train", "clips"), ("validation", "validation_clips")):
        rows = clips.as_dataset(split=split)
        found[name], found[f"{name}.labels"] = as_grey(rows, NUM_FRAMES, edge)
    return found


def is_held_out(still: torch.Tensor) -> bool:
    """Whether a still, as FER2013 has it, is one of those for validation."""
    digest = hashlib.sha256(still.numpy().tobytes()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT == 0


def as_grey(rows: Iterable[dict], num_frames: int, edge: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips `(N, T, edge, edge)` as uint8 luminance, and their labels `(N,)`."""
    processor = HDFVideoProcessor(
        num_frames=num_frames,
        size={"shortest_edge": edge},
        crop_size={"height": edge, "width": edge},
        do_rescale=False,
        do_normalize=False,
    )
    clips, labels = [], []
    for row in rows:
        clip = processor(row["clip"], return_tensors="pt").pixel_values[0].float()  # (T, 3, edge, edge)
        grey = (clip * torch.tensor(LUMINANCE)[:, None, None]).sum(1).round().clamp(0, 255)
        clips.append(grey.to(torch.uint8))
        labels.append(row["label"])
    return torch.stack(clips), torch.from_numpy(np.asarray(labels, dtype=np.int64))


__all__ = ["as_grey", "prepare"]
