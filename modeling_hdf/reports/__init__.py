"""
Reports: the results of a run as one HTML page and as pictures.

- [`write_report`]: one self-contained HTML page from the output folder of training or an evaluation.
- [`plot_confusion_matrix`], [`plot_training_curves`], [`plot_reliability`], [`plot_features`], [`plot_gates`]: the
  pictures of a report, as PNG files.
- [`look_into`]: the features of a split and the gates of some clips ([`GatedClip`]) for the last two pictures.
"""

from .inspection import ModelView, look_into
from .page import write_report
from .plots import (
    GatedClip,
    plot_confusion_matrix,
    plot_features,
    plot_gates,
    plot_reliability,
    plot_training_curves,
)

__all__ = [
    "GatedClip",
    "ModelView",
    "look_into",
    "plot_confusion_matrix",
    "plot_features",
    "plot_gates",
    "plot_reliability",
    "plot_training_curves",
    "write_report",
]
