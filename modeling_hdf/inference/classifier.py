"""Loading a trained classifier and classifying one video."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import checkpoint_path
from ..video_processing_hdf import HDFVideoProcessor

if TYPE_CHECKING:
    from .onnx_model import OnnxClassifier


def load_classifier(name_or_path: str) -> tuple["HDFForVideoClassification | OnnxClassifier", HDFVideoProcessor]:
    """
    Load the model and the video processor from a folder, a Hub repository, the checkpoint in the package (by name), or
    an `.onnx` file of `hdf export`.

    Raises:
        FileNotFoundError: if a file beside the `.onnx` file is missing.
        ValueError: if loading fails, weights are missing (transformers would fill them with random values), or a
            weight is NaN or infinite.
    """
    if name_or_path.endswith(".onnx"):
        from .onnx_model import load_onnx  # it needs the data, which the import of the package leaves out

        return load_onnx(name_or_path)
    path = checkpoint_path(name_or_path)
    try:
        model, info = HDFForVideoClassification.from_pretrained(path, output_loading_info=True)
        processor = HDFVideoProcessor.from_pretrained(path)
    except Exception as error:  # a damaged model file can raise almost any error
        place = "" if Path(name_or_path).is_dir() else "there is no such folder, and on the Hub: "
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Model {name_or_path} cannot be loaded: {place}{reason}") from error
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(f"Model {name_or_path} has no weights for {names}: it is no trained classifier.")
    check_finite(f"Model {name_or_path}", model.state_dict().items())
    return model, processor


def check_finite(name: str, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """
    Refuses weights that hold NaN or infinite values.

    Args:
        name (`str`): name of the model or file in the message.
        weights (`Iterable[tuple[str, torch.Tensor]]`): tensors with their names.

    Raises:
        ValueError: for NaN or infinite values; names the first tensor that holds one.
    """
    for tensor_name, tensor in weights:
        if tensor.is_floating_point() and not tensor.isfinite().all():
            count = int((~tensor.isfinite()).sum())
            raise ValueError(
                f"{name}: {count} of {tensor.numel()} values of {tensor_name!r} are NaN or infinite. The training has "
                "diverged, or the file is damaged: take an earlier checkpoint, or train again."
            )


def move(
    model: HDFForVideoClassification, device: str | None = None, dtype: str | None = None
) -> HDFForVideoClassification:
    """
    The model in evaluation mode.

    Args:
        model ([`HDFForVideoClassification`]): the model.
        device (`str`, *optional*): such as `"cpu"` or `"cuda:1"`; by default a GPU if there is one.
        dtype (`str`, *optional*): `"float32"`, `"bfloat16"` or `"float16"`; by default as it is.

    Raises:
        ValueError: for an ONNX model on another device than the CPU, or in another type than float32, and for a device
            that is unknown or cannot be used.
    """
    if next(model.parameters(), None) is None and (device not in (None, "cpu") or dtype not in (None, "float32")):
        raise ValueError(
            "An ONNX model runs on the CPU in float32: leave out `device` and `dtype` (--device, --dtype), or take "
            "the model that it was exported from."
        )
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return model.to(device, getattr(torch, dtype) if dtype else None).eval()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"The device {device!r} cannot be used ({str(error).splitlines()[0].rstrip('.')}): take another, such as "
            "cpu (--device)."
        ) from error


def class_names(model: HDFForVideoClassification) -> tuple[str, ...]:
    """Names of the classes, in the order of the logits."""
    return tuple(model.config.id2label[index] for index in range(model.config.num_labels))


@torch.inference_mode()
def predict_video(model: HDFForVideoClassification, processor: HDFVideoProcessor, video: Any) -> dict[str, float]:
    """
    Classifies one clip that shows one face, cropped. For other videos see [`analyze`].

    Args:
        model ([`HDFForVideoClassification`]): the model, in evaluation mode.
        processor ([`HDFVideoProcessor`]): its video processor.
        video: any input of the processor: a path, an http(s) URL, bytes, frames.

    Returns:
        The probability of each class by its name, highest first; they add up to 1.

    Raises:
        OSError, ValueError: if the video cannot be read; see [`HDFVideoProcessor`].
    """
    inputs = processor(video, return_tensors="pt").to(model.device, model.dtype)
    probabilities = model(**inputs).logits.float().softmax(-1)[0].tolist()
    scores = {model.config.id2label[index]: value for index, value in enumerate(probabilities)}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


__all__ = ["check_finite", "class_names", "load_classifier", "move", "predict_video"]
