"""HDF: dynamic facial expression recognition. Importing this package registers the Auto classes of transformers."""

from typing import TYPE_CHECKING

from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor

from .configuration_hdf import HDFConfig
from .dam_hdf import DAM, convert_release_state_dict
from .modeling_hdf import HDFForVideoClassification, HDFModel, HDFPreTrainedModel
from .pretrained import TINY_SYNTHETIC
from .video_processing_hdf import HDFVideoProcessor

if TYPE_CHECKING:
    from .trainer import HDFTrainer, HDFTrainingArguments

AutoConfig.register("hdf", HDFConfig)
AutoModel.register(HDFConfig, HDFModel)
AutoModelForVideoClassification.register(HDFConfig, HDFForVideoClassification)
AutoVideoProcessor.register(HDFConfig, HDFVideoProcessor)

# Saving a model or processor copies its source files, so that it loads elsewhere with `trust_remote_code=True`.
HDFConfig.register_for_auto_class()
HDFModel.register_for_auto_class("AutoModel")
HDFForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")
HDFVideoProcessor.register_for_auto_class("AutoVideoProcessor")

_TRAINING = ("HDFTrainer", "HDFTrainingArguments")


def __getattr__(name: str):
    # On demand: the Trainer of transformers imports `datasets` and more, which inference has no use for.
    if name in _TRAINING:
        from . import trainer

        return getattr(trainer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "TINY_SYNTHETIC",
    "DAM",
    "HDFConfig",
    "HDFForVideoClassification",
    "HDFModel",
    "HDFPreTrainedModel",
    "HDFTrainer",
    "HDFTrainingArguments",
    "HDFVideoProcessor",
    "convert_release_state_dict",
]
