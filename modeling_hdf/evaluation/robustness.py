"""How much a model loses on corrupted clips: every corruption of [`modeling_hdf.data.corruptions`] in five severities.

Each clip is first read as a fixed number of frames, spread evenly over its time. The corruption changes these, and the
model takes its own number from them. So every model sees the same pixels, whatever its clip length. The corruption
"foreign" also needs the frames of another clip, which is drawn from the whole split.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
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
# Fields that two results must share to be compared.
ALIKE = ("title", "dataset_overrides", "num_clips", "clips_sha256", "seed", "reference_frames")
_PEOPLE = ("identity", "group")  # columns whose equal values mean the same person

Condition = tuple[str, int]  # corruption and severity


class CorruptedClips(Dataset):
    """
    Every clip in all its corrupted versions.

    Args:
        rows (`datasets.Dataset`): rows of a builder of [`modeling_hdf.data`]: the whole split, because a clip's
            foreign frames may come from any of them.
        processor ([`HDFVideoProcessor`]): the model's video processor.
        conditions (`Sequence[tuple[str, int]]`): corruptions and severities; `("clean", 0)` is the clip itself.
        seed (`int`): seed of the corruptions.
        chosen (`Sequence[int]`, *optional*): numbers of the rows that are items; by default all.

    Item i is `(i, clips)`, with `clips` a uint8 tensor `(len(conditions), num_frames, 3, height, width)` of frames of
    the model's size, or `(i, message)` for a clip that cannot be read.

    Raises:
        ValueError: for the corruption "foreign", if all clips are of one class; by an item, if no clip can be read
            that could give it foreign frames.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: HDFVideoProcessor,
        conditions: Sequence[Condition],
        seed: int,
        chosen: Sequence[int] | None = None,
    ):
        self.rows = rows
        self.processor = processor
        self.conditions = conditions
        self.seed = seed
        self.chosen = range(len(rows)) if chosen is None else chosen
        needs_partners = any(name == "foreign" for name, _ in conditions)
        self._partners = Partners(rows, seed) if needs_partners else None
        sample = TemporalSampling("uniform", processor.num_frames).view()
        self._shown = sample(metadata=VideoMetadata(total_num_frames=REFERENCE_FRAMES), timestamps=None)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor | str]:
        number = int(self.chosen[index])
        frames = self._reference(number)
        if isinstance(frames, str):
            return index, frames
        foreign = None if self._partners is None else self._foreign(number)
        clip_id = str(self.rows[number]["clip_id"])
        # Each version is made as small as the model's frames before the next one is made.
        versions = [
            fit_clip(self._version(frames, condition, clip_id, foreign), self.processor)
            for condition in self.conditions
        ]
        return index, torch.stack(versions)

    def _reference(self, number: int) -> torch.Tensor | str:
        """The frames `(REFERENCE_FRAMES, 3, H, W)` on which the corruptions work, or why they cannot be read."""
        sample = TemporalSampling("uniform", REFERENCE_FRAMES).view()
        try:
            return torch.from_numpy(load_clip(self.rows[number], sample=sample)).movedim(-1, -3)
        except (OSError, ValueError) as error:
            return str(error)

    def _foreign(self, number: int) -> torch.Tensor:
        """The frames of the first partner that can be read."""
        order = self._partners.order(number)
        for partner in order:
            frames = self._reference(int(partner))
            if not isinstance(frames, str):
                return frames
        raise ValueError(
            f"None of the {len(order)} clips that could give foreign frames to {self.rows[number]['clip_id']} can be "
            f"read, so the corruption `foreign` cannot be measured; the last: {frames}"
        )

    def _version(
        self, frames: torch.Tensor, condition: Condition, clip_id: str, foreign: torch.Tensor | None
    ) -> torch.Tensor:
        if condition == CLEAN:
            return frames[self._shown]
        return corrupt(frames, *condition, seed=self.seed, clip_id=clip_id, shown=self._shown, foreign=foreign)


