"""The measurement of the checkpoint for real faces under changes of the picture."""

import json
import sys
from contextlib import redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from evaluated_models import own_dataset_cache  # noqa: F401
from safetensors.torch import save_file
from tiny_models import randomize

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import ClipFactors, render_clip

FILE = Path(__file__).parents[2] / "benchmarks/small_faces/robust.py"
LUMINANCE = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def robust():
    spec = spec_from_file_location("robust", FILE)
    module = sys.modules["robust"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_a_framed_still_shows_the_face_as_a_crop_with_the_margin_does(robust, margin):
    ramp = np.tile(np.arange(48) * 5, (48, 1)).astype(np.uint8)
    side = 48 * 1.05 * (1 + 2 * margin)
    source = (np.arange(64) + 0.5) * side / 64 - side / 2 + 24 - 0.5
    expected = 5 * np.clip(source, 0, 47)
    found = robust.framed(np.repeat(ramp[..., None], 3, axis=-1), 64, margin)
    np.testing.assert_allclose(found[20, :, 1], expected, atol=1.0)


def test_colours_keep_the_luminance(robust):
    grey = np.repeat(np.arange(0, 180, 5, dtype=np.uint8).reshape(6, 6, 1), 3, axis=-1)
    for factors in (robust.WARM, robust.COLD):
        coloured = robust.tinted(grey, factors)
        assert np.abs(coloured.astype(int) - grey).max() > 20
        np.testing.assert_allclose(coloured @ LUMINANCE, grey[..., 0], atol=1.5)


def test_the_worst_change_decides(robust):
    def change(war: float, uar: float) -> dict:
        return {"difference": {"war": {"value": war}, "uar": {"value": uar}}}

    changes = {"as they are": {}, "a": change(0.01, -0.029), "b": change(-0.02, 0.0)}
    assert robust.verdict(changes) == "Largest loss: 2.9 points of UAR (a). At most 3: met."
    changes["b"] = change(-0.031, 0.0)
    assert robust.verdict(changes) == "Largest loss: 3.1 points of WAR (b). At most 3: MISSED."


def save_model(folder: Path, stills: np.ndarray) -> None:
    """A model of single frames and clips whose answers differ between the stills, with its processor."""
    torch.manual_seed(0)
    model = randomize(HDFForVideoClassification(HDFConfig.from_pretrained(configuration_path("model", "x3d_faces"))))
    size = {"height": 64, "width": 64}
    processor = HDFVideoProcessor(num_frames=8, size=size, crop_size=size)
    clips = [np.repeat(still[None, ..., None], 3, axis=-1) for still in stills]
    with torch.no_grad():
        model.classifier.bias -= model.eval()(**processor(clips, return_tensors="pt")).logits.mean(0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


@pytest.fixture(scope="module")
def measured(robust, tmp_path_factory) -> SimpleNamespace:
    """The record `found` of a run with `arguments` on a model, the stills and their labels, and what it printed."""
    folder = tmp_path_factory.mktemp("measured")
    faces = [ClipFactors(label="neutral", identity=index, duration=0.2, fps=10) for index in range(9)]
    rendered = [render_clip(face, 48)[-1].mean(-1).astype(np.uint8) for face in faces]
    stills = np.stack([*rendered, *(np.full((48, 48), level, np.uint8) for level in (50, 90, 130))])
    save_model(folder / "model", stills)
    labels = np.arange(12) % 7
    data = {"validation_stills": torch.from_numpy(stills), "validation_stills.labels": torch.from_numpy(labels)}
    save_file(data, folder / "data_48.safetensors")
    clips = {"num_train": 7, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
    arguments = [str(folder / "data_48.safetensors"), "--model", str(folder / "model")]
    printed = StringIO()
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        robust.main([*arguments, "--output", str(folder)], clips)
    found = json.loads((folder / "robust.json").read_text())
    return SimpleNamespace(
        arguments=arguments,
        found=found,
        stills=stills,
        right=rights(folder / "model", labels),
        text=printed.getvalue(),
    )


def rights(saved: Path, labels: np.ndarray):
    """A function that gives the share of right answers to pictures, each shown as a clip."""
    model = HDFForVideoClassification.from_pretrained(saved).eval()
    processor = HDFVideoProcessor.from_pretrained(saved)

    def right(pictures: np.ndarray, num_frames: int = 8) -> float:
        answers = []
        for picture in pictures:
            clip = [np.repeat(picture[..., None], 3, axis=-1)] * num_frames
            with torch.no_grad():
                inputs = processor(clip, do_sample_frames=False, return_tensors="pt")
                answers.append(model(**inputs).logits.argmax().item())
        assert num_frames == 1 or len(set(answers)) > 2
        return float(np.mean(np.array(answers) == labels))

    return right


def test_every_change_is_measured_through_the_processor_and_the_model(measured):
    found, right, stills = measured.found, measured.right, measured.stills
    assert found["stills"]["as one single frame"]["war"]["value"] == pytest.approx(right(stills, 1))
    as_they_are, mirrored = right(stills), right(stills[:, :, ::-1])
    assert found["stills"]["as they are"]["war"]["value"] == pytest.approx(as_they_are)
    assert found["stills"]["mirrored"]["war"]["value"] == pytest.approx(mirrored)
    difference = found["stills"]["mirrored"]["difference"]["war"]["value"]
    assert difference == pytest.approx(mirrored - as_they_are)
    assert {each["num_clips"] for each in found["stills"].values()} == {12}
    assert [each["num_clips"] for each in found["found"].values()] == [9] * 4
    assert {name: each["num_clips"] for name, each in found["rendered"].items()} == dict.fromkeys(
        ("shown", "shuffled", "first"), 7
    )
    assert "3 of 12 stills have no found face. Largest loss: " in measured.text


def test_some_changes_alone_keep_what_the_record_has_of_the_same_weights(robust, measured, tmp_path, capsys):
    file, found, stills = tmp_path / "robust.json", measured.found, measured.stills
    arguments = [*measured.arguments, "--output", str(tmp_path)]
    marked = json.loads(json.dumps(found | {"searched": 99}))
    marked["stills"]["mirrored"]["num_clips"] = 98
    file.write_text(json.dumps(marked | {"stills": {k: v for k, v in marked["stills"].items() if k != "24 pixels"}}))
    robust.main([*arguments, "--changes", "24 pixels"])
    again = json.loads(file.read_text())
    small = stills.reshape(12, 24, 2, 24, 2).mean((2, 4))
    assert again["stills"]["24 pixels"]["war"]["value"] == pytest.approx(
        measured.right(np.rint(small).astype(np.uint8))
    )
    assert list(again["stills"]) == list(found["stills"]) and again["stills"]["mirrored"]["num_clips"] == 98
    assert again["searched"] == 99 and again["rendered"] == found["rendered"]
    robust.main(["--table", "--output", str(tmp_path)])
    assert "\n| mirrored | 98 | " in capsys.readouterr().out


def test_of_other_weights_the_record_keeps_nothing(robust, measured, tmp_path):
    file = tmp_path / "robust.json"
    file.write_text(json.dumps(measured.found | {"weights_sha256": {"model.safetensors": "other"}}))
    robust.main([*measured.arguments, "--output", str(tmp_path), "--changes", "400 pixels"])
    other = json.loads(file.read_text())
    assert list(other["stills"]) == ["as they are", "400 pixels"] and "rendered" not in other
