"""Inference on videos: [`load_classifier`] loads a model with its processor, [`predict_video`] classifies a video."""

from .classifier import VideoPrediction, load_classifier, predict_video

__all__ = ["VideoPrediction", "load_classifier", "predict_video"]
