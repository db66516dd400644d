"""How much a model loses on corrupted clips: every corruption of [`modeling_hdf.data.corruptions`] in five severities.

Each clip is first read as a fixed number of frames, spread evenly over its time. The corruption changes these, and the
model takes its own number from them. So every model sees the same pixels, whatever its clip length.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers.video_utils import VideoMetadata

from ..data.clip_io import load_clip
from ..data.corruptions import SEQUENCE, SEVERITIES, STYLE, corrupt
from ..data.files import read_json
from ..data.frame_sampling import TemporalSampling
from ..data.transforms import fit_clip
from ..modeling_hdf import HDFForVideoClassification
from ..video_processing_hdf import HDFVideoProcessor
from .metrics import uar, war
from .shared_classes import SharedClasses

REFERENCE_FRAMES = 64
FILE = "robustness.json"
KINDS = {"sequence": tuple(SEQUENCE), "style": tuple(STYLE)}
CLEAN = ("clean", 0)
_PEOPLE = ("identity", "group")  # columns whose equal values mean the same person

Condition = tuple[str, int]  # corruption and severity


class CorruptedClips(Dataset):
    """
    Every clip in all its corrupted versions.

    Args:
        rows (`datasets.Dataset`): rows of a builder of [`modeling_hdf.data`].
        processor ([`HDFVideoProcessor`]): the model's video processor.
        conditions (`Sequence[tuple[str, int]]`): corruptions and severities; `("clean", 0)` is the clip itself.
        seed (`int`): seed of the corruptions.

    Item i is `(i, clips)`, with `clips` a uint8 tensor `(len(conditions), num_frames, 3, height, width)` of frames of
    the model's size, or `(i, message)` for a clip that cannot be read.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: HDFVideoProcessor,
        conditions: Sequence[Condition],
        seed: int,
    ):
        self.rows = rows
        self.processor = processor
        self.conditions = conditions
        self.seed = seed
        self._partners = partners(rows, seed)
        sample = TemporalSampling("uniform", processor.num_frames).view()
        self._shown = sample(metadata=VideoMetadata(total_num_frames=REFERENCE_FRAMES), timestamps=None)

    def __len__(self) -> int:
        return len(self.rows)

    def _reference(self, index: int) -> torch.Tensor:
        """The frames `(REFERENCE_FRAMES, 3, H, W)` on which the corruptions work."""
        sample = TemporalSampling("uniform", REFERENCE_FRAMES).view()
        return torch.from_numpy(load_clip(self.rows[int(index)], sample=sample)).movedim(-1, -3)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor | str]:
        try:
            frames = self._reference(index)
            needs_foreign = any(name == "foreign" for name, _ in self.conditions)
            foreign = self._reference(self._partners[index]) if needs_foreign else None
        except (OSError, ValueError) as error:
            return index, str(error)
        clip_id = str(self.rows[int(index)]["clip_id"])
        versions = [
            frames[self._shown]
            if (name, severity) == CLEAN
            else corrupt(frames, name, severity, seed=self.seed, clip_id=clip_id, shown=self._shown, foreign=foreign)
            for name, severity in self.conditions
        ]
        return index, torch.stack([fit_clip(version, self.processor) for version in versions])


def partners(rows: datasets.Dataset, seed: int) -> np.ndarray:
    """
    For each clip the one that gives its foreign frames: of a different class, and of a different person if the rows
    name people.

    Raises:
        ValueError: if all clips are of one class.
    """
    labels = np.array(rows["label"][:])
    if len(set(labels)) < 2:
        raise ValueError("All clips are of one class: the corruption `foreign` needs clips of another one.")
    people = next((np.array(rows[name][:]) for name in _PEOPLE if name in rows.column_names), None)
    rng = np.random.default_rng(seed)
    chosen = np.empty(len(rows), dtype=int)
    for index in range(len(rows)):
        others = labels != labels[index]
        if people is not None and (others & (people != people[index])).any():
            others &= people != people[index]
        chosen[index] = rng.choice(np.flatnonzero(others))
    return chosen


def all_conditions(names: Collection[str] | None = None, severities: Sequence[int] = SEVERITIES) -> list[Condition]:
    """The clean clip, and each corruption of `names` (by default all) in each severity."""
    chosen = [name for kind in KINDS.values() for name in kind if names is None or name in names]
    return [CLEAN, *((name, severity) for name in chosen for severity in severities)]


