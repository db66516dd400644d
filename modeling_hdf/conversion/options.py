"""What the shapes of original weights do not show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ConversionOptions:
    """
    Settings that the shapes of the weights do not show. `None` takes the value from the stored training arguments, or
    the usual value.

    Args:
        num_attention_heads: heads of VideoMAE's encoder; usually one head for each 64 channels.
        decoder_num_attention_heads: heads of the decoder of a pretraining checkpoint.
        image_size: height and width of a frame; usually 224, for X3D 160.
        num_frames: frames of a clip; usually 16, for X3D 13.
        labels: names of the classes, in the order of the classifier.
    """

    num_attention_heads: int | None = None
    decoder_num_attention_heads: int | None = None
    image_size: int | None = None
    num_frames: int | None = None
    labels: Sequence[str] | None = None


def usual_size(given: int | None, option: str, stored: dict, field: str, usual: int) -> int:
    """The option, else the value in the stored training arguments, else the usual value."""
    if given is not None:
        check_count(given, option)
        return given
    size = stored.get(field)
    if size is None:
        return usual
    check_count(size, f"{field!r} in the stored training arguments", f": give {option}")
    return size


def check_count(value: Any, name: str, remedy: str = "") -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}, but must be a whole number of at least 1{remedy}.")


def label_fields(num_labels: int, labels: Sequence[str] | None) -> dict:
    """Fields of a configuration for the classes of a classifier."""
    if labels is None:
        return {"num_labels": num_labels}
    if len(labels) != num_labels:
        raise ValueError(f"--labels has {len(labels)} names, but the classifier has {num_labels} classes.")
    if len(set(labels)) < num_labels or not all(labels):
        raise ValueError(f"--labels must give each class a name of its own, which is not empty; got {list(labels)}.")
    return {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}


__all__ = ["ConversionOptions", "check_count", "label_fields", "usual_size"]
