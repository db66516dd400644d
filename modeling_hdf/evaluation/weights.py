"""The weight files of a model, and their checksums, which tie results to weights."""

import hashlib
import os
import re
from pathlib import Path

from ..data.files import read_json

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = r"model-\d+-of-\d+\.safetensors"


def weight_names(folder: str | os.PathLike) -> list[str]:
    """
    `model.safetensors`, or the index and the files that it names.

    Raises:
        ValueError: if both exist, or the index is damaged or names other files.
    """
    folder = Path(folder)
    if not (folder / WEIGHTS_INDEX).is_file():
        return [WEIGHTS]
    if (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder}: holds both {WEIGHTS} and {WEIGHTS_INDEX}; remove the old one.")
    content = read_json(folder / WEIGHTS_INDEX, "Save the model again.")
    shards = sorted(set(content.get("weight_map", {}).values()))
    if not shards or not all(re.fullmatch(SHARD, name) for name in shards):
        raise ValueError(f"{folder / WEIGHTS_INDEX}: names no files of weights model-00001-of-0000N.safetensors.")
    return [WEIGHTS_INDEX, *shards]


def weights_sha256(model: str | os.PathLike) -> dict[str, str]:
    """Checksum of each weight file in a folder, or of an `.onnx` file, by file name. Raises as [`weight_names`]."""
    path = Path(model)
    folder, names = (path.parent, [path.name]) if path.suffix == ".onnx" else (path, weight_names(path))
    digests = {}
    for name in names:
        with open(folder / name, "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


__all__ = ["SHARD", "WEIGHTS", "WEIGHTS_INDEX", "weight_names", "weights_sha256"]
