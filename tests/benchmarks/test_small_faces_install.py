"""The pictures that the checkpoint for real faces is trained on, and how it comes into the package."""

import hashlib
import json
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluated_models import own_dataset_cache  # noqa: F401
from safetensors.torch import load_file, save_file
from tiny_models import randomize
from torch.nn import functional as F
from trees import OURS, fer2013_stills, still, write_fer2013

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import SyntheticFaces
from modeling_hdf.evaluation.results import read_results

FOLDER = Path(__file__).parents[2] / "benchmarks/small_faces"
FEW = {"num_train": 14, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
GATES = {"1": {"temporal": 0.0015, "frequency": 0.3}, "2": {"temporal": 0.0002}}


@pytest.fixture
def module(monkeypatch):
    """Loads a module of `benchmarks/small_faces` by its name."""
    monkeypatch.syspath_prepend(FOLDER)
    return import_module


# ---- the pictures ----


def test_copies_of_a_still_are_on_one_side_of_the_held_out_tenth(module, tmp_path, monkeypatch):
    stills = fer2013_stills(per_class=22)
    train = [each for each in stills if each[1] == "train"]
    write_fer2013(tmp_path / "FER2013" / "fer2013.csv", [*stills, *train, *reversed(train)])
    preparation = module("preparation")
    monkeypatch.setattr(preparation, "SyntheticFaces", partial(SyntheticFaces, **FEW))
    data = preparation.prepare(str(tmp_path / "FER2013"), 48)

    sides = {name: [picture.numpy().tobytes() for picture in data[name]] for name in ("stills", "validation_stills")}
    assert not set(sides["stills"]) & set(sides["validation_stills"])
    label_of = {still(number).tobytes(): label for label, _, number in train}
    assert sorted(sum(sides.values(), [])) == sorted(3 * list(label_of))  # of the Training part alone, each thrice
    assert 0.03 < len(sides["validation_stills"]) / (3 * len(train)) < 0.2
    for name, pictures in sides.items():
        is_held_out = name == "validation_stills"
        for picture, label in zip(pictures, data[f"{name}.labels"].tolist(), strict=True):
            assert label_of[picture] == OURS[label]
            digest = hashlib.sha256(picture).hexdigest()
            assert (int(digest[:16], 16) % 10 == 0) == is_held_out
    for name, number in (("clips", 14), ("validation_clips", 7)):
        assert data[name].shape == (number, 8, 48, 48) and data[name].dtype == torch.uint8
        assert data[f"{name}.labels"].bincount().tolist() == [number // 7] * 7
        assert len({clip.numpy().tobytes() for clip in data[name]}) == number

    # Larger pictures are the same ones in the same order, and the same ones are held out.
    larger = preparation.prepare(str(tmp_path / "FER2013"), 64)
    for name, pictures in data.items():
        if name.endswith("labels"):
            torch.testing.assert_close(larger[name], pictures)
        else:
            assert larger[name].shape[-2:] == (64, 64)
            small = F.interpolate(larger[name].flatten(0, -3)[:, None].float(), size=48, mode="area")[:, 0]
            apart = torch.cdist(small.flatten(1), pictures.flatten(0, -3).flatten(1).float())
            assert (apart.diagonal() <= apart.min(1).values + 1e-3).all()


# ---- the checkpoint ----


def random_model() -> HDFForVideoClassification:
    torch.manual_seed(0)
    config = HDFConfig.from_pretrained(configuration_path("model", "x3d_faces"), calibration_temperature=0.8)
    return randomize(HDFForVideoClassification(config)).eval()


def test_halved_weights_are_those_of_half_precision_in_a_model_that_computes_as_before(module):
    model = random_model()
    before = {name: weight.numpy().copy() for name, weight in model.state_dict().items()}
    halved = module("install").all_halved(model)
    changed = 0
    for name, weight in halved.state_dict().items():
        expected = before[name]
        if expected.dtype == np.float32:
            expected = expected.astype(np.float16).astype(np.float32)
            changed += (expected != before[name]).sum()
        assert weight.numpy().dtype == before[name].dtype
        np.testing.assert_array_equal(weight.numpy(), expected, err_msg=name)
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), before[name], err_msg=name)
    assert changed > 1000 and not halved.training


@pytest.fixture
def trained(tmp_path) -> Path:
    """What `train.py` leaves: pictures, learning curve and checkpoint."""
    folder = tmp_path / "trained"
    folder.mkdir()
    generator = torch.Generator().manual_seed(1)
    data = {"stills": (20,), "validation_stills": (14,), "validation_clips": (7, 8)}
    data = {
        name: torch.randint(0, 256, (*shape, 64, 64), dtype=torch.uint8, generator=generator)
        for name, shape in data.items()
    }
    data["validation_stills.labels"] = torch.arange(14) % 7
    save_file(data, folder / "data_64.safetensors")
    (folder / "curve.json").write_text(json.dumps(CURVE))
    random_model().save_pretrained(folder / "checkpoint")
    size = {"height": 64, "width": 64}
    HDFVideoProcessor(num_frames=8, size=size, crop_size=size).save_pretrained(folder / "checkpoint")
    return folder


def entry(stage: str, step: int, pictures: int, seconds: float, device: str = "CPU") -> dict:
    scores = {"stills_war": step / 100, "stills_uar": step / 200}
    return {"stage": stage, "step": step, "pictures": pictures, "seconds": seconds, "loss": 9 - step} | {
        "device": device,
        **scores,
    }


