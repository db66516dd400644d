"""The metric `dfer` for the library `evaluate`: `evaluate.load(modeling_hdf.evaluation.dfer.PATH)`, offline.

The library is an extra: `pip install "hdf-dfer[evaluate]"`.
"""

import os

PATH = os.path.dirname(os.path.abspath(__file__))

__all__ = ["PATH"]
