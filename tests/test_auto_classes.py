"""Auto classes and pipeline, both with the package imported and as remote code where it cannot be imported."""

import json
from pathlib import Path

import pytest
import torch
from remote_code import load_without_package
from tiny_models import move_dam_weights, tiny_config
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForVideoClassification,
    AutoVideoProcessor,
    pipeline,
    set_seed,
)
from travelling_files import TRAVELLING_FILES
from video_files import write_video

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFModel, HDFVideoProcessor


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved classifier, with DAM weights away from their start values, and its video processor."""
    set_seed(0)
    path = tmp_path_factory.mktemp("hub") / "hdf-tiny"
    # A calibrated model: remote code has to apply the temperature too.
    move_dam_weights(HDFForVideoClassification(tiny_config(calibration_temperature=0.25))).save_pretrained(path)
    processor = HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 24})
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 20)


@pytest.fixture(scope="module")
def expected(folder, video) -> dict:
    """What the classes of the package make of the video, without any Auto class."""
    model = HDFForVideoClassification.from_pretrained(folder)
    pixel_values = HDFVideoProcessor.from_pretrained(folder)(video, return_tensors="pt").pixel_values
    with torch.no_grad():
        logits = model(pixel_values).logits
        features = model.hdf(pixel_values).last_hidden_state
    assert pixel_values.shape == (1, 4, 3, 16, 24)
    return {"pixel_values": pixel_values, "logits": logits, "features": features}


def assert_is_prediction(results: list[dict], logits: torch.Tensor) -> None:
    """The pipeline's results are the softmax of `logits`, largest first, under the names of the classes."""
    scores, order = logits[0].softmax(-1).sort(descending=True)
    names = HDFConfig().id2label
    assert [result["label"] for result in results] == [names[index] for index in order.tolist()]
    assert [result["score"] for result in results] == pytest.approx(scores.tolist(), rel=1e-4)


def test_importing_the_package_registers_the_auto_classes(folder):
    assert type(AutoConfig.for_model("hdf")) is HDFConfig
    assert type(AutoConfig.from_pretrained(folder)) is HDFConfig
    assert type(AutoModel.from_pretrained(folder)) is HDFModel
    assert type(AutoModel.from_config(tiny_config())) is HDFModel
    assert type(AutoModelForVideoClassification.from_pretrained(folder)) is HDFForVideoClassification
    assert type(AutoModelForVideoClassification.from_config(tiny_config())) is HDFForVideoClassification
    assert type(AutoVideoProcessor.from_pretrained(folder)) is HDFVideoProcessor


def test_auto_model_loads_the_weights_of_the_classifier(folder, expected):
    features = AutoModel.from_pretrained(folder)(expected["pixel_values"]).last_hidden_state
    torch.testing.assert_close(features, expected["features"])


def test_pipeline_classifies_a_video_file(folder, video, expected):
    classify = pipeline("video-classification", model=str(folder))
    assert type(classify.model) is HDFForVideoClassification
    assert_is_prediction(classify(str(video), top_k=7), expected["logits"])


def test_saved_folder_carries_the_code(folder):
    assert {path.name for path in folder.glob("*.py")} == TRAVELLING_FILES
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_hdf.HDFConfig",
        "AutoModel": "modeling_hdf.HDFModel",
        "AutoModelForVideoClassification": "modeling_hdf.HDFForVideoClassification",
    }


def test_model_without_head_can_be_saved_and_loaded_by_auto_model(tmp_path):
    HDFModel(tiny_config()).save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is HDFModel
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"]["AutoModel"] == "modeling_hdf.HDFModel"
    assert {"modeling_hdf.py", "dam_hdf.py"} <= {path.name for path in tmp_path.glob("*.py")}


@pytest.fixture(scope="module")
def resaved(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("resaved")


@pytest.fixture(scope="module")
def remote(folder, video, resaved, tmp_path_factory) -> dict:
    """What a process that cannot import the package gets from the same folder with `trust_remote_code=True`."""
    return load_without_package(folder, video, resaved, tmp_path_factory.mktemp("elsewhere"))


def test_remote_code_gives_our_classes(remote):
    names = ["HDFConfig", "HDFModel", "HDFForVideoClassification", "HDFVideoProcessor", "HDFForVideoClassification"]
    assert [name for _, name in remote["classes"]] == names
    assert all(module.startswith("transformers_modules.") for module, _ in remote["classes"])


@pytest.mark.parametrize("name", ["pixel_values", "features", "logits"])
def test_remote_code_gives_the_same_numbers(remote, expected, name):
    torch.testing.assert_close(torch.tensor(remote[name]), expected[name].flatten(), rtol=1e-5, atol=1e-5)


def test_remote_code_pipeline_classifies_a_video_file(remote, expected):
    assert_is_prediction(remote["pipeline"], expected["logits"])


def test_remote_code_can_be_saved_again(remote, resaved, expected):
    assert {path.name for path in resaved.glob("*.py")} == TRAVELLING_FILES
    logits = AutoModelForVideoClassification.from_pretrained(resaved)(expected["pixel_values"]).logits
    torch.testing.assert_close(logits, expected["logits"])
