"""Versions and device of a run, without names of the machine or its user."""

import platform
from importlib.metadata import version

import torch

PACKAGES = (
    "hdf-dfer",
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "datasets",
    "av",
    "numpy",
    "scikit-learn",
)


def environment() -> dict[str, str | int]:
    """
    The environment of this process, for `metrics.json`.

    Returns:
        `dict`: `python` and each of `PACKAGES` with their versions, `system` (such as `"Linux x86_64"`), `device`
        (name of the GPU, or `"CPU"`), `num_devices` (visible devices of this kind), and `threads` of PyTorch.
    """
    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "num_devices": torch.cuda.device_count() if cuda else 1,
        "threads": torch.get_num_threads(),
    }


__all__ = ["environment"]
