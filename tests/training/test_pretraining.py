"""Masked autoencoding: masks, steps and resumes against references, and the script from clips to fine-tuning."""

import hashlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from evaluated_models import assert_error
from killed_training import finish, kill_when, start
from safetensors.torch import load_file
from tiny_models import tiny_backbone_config
from transformers import VideoMAEForPreTraining, VideoMAEModel, set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.cli.main import main
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import ClipDataset, encode_mp4
from modeling_hdf.evaluation.trainings import trainings_from
from modeling_hdf.training.pretraining import (
    PretrainingArguments,
    PretrainingCollator,
    PretrainingDataArguments,
    PretrainingTrainer,
    pretraining_config,
    tube_mask,
)
from modeling_hdf.training.resumable import is_finished

SCRIPT = Path(__file__).parents[2] / "examples" / "pretrain.py"
PROCESSOR = HDFVideoProcessor(num_frames=4, size={"shortest_edge": 24}, crop_size={"height": 16, "width": 24})
SMALL = {"num_train": 14, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}


def clip_rows(count):
    """Rows of clips with moving squares."""
    rows = []
    for index in range(count):
        frames = np.full((4, 24, 24, 3), 40 + 10 * index, dtype=np.uint8)
        for position in range(4):
            frames[position, 4 + index : 12 + index, 2 * position : 2 * position + 8] = [250, 20 * index, 90]
        rows.append({"clip": {"bytes": encode_mp4(frames, fps=8, crf=5.0), "path": f"{index}.mp4"}, "label": -1})
    return rows


def clip_dataset(count=6, seed=0):
    return ClipDataset(clip_rows(count), PROCESSOR, training=True, cache=True, seed=seed)


def tiny_model(seed=0):
    set_seed(seed)
    return VideoMAEForPreTraining(tiny_backbone_config(use_mean_pooling=False, initializer_range=0.05))


def build_trainer(folder, model=None, dataset=None, **options):
    fields = {
        "output_dir": str(folder), "use_cpu": True, "report_to": "none", "disable_tqdm": True, "logging_steps": 1,
        "save_strategy": "no", "per_device_train_batch_size": 2, "mask_ratio": 0.5, **options,
    }  # fmt: skip
    return PretrainingTrainer(
        model or tiny_model(), PretrainingArguments(**fields), dataset or clip_dataset(), PROCESSOR
    )


# ---- Masks ----


@pytest.mark.parametrize(
    ("size", "ratio", "hidden"), [((8, 14, 14), 0.9, 176), ((4, 4, 4), 0.9, 14), ((2, 2, 3), 0.5, 3)]
)
def test_a_tube_hides_the_same_patches_at_every_step(size, ratio, hidden):
    steps, height, width = size
    for seed in range(20):
        mask = tube_mask(size, ratio, seed).numpy()
        assert mask.dtype == bool and mask.shape == (steps * height * width,)
        frames = mask.reshape(steps, height, width)
        for frame in frames:
            np.testing.assert_array_equal(frame, frames[0])
        assert frames[0].sum() == hidden == np.floor(ratio * height * width + 1e-9)


def test_every_patch_is_hidden_equally_often_and_masks_follow_their_seeds():
    masks = np.stack([tube_mask((1, 4, 4), 0.75, seed).numpy() for seed in range(2000)])
    # 2000 draws of probability 3/4: a standard deviation of 0.0097.
    np.testing.assert_allclose(masks.mean(0), 0.75, atol=0.045)
    assert len({mask.tobytes() for mask in masks[:100]}) > 90
    np.testing.assert_array_equal(masks[7], tube_mask((1, 4, 4), 0.75, 7).numpy())


def test_a_mask_belongs_to_seed_epoch_and_clip():
    dataset = clip_dataset()
    collator = PretrainingCollator(PROCESSOR, tiny_model().config, 0.5)

    def masks(epoch, seed_of_dataset=dataset):
        seed_of_dataset.set_epoch(epoch)
        return collator([seed_of_dataset[index] for index in range(6)])["bool_masked_pos"]

    first = masks(0)
    assert len({row.numpy().tobytes() for row in first}) > 1
    assert masks(0).equal(first) and masks(0, clip_dataset()).equal(first)
    assert not masks(1).equal(first) and not masks(0, clip_dataset(seed=1)).equal(first)
    dataset.set_epoch(0)
    reversed_rows = collator([dataset[index] for index in reversed(range(6))])["bool_masked_pos"]
    assert reversed_rows.flip(0).equal(first)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.0, 1.5])
def test_a_ratio_that_hides_nothing_or_all_is_refused(ratio):
    with pytest.raises(ValueError, match="`mask_ratio` is"):
        PretrainingCollator(PROCESSOR, tiny_model().config, ratio)


