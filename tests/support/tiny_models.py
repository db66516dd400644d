"""Models small enough for tests, with shapes that no axis shares with another: T 2, h 2, w 3, C 12."""

from pathlib import Path

import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

from modeling_hdf import HDFConfig
from modeling_hdf.x3d_hdf import X3DConfig

BACKBONE_LABELS = {0: "clapping", 1: "waving", 2: "running", 3: "jumping", 4: "reading"}


def tiny_backbone_config(**fields) -> VideoMAEConfig:
    """VideoMAE of two layers on clips of shape `(4, 3, 16, 24)`."""
    defaults = {
        "num_frames": 4,
        "image_size": [16, 24],
        "patch_size": 8,
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "initializer_range": 0.2,
        "decoder_num_attention_heads": 2,
        "decoder_hidden_size": 8,
        "decoder_num_hidden_layers": 1,
        "decoder_intermediate_size": 8,
    }
    return VideoMAEConfig(**{**defaults, **fields})


def tiny_config(**fields) -> HDFConfig:
    """HDF on the tiny backbone, with a DAM after each of its layers."""
    return HDFConfig(**{"backbone_config": tiny_backbone_config().to_dict(), **fields})


def randomize(module: nn.Module, std: float = 0.3) -> nn.Module:
    """Adds noise to every parameter, so that nothing is at its start value."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * std)
    return module


def move_dam_weights(model: nn.Module) -> nn.Module:
    """Adds noise to every DAM parameter of an HDF model."""
    randomize(model.base_model.dam)
    return model


def save_backbone(kind: str, folder: Path) -> str:
    """Writes a tiny VideoMAE checkpoint of a kind (pretraining, base or classification); returns the folder."""
    torch.manual_seed(1)
    if kind == "classification":
        model = VideoMAEForVideoClassification(tiny_backbone_config(id2label=BACKBONE_LABELS))
    else:
        model = {"pretraining": VideoMAEForPreTraining, "base": VideoMAEModel}[kind](tiny_backbone_config())
    randomize(model, std=0.1).save_pretrained(folder)
    return str(folder)


def tiny_x3d_config(**fields) -> X3DConfig:
    """X3D of two stages on clips of shape `(4, 3, 16, 24)`; maps of `(4, 8, 12, 4)` and `(4, 4, 6, 6)`."""
    defaults = {
        "num_frames": 4,
        "image_size": [16, 24],
        "stem_channels": 4,
        "stage_channels": [4, 6],
        "stage_depths": [2, 1],
        "stem_stride": 1,
        "stage_strides": [2, 2],
        "stem_kernel": 3,
        "head_channels": 12,
        "initializer_range": 0.2,
    }
    return X3DConfig(**{**defaults, **fields})


def tiny_x3d_hdf_config(**fields) -> HDFConfig:
    """HDF on the tiny X3D, with a DAM after each of its stages."""
    return HDFConfig(**{"backbone_config": tiny_x3d_config().to_dict(), **fields})
