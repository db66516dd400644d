"""What a report shows of a model itself, measured on clips: features, and the gates of its DAM layers."""

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

MAX_FEATURE_CLIPS = 1000  # more make a t-SNE map slow to draw and no easier to read
_BATCH_SIZE = 8
_SEED = 0


@dataclass
class ModelView:
    """
    What [`look_into`] saw, of one view of each clip.

    Args:
        names (`list[str]`): the classes.
        clip_ids (`list[str]`), features (`np.ndarray` of shape `(N, hidden_size)`), labels (`list[str]`): the clips
            that the features are of, the pooled features, and the true classes.
        logits (`np.ndarray` of shape `(N, len(names))`): scores of the same clips, at the model's temperature.
        num_clips (`int`): clips of the split, of which the N are a sample.
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
        rows (`datasets.Dataset`): of any builder of [`modeling_hdf.data`]; clips of classes that the model lacks are
            left out, see [`SharedClasses`].
        sampling ([`TemporalSampling`]): which frames are shown.
        num_gated (`int`): clips to record the gates of: the first of each class, then the second of each, and so on.
            Nothing is chosen by how the model does.

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
    Indices of `number` clips: the first of each class in the order of classes, then the second of each, and so on.

    Args:
        labels (`Sequence[int]`): class of each clip.
        number (`int`): clips to take; all, if there are fewer.
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
    """Probabilities `(N, K)` of `softmax(z / before)` as those of `softmax(z / after)`, without the z."""
    powers = np.maximum(probabilities, np.finfo(float).tiny) ** (before / after)
    return powers / powers.sum(1, keepdims=True)


def check_view(view: ModelView, metrics: Results, table: pd.DataFrame | None, model_temperature: float) -> None:
    """
    Checks that a view is of the clips and of the model that the metrics are of.

    Args:
        view ([`ModelView`]): result of [`look_into`].
        metrics ([`Results`]): what `metrics.json` tells.
        table (`pd.DataFrame`, *optional*): the predictions behind the metrics; without them only the number of clips
            can be compared.
        model_temperature (`float`): the model's present `calibration_temperature`.

    Raises:
        ValueError: if the clips are others, or their probabilities; the message says which.
    """
    if view.num_clips != metrics.num_clips or view.names != list(metrics.recall):
        raise ValueError(
            f"The numbers are of {metrics.num_clips} clips of {', '.join(metrics.recall)}, but the "
            f"{metrics.split} split of {metrics.dataset} has {view.num_clips} of {', '.join(view.names)}: give "
            "the data as the run had them (--data-dir, --overrides)."
        )
    if table is None:
        return
    unknown = sorted(set(view.clip_ids) - set(table["clip_id"]))
    if unknown:
        raise ValueError(f"Clip {unknown[0]!r} is not among the predictions: give the data as the run had them.")
    if metrics.num_views > 1:  # the mean over views, while this is one of them
        return
    expected = class_probabilities(table.set_index("clip_id").loc[view.clip_ids].reset_index())
    exponentials = np.exp(view.logits - view.logits.max(1, keepdims=True), dtype=np.float64)
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    probabilities = at_temperature(probabilities, model_temperature, metrics.calibration_temperature or 1.0)
    distance = np.abs(probabilities - expected).max(1)
    worst = int(distance.argmax())
    # Other devices and 16-bit floats move the probabilities of most clips far less, of a few doubtful ones more.
    if np.median(distance) > 0.02 or distance[worst] > 0.25:
        raise ValueError(
            f"The model gives clip {view.clip_ids[worst]!r} probabilities that differ by {distance[worst]:.2f} from "
            "those in the predictions: it is another model (--model), or the clips are others."
        )


__all__ = ["MAX_FEATURE_CLIPS", "ModelView", "at_temperature", "check_view", "first_of_each_class", "look_into"]