class Partners:
    """
    For each clip the others that may give its foreign frames: of a different class, and of a different person if the
    rows name people and there is such a clip.

    Args:
        rows (`datasets.Dataset`): the whole split, so that all models and choices of clips draw the same partners.
        seed (`int`): seed of the corruptions.

    Raises:
        ValueError: if all clips are of one class.
    """

    def __init__(self, rows: datasets.Dataset, seed: int):
        self.seed = seed
        self._labels = np.array(rows["label"][:])
        if len(set(self._labels)) < 2:
            raise ValueError("All clips are of one class: the corruption `foreign` needs clips of another one.")
        self._clip_ids = [str(clip_id) for clip_id in rows["clip_id"][:]]
        self._people = next((np.array(rows[name][:]) for name in _PEOPLE if name in rows.column_names), None)

    def order(self, number: int) -> np.ndarray:
        """Numbers of the partners of a row, in an order that depends on the seed and the clip's name."""
        others = self._labels != self._labels[number]
        if self._people is not None and (others & (self._people != self._people[number])).any():
            others &= self._people != self._people[number]
        rng = np.random.default_rng([self.seed, crc32(self._clip_ids[number].encode())])
        return rng.permutation(np.flatnonzero(others))


def all_conditions(names: Collection[str] | None = None, severities: Sequence[int] = SEVERITIES) -> list[Condition]:
    """The clean clip, and each corruption of `names` (by default all) in each severity."""
    chosen = [name for kind in KINDS.values() for name in kind if names is None or name in names]
    return [CLEAN, *((name, severity) for name in chosen for severity in severities)]


