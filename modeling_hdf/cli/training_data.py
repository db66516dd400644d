"""The part of `hdf train` that prepares the data: one dataset, or several that train one model."""

from dataclasses import dataclass, field

from datasets import Dataset, DatasetBuilder

from ..data.arguments import DataArguments, class_count_lines
from ..data.builders.base import ExpressionBuilder
from ..data.builders.checks import class_counts
from ..data.clips import ClipDataset
from ..data.mixtures import united_classes, with_classes
from ..training.arguments import HDFTrainingArguments
from ..training.distributed import decided_by_first, is_first_process
from ..training.recipes import as_fields
from ..video_processing_hdf import HDFVideoProcessor

_MOST_NAMED = 10  # clips in an error message


@dataclass
class Part:
    """One dataset of a training.

    Attributes:
        data: its arguments.
        overrides: fields of its builder.
        builder: the prepared builder.
        rows: the rows of each split, in the classes of the dataset.
        clips: the clips of each split, in the classes of the model.
        num_left_out: number of validation clips that could not be read.
    """

    data: DataArguments
    overrides: dict
    builder: DatasetBuilder
    rows: dict[str, Dataset]
    clips: dict[str, ClipDataset] = field(default_factory=dict)
    num_left_out: int = 0

    @property
    def cut_splits(self) -> dict[str, str]:
        """The splits that were cut from the training clips, see [`ExpressionConfig.cut_digests`]."""
        return self.builder.config.cut_digests() if isinstance(self.builder, ExpressionBuilder) else {}

    @property
    def names(self) -> list[str]:
        """The classes of the dataset."""
        return self.rows["test"].features["label"].names

    @property
    def model_names(self) -> list[str]:
        """The classes of the model."""
        return self.clips["test"].rows.features["label"].names


def prepare(data: DataArguments, training: HDFTrainingArguments) -> dict[str, Part]:
    """The prepared datasets by name; process 0 prints their clips by split and class."""
    parts = {}
    with training.main_process_first(desc="preparing the dataset"):
        for name, (own, overrides) in data.parts(as_fields("dataset_overrides", data.dataset_overrides)).items():
            builder = own.builder(overrides)
            builder.download_and_prepare()
            parts[name] = Part(own, overrides, builder, builder.as_dataset())
    for name, part in parts.items() if training.process_index == 0 else ():
        title = f"{name}, " if data.is_mixture else ""
        for line in class_count_lines(class_counts(part.rows), data.peer_protocol):
            print(title + line, flush=True)
        if isinstance(part.builder, ExpressionBuilder) and part.builder.left_out_line is not None:
            print(part.builder.left_out_line, flush=True)
    return parts


def class_names(parts: dict[str, Part]) -> list[str]:
    """The classes of the model: those of the dataset, or of all of them together, see [`united_classes`]."""
    if len(parts) == 1:
        return next(iter(parts.values())).names
    return united_classes({name: part.names for name, part in parts.items()})


def add_clips(parts: dict[str, Part], names: list[str], processor: HDFVideoProcessor, seed: int) -> None:
    """
    Sets the clips of each dataset, with labels of the classes `names`. Validation clips that cannot be read are left
    out.

    Raises:
        ValueError: if they are more than `max_missing` allows, or if no clip is left.
    """
    for number, part in enumerate(parts.values()):
        rows = with_classes(part.rows, names)
        part.clips = part.data.clips(rows, processor, seed + number, skip_unreadable=("test",))
        _leave_out_unreadable(part)


def _leave_out_unreadable(part: Part) -> None:
    """Takes the clips that cannot be read out of validation, before the first step, so that every epoch is measured
    on the same clips. Process 0 reads all of them and names them."""
    validation = part.clips["validation"]
    messages = decided_by_first(validation.find_unreadable)
    if not messages:
        return
    listed = [f"  {validation.rows[index]['clip_id']}: {message}" for index, message in messages.items()]
    failure = part.data.too_many_missing(part.builder, len(messages))
    if failure is None and len(messages) == len(validation):
        failure = "No clip is left for validation."
    if failure is not None:
        raise ValueError("\n".join([failure, *listed[:_MOST_NAMED]]))
    if is_first_process():
        print(f"validation: {len(messages)} clips cannot be read, and are left out", *listed, sep="\n", flush=True)
    part.clips["validation"] = validation.without(messages)
    # With the peer protocol the test counts the same clips again.
    part.num_left_out = 0 if part.data.peer_protocol else len(messages)


__all__ = ["Part", "add_clips", "class_names", "prepare"]
