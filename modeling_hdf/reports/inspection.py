"""Measures what a report shows of a model: features of clips, and the gates of its DAM layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from ..data.clips import ClipCollator, ClipDataset
from ..data.frame_sampling import TemporalSampling
from ..evaluation.gates import recorded_gates
from ..evaluation.predictions import class_probabilities
from ..evaluation.results import Results
from ..evaluation.shared_classes import SharedClasses
from ..modeling_hdf import HDFForVideoClassification
from ..video_processing_hdf import HDFVideoProcessor
from .plots import GatedClip

MAX_FEATURE_CLIPS = 1000  # more clips make a t-SNE map slow and no easier to read
_BATCH_SIZE = 8
_SEED = 0


@dataclass
class ModelView:
    """
    Result of [`look_into`], from one view of each clip.

    Args:
        names (`list[str]`): the classes.
        clip_ids (`list[str]`), features (`np.ndarray` of shape `(N, hidden_size)`), labels (`list[str]`): names,
            pooled features and true classes of N sampled clips.
        logits (`np.ndarray` of shape `(N, len(names))`): scores of the same clips, at the model's temperature.
        num_clips (`int`): number of clips of the split.
        gated (`list[GatedClip]`): the clips whose gates are shown; empty for a model without DAM.
    """

    names: list[str]
    clip_ids: list[str]
    features: np.ndarray
    labels: list[str]
    logits: np.ndarray
    num_clips: int
    gated: list[GatedClip]


def look_into(
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    rows: datasets.Dataset,
    sampling: TemporalSampling,
    num_gated: int,
) -> ModelView:
    """
    Runs a model over the clips of a split, on the GPU if there is one.

    Args:
        model ([`HDFForVideoClassification`]), processor ([`HDFVideoProcessor`]): the model and its video processor.
        rows (`datasets.Dataset`): rows of a builder of [`modeling_hdf.data`]; clips of classes that the model lacks
            are left out, see [`SharedClasses`].
        sampling ([`TemporalSampling`]): frame sampling.
        num_gated (`int`): number of clips whose gates are recorded: the first clip of each class, then the second clip
            of each class, and so on, whatever the model predicts.

    Raises:
        ValueError: if model and dataset share too few classes.
    """
    classes = SharedClasses([model.config.id2label[number] for number in range(model.config.num_labels)], _names(rows))
    rows, _ = classes.select(rows)
    kept = np.sort(np.random.default_rng(_SEED).permutation(len(rows))[:MAX_FEATURE_CLIPS])
    sample = rows.select(kept)
    model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    shared = [classes.model_names.index(name) for name in classes.names]
    collator = ClipCollator(processor, num_labels=len(_names(rows)))
    features, logits = [], []
    with torch.inference_mode():
        for batch in DataLoader(ClipDataset(sample, processor, sampling=sampling), _BATCH_SIZE, collate_fn=collator):
            outputs = model(batch["pixel_values"].to(model.device))
            features.append(outputs.features.float().cpu().numpy())
            logits.append(outputs.logits.float().cpu().numpy()[:, shared])
    gated = first_of_each_class(rows["label"][:], num_gated) if len(model.base_model.dam) else []
    return ModelView(
        names=classes.names,
        clip_ids=sample["clip_id"][:],
        features=np.concatenate(features),
        labels=[classes.names[classes.numbers[label]] for label in sample["label"]],
        logits=np.concatenate(logits),
        num_clips=len(rows),
        gated=_gated_clips(model, ClipDataset(rows, processor, sampling=sampling), collator, classes, gated),
    )


def _names(rows: datasets.Dataset) -> list[str]:
    return rows.features["label"].names


def first_of_each_class(labels: Sequence[int], number: int) -> list[int]:
    """
    Indices of `number` clips: the first clip of each class, in the order of classes, then the second clip of each
    class, and so on.

    Args:
        labels (`Sequence[int]`): class of each clip.
        number (`int`): number of clips; if there are fewer, all clips.
    """
    turns = pd.Series(labels).groupby(labels).cumcount()
    order = sorted(range(len(labels)), key=lambda index: (turns[index], labels[index]))
    return order[:number]


def _gated_clips(
    model: HDFForVideoClassification,
    clips: ClipDataset,
    collator: ClipCollator,
    classes: SharedClasses,
    indices: list[int],
) -> list[GatedClip]:
    gated = []
    for index in indices:
        item = clips[index]
        with torch.inference_mode(), recorded_gates(model) as gates:
            logits = model(collator([item])["pixel_values"].to(model.device)).logits[0]
        probabilities = classes.restrict(logits.double().softmax(-1).cpu().numpy()[None])[0]
        best = int(probabilities.argmax())
        gated.append(
            GatedClip(
                clip_id=clips.rows[index]["clip_id"],
                label=classes.names[classes.numbers[item["label"]]],
                predicted=classes.names[best],
                probability=float(probabilities[best]),
                frames=item["clip"].permute(0, 2, 3, 1).numpy(),
                gates=gates,
            )
        )
    return gated


def at_temperature(probabilities: np.ndarray, before: float, after: float) -> np.ndarray:
    """Converts probabilities `softmax(z / before)`, `(N, K)`, to `softmax(z / after)` without the logits z."""
    powers = np.maximum(probabilities, np.finfo(float).tiny) ** (before / after)
    return powers / powers.sum(1, keepdims=True)


def check_view(view: ModelView, metrics: Results, table: pd.DataFrame | None, model_temperature: float) -> None:
    """
    Checks that a view and the metrics belong to the same clips and the same model.

    Args:
        view ([`ModelView`]): result of [`look_into`].
        metrics ([`Results`]): content of `metrics.json`.
        table (`pd.DataFrame`, *optional*): the predictions of the metrics; without them, only the number of clips is
            compared.
        model_temperature (`float`): the model's present `calibration_temperature`.

    Raises:
        ValueError: if the clips or their probabilities differ; the message names them.
    """
    if view.num_clips != metrics.num_clips or view.names != list(metrics.recall):
        raise ValueError(
            f"The metrics cover {metrics.num_clips} clips of {', '.join(metrics.recall)}, but the "
            f"{metrics.split} split of {metrics.dataset} has {view.num_clips} of {', '.join(view.names)}: give "
            "the data of the run (--data-dir, --overrides)."
        )
    if table is None:
        return
    unknown = sorted(set(view.clip_ids) - set(table["clip_id"]))
    if unknown:
        raise ValueError(
            f"Clip {unknown[0]!r} is not among the predictions: give the data of the run (--data-dir, --overrides)."
        )
    if metrics.num_views > 1:  # the predictions are means over views, but this is a single view
        return
    expected = class_probabilities(table.set_index("clip_id").loc[view.clip_ids].reset_index())
    exponentials = np.exp(view.logits - view.logits.max(1, keepdims=True), dtype=np.float64)
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    probabilities = at_temperature(probabilities, model_temperature, metrics.calibration_temperature or 1.0)
    distance = np.abs(probabilities - expected).max(1)
    worst = int(distance.argmax())
    # On other devices and in 16 bits, the probabilities of most clips change far less; those of a few unclear clips
    # change more.
    if np.median(distance) > 0.02 or distance[worst] > 0.25:
        raise ValueError(
            f"The model gives clip {view.clip_ids[worst]!r} probabilities that differ by {distance[worst]:.2f} from "
            "the predictions: the model (--model) or the clips are not the measured ones."
        )


__all__ = ["MAX_FEATURE_CLIPS", "ModelView", "at_temperature", "check_view", "first_of_each_class", "look_into"]
