"""The models that `real_faces.py` compares: each gives the probabilities of one clip of face crops."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from face_api import LABELS as FACE_API_LABELS
from face_api import FaceExpressionNet

from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data.builders.labels import expression_name
from modeling_hdf.inference.classifier import class_names, load_classifier, predict_video

# From crops `(T, H, W, 3)`, uint8 RGB, to the probabilities `(7,)` of `EMOTIONS`.
Model = Callable[[np.ndarray], np.ndarray]


def in_our_order(names: list[str] | tuple[str, ...]) -> list[int]:
    """
    The place of each of `EMOTIONS` among a model's classes, matched by name: `"fearful"` is `"fear"`.

    Raises:
        ValueError: if the classes are not the seven expressions.
    """
    found = [expression_name(name) for name in names]
    if sorted(map(str, found)) != sorted(EMOTIONS):
        raise ValueError(f"The classes {', '.join(names)} are not the seven: {', '.join(EMOTIONS)}.")
    return [found.index(name) for name in EMOTIONS]


def our_model(name_or_path: str) -> Model:
    """A checkpoint of this package; it sees the clip as a whole."""
    model, processor = load_classifier(name_or_path)
    model.eval()
    in_our_order(class_names(model))

    def classify(crops: np.ndarray) -> np.ndarray:
        scores = predict_video(model, processor, crops)
        return np.array([scores[name] for name in EMOTIONS])

    return classify


def fer_model() -> Model:
    """The package `fer` with its default network, which is given the crop as the place of the face."""
    from fer.fer import FER  # in an environment of its own, see docs/real-faces.md

    network = FER(offsets=(0, 0))

    def classify(crop: np.ndarray) -> np.ndarray:
        height, width = crop.shape[:2]
        (face,) = network.detect_emotions(np.ascontiguousarray(crop[..., ::-1]), [(0, 0, width, height)])
        scores = {expression_name(name): score for name, score in face["emotions"].items()}
        values = np.array([scores[name] for name in EMOTIONS])
        return values / values.sum()  # they are rounded to hundredths

    return frame_by_frame(classify)


def face_api_model(folder: str | Path) -> Model:
    """The expression network of face-api."""
    network, order = FaceExpressionNet(folder), in_our_order(FACE_API_LABELS)

    def classify(crop: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(crop).permute(2, 0, 1)[None].float())[0].double().numpy()[order]

    return frame_by_frame(classify)


def frame_by_frame(classify: Model) -> Model:
    """A model of stills on clips: the mean of its probabilities over the frames."""

    def mean(crops: np.ndarray) -> np.ndarray:
        return np.mean([classify(crop) for crop in crops], axis=0)

    return mean


__all__ = ["Model", "face_api_model", "fer_model", "frame_by_frame", "in_our_order", "our_model"]
