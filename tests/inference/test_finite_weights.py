"""Weights that are NaN or infinite are refused where a model is loaded, and where it is published."""

import json

import pytest
import torch
from evaluated_models import assert_error, own_dataset_cache, run, save_model  # noqa: F401
from safetensors.torch import load_file, save_file

from modeling_hdf.hub.release import model_files
from modeling_hdf.inference import load_classifier


@pytest.fixture(params=[float("nan"), float("inf")])
def broken(request, tmp_path):
    """A model with one value that is none, and the name of its tensor."""
    folder = save_model(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = sorted(key for key in tensors if key.endswith("classifier.weight"))[0]
    tensors[name][3, 1] = request.param
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, name


def test_they_are_refused_with_the_name_of_the_tensor(broken):
    folder, name = broken
    for call in (load_classifier, model_files):
        with pytest.raises(ValueError, match=rf"{folder}.*: 1 of \d+ values of '{name}' are NaN or infinite"):
            call(str(folder))


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_halves_are_looked_at_too(broken, half):
    folder, name = broken
    tensors = {key: value.to(half) for key, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"'{name}' are NaN or infinite"):
        load_classifier(str(folder))


def test_no_command_answers_with_them(broken, tmp_path, capsys):
    folder, name = broken
    assert run("predict", "--whole", "--model", folder, "examples/face.mp4") == 1
    assert_error(capsys, f"{name}' are NaN or infinite")
    assert run("evaluate", folder, "--dataset", "synthetic") == 1
    assert_error(capsys, f"{name}' are NaN or infinite")
    assert run("push", folder, "ann/model", "--dry-run", tmp_path / "out") == 1
    assert_error(capsys, f"{name}' are NaN or infinite")
    options = ["--model_name_or_path", str(folder), "--output_dir", str(tmp_path / "run"), "--use_cpu", "true"]
    few = {"num_train": 7, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
    assert run("train", "--dataset_overrides", json.dumps(few), *options) == 1
    assert_error(capsys, f"{name}' are NaN or infinite")