def measure_robustness(
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    rows: datasets.Dataset,
    *,
    chosen: Sequence[int] | None = None,
    names: Collection[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch_size: int = 16,
    num_workers: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """
    Classifies every clip in all corrupted versions.

    Args:
        model ([`HDFForVideoClassification`]), processor ([`HDFVideoProcessor`]): the model, on one device, and its
            video processor.
        rows (`datasets.Dataset`): rows of a builder of [`modeling_hdf.data`], the whole split.
        chosen (`Sequence[int]`, *optional*): numbers of the rows to measure; by default all. The others may only give
            foreign frames. Clips of a class that the model lacks are left out, see [`SharedClasses`].
        names (`Collection[str]`, *optional*): corruptions; by default all.
        severities (`Sequence[int]`): severities, 1 to 5.
        seed (`int`): seed of the corruptions.
        batch_size (`int`), num_workers (`int`): clips per forward pass, and processes that read and corrupt clips.
        progress (`bool`): show a bar that counts clips.

    Returns:
        The result of [`summarize`], with `num_clips`, `unreadable` (`clip_id` and `message`), `clips_sha256` (see
        [`clips_sha256`]), `across_datasets` (as in [`Results`]), `seed` and `reference_frames`.

    Raises:
        ValueError: if no clip can be read, or model and dataset share too few classes; see also [`CorruptedClips`].
    """
    classes, chosen, left_out = clips_of_shared_classes(model, rows, chosen)
    labels = np.array([classes.numbers[label] for label in np.array(rows["label"][:])[chosen]])
    conditions = all_conditions(names, severities)
    clips = CorruptedClips(rows, processor, conditions, seed, chosen)
    predicted = np.zeros((len(clips), len(conditions)), dtype=int)
    unreadable = {}
    shared = [classes.model_names.index(name) for name in classes.names]
    loader = DataLoader(clips, batch_size=None, num_workers=num_workers)
    for index, versions in tqdm(loader, desc="corrupted clips", unit="clip", disable=not progress):
        if isinstance(versions, str):
            unreadable[index] = versions
        else:
            predicted[index] = predicted_classes(model, processor, versions, shared, batch_size)
    readable = [index for index in range(len(clips)) if index not in unreadable]
    if not readable:
        raise ValueError(f"None of the {len(clips)} clips can be read; the first: {unreadable[0]}")
    scores = {
        condition: {
            "war": war(labels[readable], predicted[readable, column]),
            "uar": uar(labels[readable], predicted[readable, column]),
        }
        for column, condition in enumerate(conditions)
    }
    named = [
        {"clip_id": str(rows[int(chosen[index])]["clip_id"]), "message": text} for index, text in unreadable.items()
    ]
    return {
        "num_clips": len(readable),
        "unreadable": named,
        "clips_sha256": clips_sha256(rows, chosen),
        "across_datasets": classes.described(left_out),
        "seed": seed,
        "reference_frames": REFERENCE_FRAMES,
        **summarize(scores),
    }


def clips_of_shared_classes(
    model: HDFForVideoClassification, rows: datasets.Dataset, chosen: Sequence[int] | None = None
) -> tuple[SharedClasses, np.ndarray, dict[str, int]]:
    """
    The classes that a model shares with a dataset, the numbers of the `chosen` rows (by default all) of these classes,
    and how many of the chosen clips of each other class are left out.

    Raises:
        ValueError: if too few classes are shared, or no row is left; see [`SharedClasses`].
    """
    model_names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    classes = SharedClasses(model_names, rows.features["label"].names)
    chosen = np.arange(len(rows)) if chosen is None else np.asarray(chosen)
    kept, left_out = classes.split(np.array(rows["label"][:])[chosen])
    return classes, chosen[kept], left_out


def clips_sha256(rows: datasets.Dataset, chosen: Sequence[int]) -> str:
    """A checksum of the names and labels of the chosen clips, whatever their order: whether two models were measured
    on the same clips."""
    names, clip_ids, labels = rows.features["label"].names, rows["clip_id"][:], rows["label"][:]
    told = sorted([str(clip_ids[number]), names[labels[number]]] for number in chosen)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


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
    alike = {name: result[name] for name in ALIKE}
    check_baseline(baseline, alike, measured_conditions(result))
    reference = baseline["corruptions"]
    shares = [(1 - each["uar"]) / (1 - reference[name]["uar"]) for name, each in result["corruptions"].items()]
    return float(np.mean(shares))


def check_baseline(baseline: dict[str, Any], alike: dict[str, Any], conditions: Collection[Condition]) -> None:
    """
    Checks that a baseline can be compared with a measurement, which may still have to be done.

    Args:
        baseline (`dict`): content of `robustness.json`.
        alike (`dict`): fields that must be equal in the baseline.
        conditions (`Collection[tuple[str, int]]`): corruptions and severities of the measurement.

    Raises:
        ValueError: if the baseline was measured differently, or makes no error under a corruption.
    """
    for name, value in alike.items():
        if name not in baseline:
            raise ValueError(f"The baseline has no {name}: measure it again.")
        if value != baseline[name]:
            raise ValueError(f"The baseline has {name} {baseline[name]!r}, the model {value!r}: measure both alike.")
    if measured_conditions(baseline) != {condition for condition in conditions if condition != CLEAN}:
        raise ValueError("The baseline was measured with other corruptions or severities: measure both alike.")
    perfect = [name for name, each in baseline["corruptions"].items() if each["uar"] == 1]
    if perfect:
        raise ValueError(f"The baseline makes no error under {', '.join(perfect)}, so there is nothing to divide by.")


def measured_conditions(result: dict[str, Any]) -> set[Condition]:
    """Corruptions and severities of the content of a `robustness.json`."""
    return {(name, int(level)) for name, each in result["corruptions"].items() for level in each["severities"]}


def read_robustness(path: str | Path) -> dict[str, Any]:
    """
    The content of a `robustness.json`.

    Raises:
        ValueError: if the file is damaged or lacks a field.
    """
    result = read_json(Path(path), "Restore it, or run `hdf robustness --output` again.")
    needed = ("clean", "corruptions", "kinds", "model", "num_clips", "reference_frames", "seed", "title", "unreadable")
    missing = [name for name in needed if name not in result]
    if missing:
        raise ValueError(f"{path} has no {', '.join(missing)}; run `hdf robustness --output` again.")
    return result


__all__ = [
    "CorruptedClips",
    "Partners",
    "all_conditions",
    "check_baseline",
    "clips_of_shared_classes",
    "clips_sha256",
    "mean_corruption_error",
    "measured_conditions",
    "measure_robustness",
    "predicted_classes",
    "read_robustness",
    "summarize",
]
