"""Loading a trained classifier."""

from pathlib import Path

from safetensors import SafetensorError

from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import checkpoint_path
from ..video_processing_hdf import HDFVideoProcessor


def load_classifier(name_or_path: str) -> tuple[HDFForVideoClassification, HDFVideoProcessor]:
    """
    The model and the video processor of a folder, a Hub repository, or the checkpoint that ships (by its name).

    Raises:
        ValueError: if they cannot be loaded, or weights are missing: a classifier at its random start would be
            measured without notice.
    """
    path = checkpoint_path(name_or_path)
    try:
        model, info = HDFForVideoClassification.from_pretrained(path, output_loading_info=True)
        processor = HDFVideoProcessor.from_pretrained(path)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:  # the last two: shapes, a cut file
        place = "" if Path(name_or_path).is_dir() else "there is no such folder, and on the Hub: "
        raise ValueError(f"Model {name_or_path} cannot be loaded: {place}{error}") from error
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(f"Model {name_or_path} has no weights for {names}: it is no trained classifier.")
    return model, processor


__all__ = ["load_classifier"]
