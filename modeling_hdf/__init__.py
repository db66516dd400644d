"""HDF: dynamic facial expression recognition. Importing this package registers the Auto classes of transformers."""

import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from .pretrained import SMALL_FACES, TINY_SYNTHETIC

if TYPE_CHECKING:
    from .configuration_hdf import HDFConfig
    from .dam_hdf import DAM
    from .hub.trainer import HDFTrainer
    from .modeling_hdf import HDFForVideoClassification, HDFModel, HDFPreTrainedModel
    from .training.arguments import HDFTrainingArguments
    from .video_processing_hdf import HDFVideoProcessor

__version__ = version("hdf-dfer")

# Imported when they are asked for: the Trainer needs `datasets`, scikit-learn and more, inference does not.
_MODULES = {
    "DAM": "dam_hdf",
    "HDFConfig": "configuration_hdf",
    "HDFForVideoClassification": "modeling_hdf",
    "HDFModel": "modeling_hdf",
    "HDFPreTrainedModel": "modeling_hdf",
    "HDFTrainer": "hub.trainer",
    "HDFTrainingArguments": "training.arguments",
    "HDFVideoProcessor": "video_processing_hdf",
}


def register_auto_classes() -> None:
    """Registers HDF with the Auto classes and pipelines of transformers; done by the import of this package."""
    from .configuration_hdf import HDFConfig  # first: it refuses a transformers that lacks the others
    from .modeling_hdf import HDFForVideoClassification, HDFModel
    from .video_processing_hdf import HDFVideoProcessor

    # isort: split
    from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from .inference.pipeline import BatchedVideoClassificationPipeline

    AutoConfig.register("hdf", HDFConfig, exist_ok=True)
    AutoModel.register(HDFConfig, HDFModel, exist_ok=True)
    AutoModelForVideoClassification.register(HDFConfig, HDFForVideoClassification, exist_ok=True)
    AutoVideoProcessor.register(HDFConfig, HDFVideoProcessor, exist_ok=True)

    # `register_pipeline` would warn that it replaces the stock pipeline; this one only adds batches to it.
    PIPELINE_REGISTRY.supported_tasks["video-classification"]["impl"] = BatchedVideoClassificationPipeline

    # Saving a model or processor copies its source files, so that it loads elsewhere with `trust_remote_code=True`.
    HDFConfig.register_for_auto_class()
    HDFModel.register_for_auto_class("AutoModel")
    HDFForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
    HDFVideoProcessor.register_for_auto_class("AutoVideoProcessor")


def _is_command() -> bool:
    """Whether this process is `hdf` or `python -m modeling_hdf`: they answer help and wrong calls without torch, and
    register before they run a command."""
    return Path(sys.argv[0]).stem == "hdf" or (sys.argv[0] == "-m" and __name__ in sys.orig_argv)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "register_auto_classes"])


if not _is_command():
    register_auto_classes()

__all__ = [
    "SMALL_FACES",
    "TINY_SYNTHETIC",
    "DAM",
    "HDFConfig",
    "HDFForVideoClassification",
    "HDFModel",
    "HDFPreTrainedModel",
    "HDFTrainer",
    "HDFTrainingArguments",
    "HDFVideoProcessor",
]
