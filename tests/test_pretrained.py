"""The checkpoints that ship with the package."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import datasets
import pytest
import torch
from remote_code import load_without_package
from safetensors.torch import load_file
from transformers import pipeline
from travelling_files import TRAVELLING_FILES

from modeling_hdf import SMALL_FACES, TINY_SYNTHETIC, HDFConfig
from modeling_hdf.cli.main import main
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import EXPRESSIONS, SyntheticFaces
from modeling_hdf.evaluation.results import read_results
from modeling_hdf.evaluation.trainings import trainings_from
from modeling_hdf.hub.cards import model_card
from modeling_hdf.inference.classifier import load_classifier
from modeling_hdf.pretrained import SHIPPED, checkpoint_path

FOLDER = Path(TINY_SYNTHETIC)
TINY = "hdf-tiny-synthetic"
FACES = Path(SMALL_FACES)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> datasets.Dataset:
    """The first 70 clips of the test split that its metrics are of."""
    few = {"num_train": 7, "num_validation": 7, "num_test": 70}
    builder = SyntheticFaces(**few, cache_dir=str(tmp_path_factory.mktemp("cache")))
    builder.download_and_prepare()
    return builder.as_dataset("test")


def test_it_is_small_and_whole_and_its_card_is_that_of_its_metrics():
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {
        *("config.json", "model.safetensors", "video_preprocessor_config.json", "metrics.json", "README.md"),
        *("confusion_matrix.png", "training_curves.png"),
    }
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 5e6
    metrics = json.loads((FOLDER / "metrics.json").read_text())
    assert metrics["dataset"] == "synthetic" and metrics["base_model"] is None and metrics["num_clips"] == 700
    digest = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert metrics["weights_sha256"] == {"model.safetensors": digest}
    card = (FOLDER / "README.md").read_text()
    assert card == str(model_card(HDFConfig.from_pretrained(FOLDER), read_results(FOLDER), shipped=TINY))
    assert "Synthetic data only." in card and f"{metrics['war']:.4f}" in card and "modeling_hdf.TINY_SYNTHETIC" in card


def test_that_of_real_faces_is_whole_with_terms_of_its_own():
    names = {path.name for path in FACES.iterdir()}
    assert names == {path.name for path in FOLDER.iterdir()} | {"LICENSE.md"}
    assert sum(path.stat().st_size for path in FACES.iterdir()) < 12e6
    results = read_results(FACES)
    digest = hashlib.sha256((FACES / "model.safetensors").read_bytes()).hexdigest()
    assert results.weights_sha256 == {"model.safetensors": digest}
    assert results.dataset == "fer2013" and min(results.recall.values()) > 0.35  # chance is 0.14
    card = (FACES / "README.md").read_text()
    config = HDFConfig.from_pretrained(FACES)
    assert card == str(model_card(config, results, shipped="hdf-small-faces", has_license=True))
    for text in (
        "license: other",
        "state no licence",
        "benchmarks/small_faces/train.py",
        "minutes on",
        "SMALL_FACES",
    ):
        assert text in card, text
    assert "not under the Apache-2.0" in (FACES / "LICENSE.md").read_text()
    place = f"{FACES.relative_to(ROOT).as_posix()}/LICENSE.md"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert place in project["license-files"] and place in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_that_of_real_faces_is_its_preset():
    preset = HDFConfig.from_pretrained(configuration_path("model", "x3d_faces"))
    shipped = HDFConfig.from_pretrained(FACES)
    for name in ("num_frames", "image_size", "dam_layers", "dam_variant"):
        assert getattr(shipped, name) == getattr(preset, name), name
    for name in ("stem_channels", "stage_channels", "stage_depths", "stage_strides", "head_channels"):
        assert getattr(shipped.backbone_config, name) == getattr(preset.backbone_config, name), name
    assert shipped.calibration_temperature != 1


def test_that_of_real_faces_reads_luminance_alone():
    model, processor = load_classifier(SMALL_FACES)
    edge = model.config.image_size
    colours = torch.rand(3, 8, 3, edge, edge, generator=torch.Generator().manual_seed(0)) * 255
    luminance = (colours * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2, keepdim=True)
    red = colours.clone()
    red[:, :, 0] += 20
    with torch.no_grad():
        coloured, grey, other = (
            model(**processor(list(clips), return_tensors="pt")).logits
            for clips in (colours, luminance.expand(-1, -1, 3, -1, -1), red)
        )
    torch.testing.assert_close(coloured, grey, rtol=1e-4, atol=1e-4)
    assert (coloured - other).abs().max() > 0.01


def test_it_is_the_tiny_preset():
    preset = HDFConfig.from_pretrained(configuration_path("model", "tiny"))
    shipped = HDFConfig.from_pretrained(FOLDER)
    for name in ("num_frames", "image_size", "dam_layers", "dam_variant"):
        assert getattr(shipped, name) == getattr(preset, name), name
    for name in ("hidden_size", "num_hidden_layers", "patch_size", "tubelet_size"):
        assert getattr(shipped.backbone_config, name) == getattr(preset.backbone_config, name), name
    assert list(shipped.id2label.values()) == list(EXPRESSIONS)


@pytest.mark.parametrize("model, least", [(TINY_SYNTHETIC, 56), (SMALL_FACES, 50)])
def test_the_pipeline_knows_the_rendered_faces(rows, tmp_path, model, least):
    classify = pipeline("video-classification", model=model)
    names, hits = rows.features["label"].names, 0
    for row in rows:
        path = tmp_path / f"{row['clip_id']}.mp4"
        path.write_bytes(row["clip"]["bytes"])
        hits += classify(str(path))[0]["label"] == names[row["label"]]
    assert hits >= least  # of 70; chance is 10


def test_the_example_answers_without_a_download():
    video = ROOT / "examples" / "face.mp4"
    command = [
        sys.executable,
        str(ROOT / "examples" / "predict.py"),
        "--whole",
        "--model",
        TINY,
        str(video),
        "--top",
        "1",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert run.stdout.startswith(f"{video}: surprise ")


@pytest.mark.parametrize("name", SHIPPED)
def test_training_starts_from_it_by_name_and_hands_on_its_terms(tmp_path, name):
    small = {"num_train": 7, "num_validation": 7, "num_test": 7}
    options = ("--max_steps", 1, "--learning_rate", 0, "--use_cpu", "true", "--frame_controls", "false")
    arguments = ("--model_name_or_path", name, "--dataset_overrides", json.dumps(small), "--output_dir", tmp_path)
    script = ROOT / "examples" / "train.py"
    subprocess.run([sys.executable, str(script), *map(str, arguments + options)], check=True, timeout=300)
    start, end = (load_file(Path(folder) / "model.safetensors") for folder in (SHIPPED[name], tmp_path))
    assert start.keys() == end.keys()
    assert all(start[each].equal(end[each]) for each in start if "running" not in each and "num_batches" not in each)
    results = read_results(tmp_path)
    assert results.base_model == f"shipped:{name}"
    begun, *earlier = trainings_from(name, "synthetic")
    digests = read_results(SHIPPED[name]).weights_sha256
    assert digests and results.trainings == [begun | {"base_model_sha256": digests}, *earlier]
    assert [each["dataset"] for each in results.trainings[1:]] == [
        each["dataset"] for each in read_results(SHIPPED[name]).known_trainings
    ]
    # So that a run that goes on knows them without its start.
    assert json.loads((tmp_path / "_training_run.json").read_text())["trainings"] == results.trainings
    card = (tmp_path / "README.md").read_text()
    assert f"from `{name}`, which ships with `hdf-dfer`" in card
    assert ("state no licence" in card) == ("license: other" in card) == (name == "hdf-small-faces")
    assert ("Weights and code: Apache-2.0" in card) == ("Synthetic data only" in card) == (name == TINY)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_release_loads_where_the_package_is_not(name, tmp_path):
    folder, out, video = Path(checkpoint_path(name)), tmp_path / "release", ROOT / "examples" / "face.mp4"
    assert main(["push", name, "ann/hdf-tiny", "--dry-run", str(out)]) == 0
    assert {path.name for path in out.glob("*.py")} == TRAVELLING_FILES
    assert {path.name for path in out.iterdir()} - TRAVELLING_FILES == {path.name for path in folder.iterdir()}
    card = (out / "README.md").read_text()
    for link in re.findall(r"\]\(([^)]+)\)", card) + re.findall(r"`([\w./-]+\.md)`", card):
        assert link.startswith("https://") or (out / link).is_file(), link
    assert ("license_link: LICENSE.md" in card) == (folder / "LICENSE.md").exists()
    (tmp_path / "elsewhere").mkdir()
    remote = load_without_package(out, video, tmp_path / "resaved", tmp_path / "elsewhere")
    assert all(module.startswith("transformers_modules.") for module, _ in remote["classes"])
    model, processor = load_classifier(name)
    with torch.no_grad():
        logits = model(**processor(str(video), return_tensors="pt")).logits
    torch.testing.assert_close(torch.tensor(remote["logits"]), logits.flatten(), rtol=1e-4, atol=1e-4)
    assert (out / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_its_name_is_known_where_models_are_loaded():
    model, processor = load_classifier(TINY)
    assert model.config.num_labels == 7 and processor.num_frames == 8
    assert checkpoint_path(TINY) == TINY_SYNTHETIC and checkpoint_path("hdf-small-faces") == SMALL_FACES
    assert checkpoint_path("org/hdf-dfew") == "org/hdf-dfew"
