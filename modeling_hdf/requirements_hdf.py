"""Its import refuses a transformers that is too old, in words that say what to do."""

import transformers
from packaging.version import Version

# The lower bound in pyproject.toml: before it, transformers leaves the biases of VideoMAE's queries and values random.
LOWEST_TRANSFORMERS = "5.18"

if Version(transformers.__version__) < Version(LOWEST_TRANSFORMERS):
    raise ImportError(
        f"HDF needs transformers >= {LOWEST_TRANSFORMERS}; this is {transformers.__version__}: "
        "pip install -U transformers"
    )

__all__ = ["LOWEST_TRANSFORMERS"]
