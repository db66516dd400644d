"""Runs a trained model over a dataset in batches, for its probabilities or its raw outputs."""

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from transformers import Trainer, TrainingArguments

from ..data.arguments import DataArguments
from ..data.clips import ClipCollator, ClipDataset
from ..modeling_hdf import HDFForVideoClassification
from ..video_processing_hdf import HDFVideoProcessor
from .predictions import predictions_table
from .shared_classes import SharedClasses
from .unreadable import unreadable_clips
from .views import predict_views


class _UnlabelledCollator(ClipCollator):
    """[`ClipCollator`] without labels, because a dataset may number its classes differently from the model."""

    def __init__(self, processor: HDFVideoProcessor):
        super().__init__(processor, num_labels=1)

    def __call__(self, items: list[dict]) -> dict:
        return {"pixel_values": super().__call__([{**item, "label": 0} for item in items])["pixel_values"]}


def evaluation_trainer(
    model: HDFForVideoClassification, processor: HDFVideoProcessor, output_dir: str | Path, **arguments
) -> Trainer:
    """
    A [`~transformers.Trainer`] for prediction, on a GPU if there is one.

    Args:
        model ([`HDFForVideoClassification`]): the model.
        processor ([`HDFVideoProcessor`]): its video processor.
        output_dir (`str` or `Path`): a folder that the Trainer requires; nothing is written into it.
        arguments: arguments of [`~transformers.TrainingArguments`], such as `per_device_eval_batch_size` and
            `dataloader_num_workers`.
    """
    settings = TrainingArguments(
        str(output_dir),
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        **arguments,
    )
    return Trainer(model, settings, data_collator=_UnlabelledCollator(processor))


def predict_rows(
    trainer: Trainer, rows: datasets.Dataset, processor: HDFVideoProcessor, data: DataArguments
) -> tuple[pd.DataFrame, dict | None]:
    """
    Classifies the rows of a split.

    Args:
        trainer (`Trainer`): result of [`evaluation_trainer`].
        rows (`datasets.Dataset`): rows of a builder of [`modeling_hdf.data`].
        processor ([`HDFVideoProcessor`]): the model's processor.
        data ([`DataArguments`]): sampling and number of views.

    Returns:
        The table of [`predictions_table`], with the clips that could not be read, and None. If the classes of model
        and dataset differ, instead of None a `dict`: `shared` (names), `only_in_model` (names) and `left_out` (clips
        of each class that the model lacks).

    Raises:
        ValueError: if too few classes are shared, see [`SharedClasses`], or if no clip can be read.
    """
    dataset_names = rows.features["label"].names
    classes = SharedClasses(_model_names(trainer), dataset_names)
    rows, left_out = classes.select(rows)
    clips = data.clips({"test": rows}, processor, seed=0, skip_unreadable=("test",))["test"]
    probabilities, _ = predict_views(trainer, clips, data.num_views)
    table = predictions_table(rows, probabilities, classes, unreadable_clips(clips))
    return table, classes.described(left_out)


def clip_outputs(trainer: Trainer, clips: ClipDataset) -> tuple[np.ndarray, np.ndarray]:
    """
    Scores and features of one view of each clip.

    Args:
        trainer (`Trainer`): holds an [`HDFForVideoClassification`].
        clips ([`ClipDataset`]): not for training.

    Returns:
        Logits `(N, num_labels)`, divided by the model's `calibration_temperature`, and pooled features
        `(N, hidden_size)`.
    """
    logits, features = trainer.predict(clips, ignore_keys=["loss", "hidden_states", "attentions"]).predictions
    return logits, features


def _model_names(trainer: Trainer) -> list[str]:
    id2label = trainer.model.config.id2label
    return [id2label[number] for number in range(len(id2label))]


__all__ = ["clip_outputs", "evaluation_trainer", "predict_rows"]
