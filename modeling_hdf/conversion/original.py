"""Reading `.pth` checkpoints of other code, without running code from the file."""

import argparse
import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.serialization import safe_globals
from transformers import PreTrainedModel

_NOT_READABLE = "{}: cannot be read as a PyTorch checkpoint; it is damaged, or of another kind."
_NESTING = ("model", "module", "state_dict", "model_state")
_PREFIXES = ("module.", "backbone.")

# Patterns of weight names that show another architecture, and its name. The first match counts.
_OTHER_ARCHITECTURES = (
    (r"(^|\.)lg_region_tokens$|\.(first|second|third)_attn\.", "LGI-Former, the encoder of MAE-DFER, which is no ViT"),
    (r"^(videomae\.|encoder\.layer\.\d|hdf\.)", "a model of transformers already: load its folder, not the weights"),
    (r"\.temporal_(attn|fc|norm1)\.|^time_embed$", "TimeSformer"),
    (r"\.relative_position_bias_table$", "a Swin transformer"),
    (r"\.attn\.(pool|norm)_[qkv]\.", "MViT"),
    (r"\.attn\.logit_scale$", "VideoMAE with cosine attention"),
    (r"\.gamma_[12]$", "a ViT with layer scale"),
    (r"(^|\.)cls_token$", "a ViT with a class token"),
    (r"^visual\.", "CLIP"),
    (r"^blocks\.\d+\.(conv|res_blocks)\b|^s\d\.pathway", "another convolutional network than X3D"),
    (r"(^|\.)layer[1-4]\.\d+\.conv\d\.", "ResNet"),
)


def read_pth(path: str | os.PathLike) -> Any:
    """
    The contents of a `.pth` file: tensors, plain containers, numbers and `argparse.Namespace`; no other object.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if the file is empty, damaged or of another format, or holds objects that need unpickling.
    """
    path = Path(path)
    with open(path, "rb") as file:  # its error names the path
        start = file.read(9)
    if not start:
        raise ValueError(f"{path}: the file is empty (0 bytes).")
    if path.suffix == ".safetensors" or start[8:] == b"{":
        raise ValueError(
            f"{path}: is a safetensors file, and `hdf convert` reads `.pth` files of the original code. Weights of "
            "transformers need no conversion: pass their folder as `model_name_or_path`."
        )
    try:
        with safe_globals([argparse.Namespace]), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise ValueError(_NOT_READABLE.format(path)) from error
        raise ValueError(
            f"{path}: holds an object of {found[1]} beside its weights. Reading it means unpickling, which can run "
            "any code that the file contains, so it was not read. Where you trust the file, save its weights alone "
            "with the code that it came with, torch.save(model.state_dict(), 'weights.pth'), and convert that."
        ) from error
    except Exception as error:  # a damaged file makes PyTorch raise almost anything
        raise ValueError(_NOT_READABLE.format(path)) from error


def weights_of(checkpoint: Any) -> tuple[dict[str, torch.Tensor], argparse.Namespace]:
    """
    The weights, under names without the prefixes of wrappers, and the training arguments that the checkpoint stores
    (empty if it stores no arguments).

    Raises:
        ValueError: if there are no weights, an entry is not a tensor, a weight holds NaN or infinite values, or two
            weights have one name.
    """
    arguments = checkpoint.get("args") if isinstance(checkpoint, dict) else None
    weights = checkpoint
    while isinstance(weights, dict) and not any(isinstance(value, torch.Tensor) for value in weights.values()):
        nested = [name for name in _NESTING if isinstance(weights.get(name), dict)]
        if not nested:
            raise ValueError(f"no weights: the file holds {_listed(weights)}, and none of {', '.join(_NESTING)}.")
        weights = weights[nested[0]]
    if not isinstance(weights, dict):
        raise ValueError(f"no weights: the file holds a {type(weights).__name__}; it must be a dictionary of tensors.")
    others = [name for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise ValueError(f"among the weights there are entries that are no tensors: {_listed(others)}.")
    damaged = [name for name, value in weights.items() if not value.isfinite().all()]
    if damaged:
        raise ValueError(
            f"weights hold NaN or infinite values, as after a training that diverged: {_listed(damaged)}."
        )
    for prefix in _PREFIXES:
        shortened = {name.removeprefix(prefix): value for name, value in weights.items()}
        if len(shortened) < len(weights):
            raise ValueError(f"some weights are stored twice, with and without the prefix {prefix!r}.")
        weights = shortened
    return weights, arguments if isinstance(arguments, argparse.Namespace) else argparse.Namespace()


def refuse_other_architectures(weights: dict[str, torch.Tensor]) -> None:
    """Raises a `ValueError` that names the architecture, unless the weights belong to a plain VideoMAE ViT."""
    for pattern, name in _OTHER_ARCHITECTURES:
        match = next((key for key in weights if re.search(pattern, key)), None)
        if match is not None:
            raise ValueError(
                f"the weights are of {name} ({match!r}); only plain VideoMAE ViTs and pytorchvideo's X3D can be "
                "converted."
            )
    patches = weights.get("encoder.patch_embed.proj.weight", weights.get("patch_embed.proj.weight"))
    if patches is None or patches.ndim != 5:
        found = f"its weights are {_listed(weights)}" if patches is None else "its patches are those of single images"
        raise ValueError(f"this is neither a VideoMAE nor an X3D: {found}.")


def weight_named(weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """The weight of this name. Raises a `ValueError` if it is missing."""
    if name not in weights:
        raise ValueError(f"the weight {name!r} is missing.")
    return weights[name]


def check_names_and_shapes(
    converted: dict[str, tuple[torch.Tensor, str]], model: PreTrainedModel, weights: dict[str, torch.Tensor]
) -> None:
    """
    Raises a `ValueError` that names the weight, unless `converted` holds each weight of `model` and no other.

    Args:
        converted: by new name, each value with its original name.
        model: the model that the weights are for.
        weights: by original name.
    """
    expected = model.state_dict()
    left_over = sorted({name for new_name, (_, name) in converted.items() if new_name not in expected})
    if left_over:
        raise ValueError(f"weights that {type(model).__name__} has no place for: {', '.join(map(repr, left_over))}.")
    missing = sorted(expected.keys() - converted.keys())
    if missing:
        raise ValueError(f"weights are missing for {', '.join(missing)} (the names of transformers).")
    for new_name, (value, name) in converted.items():
        if value.shape != expected[new_name].shape:
            shape = tuple(expected[new_name].shape)
            raise ValueError(f"{name!r} has the shape {tuple(weights[name].shape)}, but {new_name} must be {shape}.")


def _listed(names: Any, most: int = 5) -> str:
    names = [repr(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "nothing"


__all__ = ["check_names_and_shapes", "read_pth", "refuse_other_architectures", "weight_named", "weights_of"]
