"""Converts checkpoints of other code to folders that transformers loads."""

import os
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel, VideoMAEImageProcessor

from ..configuration_hdf import BACKBONES
from ..data.files import refuse_filled, whole_or_absent
from . import videomae, x3d
from .options import ConversionOptions
from .original import read_pth, weights_of


def convert_checkpoint(
    source: str | os.PathLike, out: str | os.PathLike, options: ConversionOptions
) -> PreTrainedConfig:
    """
    Writes the transformers folder of an original checkpoint: weights (safetensors), configuration and preprocessing.

    The function loads and compares the written weights; the folder appears only after that.

    Args:
        source (`str` or `Path`): the file, of the original VideoMAE code or of pytorchvideo's X3D; never
            unpickled, see [`read_pth`].
        out (`str` or `Path`): the folder; must be empty or not exist.
        options ([`ConversionOptions`]): settings that the shapes do not show.

    Returns:
        `VideoMAEConfig` or `X3DConfig`: the found and assumed values; `architectures` names the kind of model.

    Raises:
        FileExistsError: if the folder is not empty.
        OutputError: if the folder cannot be written.
        ValueError: if the file cannot be read, has another architecture, has unknown or missing weights, or
            contradicts an option. The message names the file.
    """
    refuse_filled(out)
    checkpoint = read_pth(source)
    try:
        weights, arguments = weights_of(checkpoint)
        if x3d.is_x3d(weights):
            model = x3d.build_converted(weights, options)
        else:
            model = videomae.build_converted(weights, arguments, options)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    with whole_or_absent(out) as part:
        model.save_pretrained(part)
        kind, size = BACKBONES[model.config.model_type], model.config.image_size
        VideoMAEImageProcessor(  # its defaults differ from the preprocessing in both trainings
            image_mean=kind.pixel_mean,
            image_std=kind.pixel_std,
            size={"shortest_edge": size},
            crop_size={"height": size, "width": size},
        ).save_pretrained(part)
        _compare(model, part)
    return model.config


def _compare(model: PreTrainedModel, folder: Path) -> None:
    """Loads the folder again and compares every weight."""
    loaded, info = type(model).from_pretrained(folder, dtype=model.dtype, output_loading_info=True)
    different = [name for name, value in model.state_dict().items() if not loaded.state_dict()[name].equal(value)]
    problems = [*different, *(name for names in info.values() for name in names)]
    if problems:
        raise RuntimeError(f"{folder}: weights did not come back as they were written: {problems}")


__all__ = ["convert_checkpoint"]