def test_pixels_are_those_of_the_processor():
    dataset = clip_dataset()
    items = [dataset[index] for index in range(3)]
    batch = PretrainingCollator(PROCESSOR, tiny_model().config, 0.5)(items)
    clips = torch.stack([item["clip"] for item in items]).double() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (clips - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(batch["pixel_values"].double(), expected.double(), rtol=0, atol=1e-6)


# ---- Model ----


def test_the_decoders_of_the_presets_are_the_published_ones():
    base = pretraining_config(HDFConfig.from_pretrained(configuration_path("model", "base_224")))
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    assert [getattr(base, f"decoder_{name}") for name in names] == [384, 4, 6, 1536]
    small = pretraining_config(HDFConfig.from_pretrained(configuration_path("model", "small_224")))
    assert [getattr(small, f"decoder_{name}") for name in names] == [192, 4, 3, 768]
    tiny = pretraining_config(
        HDFConfig.from_pretrained(configuration_path("model", "tiny")), decoder_num_hidden_layers=2, image_size=32
    )
    assert [getattr(tiny, f"decoder_{name}") for name in names] == [64, 2, 2, 256]
    assert (tiny.image_size, tiny.hidden_size, tiny.norm_pix_loss, tiny.use_mean_pooling) == (32, 128, True, False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder_width": 3}, "Unknown fields"),
        ({"image_size": 40}, "multiple"),
        ({"patch_size": [16, 8]}, "square patches"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        pretraining_config(HDFConfig.from_pretrained(configuration_path("model", "tiny")), **fields)


@pytest.mark.parametrize("limit", ["lots", "nan", "1e400", "1.5", "5%"])
def test_a_limit_of_missing_clips_that_is_no_number_is_named(limit):
    with pytest.raises(ValueError, match=rf"`max_missing` \(--max-missing\) is '{limit}'; it must be"):
        PretrainingDataArguments(data_dir="clips", max_missing=limit)


def test_the_loss_is_that_of_patches_normalised_one_by_one():
    model = tiny_model().eval()
    dataset = clip_dataset()
    batch = PretrainingCollator(PROCESSOR, model.config, 0.5)([dataset[index] for index in range(2)])
    outputs = model(**batch)
    clips = torch.stack([dataset[index]["clip"] for index in range(2)]).numpy() / 255
    errors = []
    for clip, mask, predicted in zip(clips, batch["bool_masked_pos"], outputs.logits.detach().numpy(), strict=True):
        targets = []
        for t, row, column in itertools.product(range(2), range(2), range(3)):
            patch = clip[2 * t : 2 * t + 2, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            pixels = patch.transpose(0, 2, 3, 1).reshape(-1, 3)  # (tubelet * height * width, channels)
            normal = (pixels - pixels.mean(0)) / (pixels.std(0, ddof=1) + 1e-6)
            targets.append(normal.reshape(-1))
        errors.append((predicted - np.stack(targets)[mask.numpy()]) ** 2)
    assert outputs.loss.item() == pytest.approx(np.mean(errors), rel=1e-3)


# ---- Training ----


def test_a_few_clips_are_learned_by_heart(tmp_path):
    # Still pictures of noise: nothing tells what a hidden patch shows but the memory of it.
    pictures = np.random.default_rng(0).integers(0, 256, (2, 1, 24, 24, 3), dtype=np.uint8)
    videos = [encode_mp4(np.repeat(picture, 4, axis=0), fps=8, crf=5.0) for picture in pictures]
    rows = [{"clip": {"bytes": video, "path": "noise.mp4"}, "label": -1} for video in videos]
    set_seed(0)
    sizes = {"decoder_hidden_size": 32, "decoder_intermediate_size": 32, "use_mean_pooling": False}
    model = VideoMAEForPreTraining(tiny_backbone_config(**sizes))
    dataset = ClipDataset(rows, PROCESSOR, training=True, cache=True)
    trainer = build_trainer(tmp_path, model, dataset, max_steps=150, learning_rate=1e-2, warmup_steps=0.1)
    trainer.train()
    history = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert history[0] > 0.95 and np.mean(history[-10:]) < 0.7


def test_two_runs_are_equal_and_epochs_bring_new_masks(tmp_path, monkeypatch):
    # accelerate does not tell the dataset behind the batches of several processes which epoch it is; nor here.
    monkeypatch.setattr("accelerate.data_loader.DataLoaderShard.set_epoch", lambda self, epoch: None)
    shown = []

    class Recording(PretrainingTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            shown.append(sorted(row.numpy().tobytes() for row in inputs["bool_masked_pos"]))
            return super().training_step(model, inputs, num_items_in_batch)

    def run(folder):
        arguments = PretrainingArguments(
            output_dir=str(folder), use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no",
            num_train_epochs=2, per_device_train_batch_size=6, mask_ratio=0.5,
        )  # fmt: skip
        trainer = Recording(tiny_model(), arguments, clip_dataset(), PROCESSOR)
        trainer.train()
        return trainer.model.state_dict()

    one, other = run(tmp_path / "a"), run(tmp_path / "b")
    assert all(one[name].equal(other[name]) for name in one)
    assert shown[:2] == shown[2:] and shown[0] != shown[1]


def test_accumulated_batches_give_the_step_of_one_large_batch(tmp_path):
    def weights(batch_size, accumulation):
        trainer = build_trainer(
            tmp_path, optim="sgd", learning_rate=100.0, num_train_epochs=1, max_grad_norm=0.0,
            train_sampling_strategy="sequential", per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation, lr_scheduler_type="constant",
        )  # fmt: skip
        trainer.train()
        return trainer.model.state_dict()

    small, large, start = weights(2, 3), weights(6, 1), tiny_model().state_dict()
    for name in start:
        torch.testing.assert_close(small[name], large[name], rtol=0, atol=1e-5, msg=name)
    assert (large["decoder.head.weight"] - start["decoder.head.weight"]).abs().max() > 1e-3


def test_resuming_gives_the_straight_run_and_all_of_its_weights(tmp_path):
    options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-2}
    straight = build_trainer(tmp_path, **options)
    straight.train()
    resumed = build_trainer(tmp_path / "resumed", model=tiny_model(seed=9), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    expected = straight.model.state_dict()
    for name, value in resumed.model.state_dict().items():
        assert value.equal(expected[name]), name
    bias = "videomae.encoder.layer.0.attention.attention.value.bias"
    assert expected[bias].abs().max() > 0  # the biases that are stored under other names


# ---- From clips to fine-tuning ----


def run(*arguments) -> int:
    """Runs `hdf pretrain` in this process; its exit code."""
    return main(["pretrain", *map(str, arguments), "--use_cpu", "true"])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    short = ("--max_steps", 2, "--per_device_train_batch_size", 4, "--save_steps", 1, "--logging_steps", 1)
    arguments = ("--output_dir", folder, "--dataset_overrides", json.dumps(SMALL), *short, "--seed", 3)
    command = [sys.executable, str(SCRIPT), *map(str, arguments), "--use_cpu", "true"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return folder, output.stdout, arguments


def test_the_script_leaves_a_checkpoint_that_hdf_starts_from_with_every_weight(pretrained):
    folder, shown, _ = pretrained
    assert "14 clips" in shown
    stock, info = VideoMAEModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    model = HDFForVideoClassification.from_backbone_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    fresh = {name for name, _ in model.named_parameters() if ".backbone." in name}
    for name, value in stock.named_parameters():
        if name.startswith("layernorm."):  # the norm before the decoder, in place of which HDF has that of pooling
            continue
        assert model.hdf.backbone.get_parameter(name).equal(value), name
        fresh.remove(f"hdf.backbone.{name}")
    assert not fresh
    kernel = "embeddings.patch_embeddings.projection.weight"
    assert stored[f"videomae.{kernel}"].equal(model.hdf.backbone.get_parameter(kernel))
    processor = HDFVideoProcessor.from_pretrained(folder)
    assert (processor.num_frames, processor.crop_size["height"]) == (8, 64)
    record = json.loads((folder / "pretraining.json").read_text())
    assert record["dataset"] == "synthetic" and record["num_clips"] == 14 and record["seed"] == 3
    assert record["num_steps"] == 2 and record["last_loss"] > 0 and "--seed 3" in record["command"]
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert record["weights_sha256"] == {"model.safetensors": digest}
    assert record["trainings"] == [{"base_model": None, "dataset": "synthetic"}]
    assert trainings_from(str(folder), "dfew")[1:] == record["trainings"]


def test_the_same_command_again_keeps_the_finished_run(pretrained):
    folder, _, arguments = pretrained
    before = (folder / "model.safetensors").stat().st_mtime_ns
    (folder / "pretraining.json").unlink()
    assert run(*arguments) == 0
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    record = json.loads((folder / "pretraining.json").read_text())
    assert record["num_steps"] == 2 and record["last_loss"] > 0


def test_a_run_killed_twice_ends_with_the_bytes_of_one_that_was_not(tmp_path):
    arguments = [
        *("--use_cpu", "true", "--disable_tqdm", "true", "--dataset_overrides", json.dumps(SMALL)),
        *("--per_device_train_batch_size", 4, "--num_train_epochs", 6, "--save_steps", 4, "--logging_steps", 4),
    ]
    straight, killed, log = tmp_path / "straight", tmp_path / "killed", tmp_path / "log"

    def begin(folder):
        return start([*arguments, "--output_dir", folder], tmp_path / "cache", log, "pretrain.py")

    assert finish(begin(straight)) == 0, log.read_text()
    for step in (4, 12):  # in the middle of a save, most likely
        assert kill_when(begin(killed), (killed / f"checkpoint-{step}").exists), log.read_text()
    assert not is_finished(killed)
    assert finish(begin(killed)) == 0, log.read_text()
    assert (killed / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    assert is_finished(killed)
    log.write_text("")
    arguments += ["--mask_ratio", 0.75]
    assert finish(begin(killed)) == 1 and "mask_ratio (was 0.5, is 0.75)" in log.read_text()


def test_the_faces_recipe_runs_on_a_folder_of_videos_from_a_checkpoint(pretrained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")
    for index, row in enumerate(clip_rows(3)):
        path = tmp_path / "clips" / f"person{index}" / f"{index}.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(row["clip"]["bytes"])
    run(
        *("--recipe", "faces", "--data-dir", tmp_path / "clips", "--output_dir", tmp_path / "out"),
        *("--model_name_or_path", pretrained[0], "--model_overrides", '{"image_size": 32}', "--max_steps", 1),
        *("--per_device_train_batch_size", 2, "--dataloader_num_workers", 0, "--save_strategy", "no"),
        *("--mask_ratio", 0.75),
    )
    assert "3 clips" in capsys.readouterr().out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["image_size"], config["use_mean_pooling"], config["norm_pix_loss"]) == (32, False, True)
    text = (tmp_path / "out" / "pretraining.json").read_text()
    assert json.loads(text)["dataset"] == "folder" and str(tmp_path) not in text
    digest = hashlib.sha256((pretrained[0] / "model.safetensors").read_bytes()).hexdigest()
    started = {"base_model": f"local:{pretrained[0].name}", "dataset": "folder"}
    started["base_model_sha256"] = {"model.safetensors": digest}
    assert json.loads(text)["trainings"] == [started, {"base_model": None, "dataset": "synthetic"}]
    assert json.loads(text)["base_model"] == started["base_model"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mask_ratio", "1.0"), "`mask_ratio` is 1.0"),
        (("--mask_ratio", "0.0"), "`mask_ratio` is 0.0"),
        (("--model_overrides", '{"width": 3}'), "width"),
        (("--temporal_sampling", "sparse"), "sparse"),
    ],
)
def test_wrong_arguments_of_the_command_are_named(tmp_path, capsys, arguments, message):
    assert run("--output_dir", tmp_path, "--dataset_overrides", json.dumps(SMALL), *arguments) == 1
    assert_error(capsys, message)


def test_a_folder_without_clips_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("--output_dir", tmp_path / "run", "--data-dir", tmp_path / "empty") == 1
    assert_error(capsys, "empty: holds no clip")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [("preset: tiny\nlearning_rat: 1.0\n", "unknown arguments ['learning_rat']"), ("- tiny\n", "holds no arguments")],
)
def test_a_recipe_that_cannot_be_followed_is_refused(tmp_path, capsys, recipe, message):
    (tmp_path / "own.yaml").write_text(recipe)
    with pytest.raises(SystemExit):
        run("--recipe", tmp_path / "own.yaml")
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("overrides", "message"), [("[1]", "must be a JSON object"), ("{", "is not JSON")])
def test_overrides_that_are_no_mapping_are_refused(tmp_path, capsys, overrides, message):
    assert run("--output_dir", tmp_path, "--dataset_overrides", overrides) == 1
    assert_error(capsys, f"--dataset_overrides .*{message}")


def test_a_checkpoint_of_another_model_is_refused(tmp_path, capsys):
    HDFConfig().save_pretrained(tmp_path / "hdf")
    arguments = ("--dataset_overrides", json.dumps(SMALL), "--model_name_or_path", tmp_path / "hdf")
    assert run("--output_dir", tmp_path, *arguments) == 1
    assert_error(capsys, "is a 'hdf' checkpoint; it must be a VideoMAE")


def test_a_folder_that_is_not_there_and_overrides_beside_a_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        PretrainingDataArguments(data_dir="nowhere").builder({})
    with pytest.raises(ValueError, match="no meaning for `data_dir`"):
        PretrainingDataArguments(data_dir=str(tmp_path)).builder({"num_train": 7})
