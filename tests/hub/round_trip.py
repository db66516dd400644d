"""What the pushing side expects a stranger to get from the Hub, and the comparison."""

import json
from pathlib import Path

import numpy as np
import torch

from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor

CLASSES = ["HDFConfig", "HDFModel", "HDFForVideoClassification", "HDFVideoProcessor", "HDFForVideoClassification"]


def expected_outputs(folder: Path, video: Path) -> dict[str, np.ndarray]:
    """Pixel values, features and logits of a video, without any Auto class."""
    model = HDFForVideoClassification.from_pretrained(folder)
    pixel_values = HDFVideoProcessor.from_pretrained(folder)(str(video), return_tensors="pt").pixel_values
    with torch.no_grad():
        features, logits = model.hdf(pixel_values).last_hidden_state, model(pixel_values).logits
    return {"pixel_values": pixel_values.numpy(), "features": features.numpy(), "logits": logits.numpy()}


def compare(output: str, folder: Path, video: Path) -> dict:
    """Raises unless the last line of a program's output, that of `load_from_hub.py`, is what the folder gives."""
    got = json.loads(output.splitlines()[-1])
    expected = expected_outputs(folder, video)
    assert got["classes"] == CLASSES, got["classes"]
    assert set(got["modules"]) == {"transformers_modules"}, got["modules"]
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values.flatten(), rtol=1e-5, atol=1e-5, err_msg=name)
    exponentials = np.exp(expected["logits"][0] - expected["logits"][0].max())
    names = json.loads((folder / "config.json").read_text())["id2label"]
    scores = {names[str(index)]: value for index, value in enumerate(exponentials / exponentials.sum())}
    assert scores.keys() == {entry["label"] for entry in got["pipeline"]}
    for entry in got["pipeline"]:
        np.testing.assert_allclose(entry["score"], scores[entry["label"]], rtol=1e-4)
    return got