def measure_robustness(
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    rows: datasets.Dataset,
    *,
    names: Collection[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch_size: int = 16,
    num_workers: int = 0,
) -> dict[str, Any]:
    """
    Classifies every clip in all corrupted versions.

    Args:
        model ([`HDFForVideoClassification`]), processor ([`HDFVideoProcessor`]): the model, on one device, and its
            video processor.
        rows (`datasets.Dataset`): rows of a builder of [`modeling_hdf.data`]. Classes are matched by name, see
            [`SharedClasses`].
        names (`Collection[str]`, *optional*): corruptions; by default all.
        severities (`Sequence[int]`): severities, 1 to 5.
        seed (`int`): seed of the corruptions.
        batch_size (`int`), num_workers (`int`): clips per forward pass, and processes that read and corrupt clips.

    Returns:
        The result of [`summarize`], with `num_clips`, `unreadable` (`clip_id` and `message`), `seed` and
        `reference_frames`.

    Raises:
        ValueError: if no clip can be read, or model and dataset share too few classes.
    """
    model_names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    classes = SharedClasses(model_names, rows.features["label"].names)
    rows, _ = classes.select(rows)
    labels = np.array([classes.numbers[label] for label in rows["label"][:]])
    conditions = all_conditions(names, severities)
    clips = CorruptedClips(rows, processor, conditions, seed)
    predicted = np.zeros((len(rows), len(conditions)), dtype=int)
    unreadable = {}
    shared = [classes.model_names.index(name) for name in classes.names]
    for index, versions in DataLoader(clips, batch_size=None, num_workers=num_workers):
        if isinstance(versions, str):
            unreadable[index] = versions
        else:
            predicted[index] = predicted_classes(model, processor, versions, shared, batch_size)
    readable = [index for index in range(len(rows)) if index not in unreadable]
    if not readable:
        raise ValueError(f"None of the {len(rows)} clips can be read; the first: {unreadable[0]}")
    scores = {
        condition: {
            "war": war(labels[readable], predicted[readable, column]),
            "uar": uar(labels[readable], predicted[readable, column]),
        }
        for column, condition in enumerate(conditions)
    }
    named = [{"clip_id": str(rows[index]["clip_id"]), "message": text} for index, text in unreadable.items()]
    return {
        "num_clips": len(readable),
        "unreadable": named,
        "seed": seed,
        "reference_frames": REFERENCE_FRAMES,
        **summarize(scores),
    }


@torch.inference_mode()
def predicted_classes(
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    versions: torch.Tensor,
    shared: Sequence[int] | None = None,
    batch_size: int = 16,
) -> np.ndarray:
    """
    Predicted classes `(N,)` of uint8 clips `(N, num_frames, 3, height, width)` of the model's size.

    Args:
        model ([`HDFForVideoClassification`]), processor ([`HDFVideoProcessor`]): the model and its video processor.
        versions (`torch.Tensor`): the clips.
        shared (`Sequence[int]`, *optional*): classes of the model to choose from; the result counts among these. By
            default all.
        batch_size (`int`): clips per forward pass.
    """
    as_they_are = {"do_sample_frames": False, "do_resize": False, "do_center_crop": False}
    kept = slice(None) if shared is None else list(shared)
    answers = []
    for batch in versions.split(batch_size):
        pixel_values = processor(list(batch), **as_they_are, return_tensors="pt")["pixel_values"]
        answers.append(model(pixel_values.to(model.device)).logits[:, kept].argmax(-1).cpu().numpy())
    return np.concatenate(answers)


def summarize(scores: dict[Condition, dict[str, float]]) -> dict[str, Any]:
    """
    The numbers of a robustness test.

    Args:
        scores (`dict[tuple[str, int], dict[str, float]]`): `war` and `uar` by corruption and severity; `("clean", 0)`
            holds those of the clean clips.

    Returns:
        `dict`, plain JSON: `clean`; `corruptions`, by name with `kind`, `severities` (`war` and `uar` by severity),
        `uar` (mean over the severities) and `relative` (that mean as a share of the clean UAR); `kinds`, with the
        means of `uar` and `relative` over the corruptions of each kind.
    """
    clean = scores[CLEAN]
    corruptions: dict[str, dict] = {}
    for kind, names in KINDS.items():
        for name in names:
            by_severity = {str(level): score for (each, level), score in scores.items() if each == name}
            if by_severity:
                mean = float(np.mean([score["uar"] for score in by_severity.values()]))
                relative = mean / clean["uar"] if clean["uar"] else None
                corruptions[name] = {"kind": kind, "severities": by_severity, "uar": mean, "relative": relative}
    kinds = {}
    for kind in KINDS:
        members = [each for each in corruptions.values() if each["kind"] == kind]
        if members:
            relative = None if clean["uar"] == 0 else float(np.mean([each["relative"] for each in members]))
            kinds[kind] = {"uar": float(np.mean([each["uar"] for each in members])), "relative": relative}
    return {"clean": clean, "corruptions": corruptions, "kinds": kinds}


def mean_corruption_error(result: dict[str, Any], baseline: dict[str, Any]) -> float:
    """
    Mean over the corruptions of the model's error, summed over the severities, divided by that of a baseline
    (https://arxiv.org/abs/1903.12261); the error is 1 - UAR. Below 1, the model makes fewer errors.

    Args:
        result, baseline (`dict`): content of `robustness.json`, from the same clips.

    Raises:
        ValueError: if the two were measured differently, or the baseline makes no error under a corruption.
    """
    for name in ("title", "num_clips", "seed", "reference_frames"):
        if result[name] != baseline[name]:
            raise ValueError(
                f"The baseline has {name} {baseline[name]!r}, the model {result[name]!r}: measure both alike."
            )
    measured, reference = result["corruptions"], baseline["corruptions"]
    if {name: set(each["severities"]) for name, each in measured.items()} != {
        name: set(each["severities"]) for name, each in reference.items()
    }:
        raise ValueError("The baseline was measured with other corruptions or severities: measure both alike.")
    perfect = [name for name, each in reference.items() if each["uar"] == 1]
    if perfect:
        raise ValueError(f"The baseline makes no error under {', '.join(perfect)}, so there is nothing to divide by.")
    return float(np.mean([(1 - each["uar"]) / (1 - reference[name]["uar"]) for name, each in measured.items()]))


def read_robustness(path: str | Path) -> dict[str, Any]:
    """
    The content of a `robustness.json`.

    Raises:
        ValueError: if the file is damaged or lacks a field.
    """
    result = read_json(Path(path), "Restore it, or run `hdf robustness --output` again.")
    needed = ("clean", "corruptions", "kinds", "num_clips", "seed", "reference_frames", "title")
    missing = [name for name in needed if name not in result]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; run `hdf robustness --output` again.")
    return result


__all__ = [
    "CorruptedClips",
    "all_conditions",
    "mean_corruption_error",
    "measure_robustness",
    "predicted_classes",
    "read_robustness",
    "summarize",
]
