"""A trained model on videos: [`load_classifier`] loads it with its processor, [`predict_video`] asks it."""

from .classifier import VideoPrediction, load_classifier, predict_video

__all__ = ["VideoPrediction", "load_classifier", "predict_video"]
