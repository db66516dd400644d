"""Importing this module raises an error if transformers is too old."""

import transformers
from packaging.version import Version

# Same bound as in pyproject.toml. Older versions leave the biases of VideoMAE's queries and values random.
LOWEST_TRANSFORMERS = "5.18"

if Version(transformers.__version__) < Version(LOWEST_TRANSFORMERS):
    raise ImportError(
        f"HDF needs transformers >= {LOWEST_TRANSFORMERS}; this is {transformers.__version__}: "
        "pip install -U transformers"
    )

__all__ = ["LOWEST_TRANSFORMERS"]
