"""The metric `dfer` for the library `evaluate`: `evaluate.load(modeling_hdf.dfer.PATH)`, with no network."""

import os

PATH = os.path.dirname(os.path.abspath(__file__))

__all__ = ["PATH"]
