"""`hdf predict`: the expressions of videos."""

import argparse

import torch

from ..faces.detection import yunet_weights
from ..inference import load_classifier, predict_video
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints the most probable classes of each video; the result holds all probabilities of each video."""
    if arguments.face:
        yunet_weights()  # refuses before the model is loaded
    model, processor = load_classifier(arguments.model)
    model = model.to(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    predictions, failures = {}, {}
    for video in arguments.videos:
        try:
            prediction = predict_video(model, processor, video, find_face=arguments.face)
        except (OSError, ValueError) as error:  # one bad file does not stop the others
            failures[video] = str(error)
            continue
        predictions[video] = prediction.probabilities
        if prediction.face is not None:
            print(f"{video}: {prediction.face}")
        best = list(prediction.probabilities.items())[: arguments.top]
        print(f"{video}: " + ", ".join(f"{name} {value:.3f}" for name, value in best))
    for video, message in failures.items():
        print(f"{video}: not classified: {message}")
    return Outcome({"predictions": predictions, "failures": failures}, code=1 if failures else 0)