# The first stage was stopped after 60 s, and went on; the last had one step.
CURVE = [
    *(entry("teacher", 1, 10, 30), entry("teacher", 2, 20, 60), entry("teacher", 3, 30, 15)),
    *(entry("stills", 1, 40, 20), entry("stills", 2, 80, 40), entry("clips", 1, 10, 5, "H100")),
]


@pytest.mark.parametrize("changes_an_answer", [False, True])
def test_half_precision_is_stored_only_if_no_answer_changes(module, trained, tmp_path, monkeypatch, changes_an_answer):
    install, target = module("install"), tmp_path / "target"
    if changes_an_answer:
        halve = install.all_halved

        def halved_to_other_answers(model):
            copy = halve(model)
            torch.nn.init.zeros_(copy.classifier.weight)  # every clip then gets the same answer
            return copy

        monkeypatch.setattr(install, "all_halved", halved_to_other_answers)
    install.install(trained, target)
    stored = load_file(target / "model.safetensors")
    original = load_file(trained / "checkpoint" / "model.safetensors")
    assert stored.keys() == original.keys()
    for name, weight in stored.items():
        if weight.is_floating_point():
            assert weight.dtype == (torch.float32 if changes_an_answer else torch.float16)
        torch.testing.assert_close(weight, original[name].to(weight.dtype), rtol=0, atol=0)

    data, model = load_file(trained / "data_64.safetensors"), random_model()
    processor = HDFVideoProcessor.from_pretrained(trained / "checkpoint")
    right = 0
    with torch.no_grad():
        for picture, label in zip(data["validation_stills"], data["validation_stills.labels"], strict=True):
            clip = picture[None, :, :, None].expand(8, -1, -1, 3).numpy()
            right += model(**processor(clip, return_tensors="pt")).logits.argmax().item() == label
    results = read_results(target)
    assert results.war == pytest.approx(right / 14) and results.gate_liveness["num_clips"] == 14 + 7
    assert (target / "LICENSE.md").read_text() == (FOLDER / "LICENSE.md").read_text()


def test_the_card_tells_of_the_training_and_only_of_measurements_of_these_weights(module, trained, tmp_path):
    install, target = module("install"), tmp_path / "target"
    install.install(trained, target)

    def measured(*shares: float) -> dict:
        war, low, high = shares
        return {"num_clips": 77, **{name: {"value": war, "interval": [low, high]} for name in ("war", "uar")}}

    robust = {
        "weights_sha256": read_results(target).weights_sha256,
        "stills": {"as one single frame": measured(0.61, 0.6, 0.62)},
        "rendered": {
            "shown": measured(0.95, 0.94, 0.96),
            "shuffled": measured(0.5, 0.4, 0.6),
            "first": measured(0.14, 0.13, 0.15),
        },
    }
    install.write_card(target, trained, robust)
    results, card = read_results(target), " ".join((target / "README.md").read_text().split())
    assert results.trainings == [{"base_model": None, "dataset": "fer2013,synthetic"}]
    for text in (
        "of 14 pictures, a tenth of FER2013's Training part",
        "of 64 of these pictures and 64 rendered validation clips",
        "the logits are divided by 0.800",
        f"calibration error is then {results.ece:.4f} (",
        "| what ships | | 0.6100 (0.6000 to 0.6200) | 0.6100 (0.6000 to 0.6200) |",
        "of the rendered clips, 77 clips",
        "| in order | 0.9500 (0.9400 to 0.9600) |",
        "| the first alone | 0.1400 (",
        "train.py --data-dir fer2013 python benchmarks/small_faces/install.py python benchmarks",
        "license_link: LICENSE.md",
        "The rendered clips come from a parametric face model",
    ):
        assert text in card, text
    install.write_card(target, trained, robust | {"weights_sha256": {"model.safetensors": "other"}})
    card = (target / "README.md").read_text()
    assert "| what ships" not in card and "## Motion" not in card and "| `clips` | 1 | 0.0100 | 0.0050 |" in card


def test_gates_that_hardly_differ_are_called_fixed(module, trained, tmp_path):
    install, target = module("install"), tmp_path / "target"
    install.install(trained, target)
    text = install.figures_section(
        replace(read_results(target), gate_liveness={"num_clips": 21, "layers": GATES, "flipped": 0.1})
    )
    assert "by 0.02 to 0.15 % of their mean: they are nearly fixed masks." in text
    moving = {"1": {"temporal": 0.0015}, "2": {"temporal": 0.2}}
    text = install.figures_section(
        replace(read_results(target), gate_liveness={"num_clips": 21, "layers": moving, "flipped": 0.1})
    )
    assert "by 0.15 to 20.00 % of their mean." in text and "fixed" not in text


def test_the_section_of_the_training_has_its_minutes_machines_and_stages(module):
    text = module("install").training_section(CURVE, None)
    assert "It took 1.9 minutes on CPU and 0.1 minutes on H100, seed 0." in text  # 60 + 15 + 40, and 5 seconds
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `teacher` | 3 | 0.0300 | 0.0150 |",
        "| `stills` | 2 | 0.0200 | 0.0100 |",
        "| `clips` | 1 | 0.0100 | 0.0050 |",
    ]


def test_the_curve_goes_over_the_epochs_of_the_model_without_its_teacher(module):
    history = module("install").as_history(CURVE, num_stills=20)
    assert [each["epoch"] for each in history] == pytest.approx([2.0, 4.0, 4.5])
    assert [each["loss"] for each in history] == [8, 7, 8]
    assert [each["eval_war"] for each in history] == pytest.approx([0.01, 0.02, 0.01])
    assert [each["eval_uar"] for each in history] == pytest.approx([0.005, 0.01, 0.005])
