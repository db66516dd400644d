"""HDF: dynamic facial expression recognition. Importing this package registers the Auto classes of transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification

from .configuration_hdf import HDFConfig
from .dam_hdf import DAM, convert_release_state_dict
from .modeling_hdf import HDFForVideoClassification, HDFModel, HDFPreTrainedModel

AutoConfig.register("hdf", HDFConfig)
AutoModel.register(HDFConfig, HDFModel)
AutoModelForVideoClassification.register(HDFConfig, HDFForVideoClassification)

HDFConfig.register_for_auto_class()
HDFModel.register_for_auto_class("AutoModel")
HDFForVideoClassification.register_for_auto_class("AutoModelForVideoClassification")

__all__ = [
    "DAM",
    "HDFConfig",
    "HDFForVideoClassification",
    "HDFModel",
    "HDFPreTrainedModel",
    "convert_release_state_dict",
]
