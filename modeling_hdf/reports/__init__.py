"""
Reports: what a run came to, as pictures and as one page.

- [`write_report`]: one HTML page of a run that loads nothing, from the folder that training or an evaluation wrote.
- [`plot_confusion_matrix`], [`plot_training_curves`], [`plot_reliability`], [`plot_features`], [`plot_gates`]: its
  pictures, each as a PNG.
- [`look_into`]: the features of a split and the gates of some clips ([`GatedClip`]), which the last two draw.
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
