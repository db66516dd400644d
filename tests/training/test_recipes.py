"""The recipes of the real datasets, end to end on small trees in the datasets' formats."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import pandas
import pytest
import torch
import yaml
from hand_written_training import build_rows, step_logs
from tiny_models import save_backbone, tiny_backbone_config
from transformers import VideoMAEImageProcessor
from trees import (
    fer2013_stills,
    write_cremad,
    write_dfew,
    write_fer2013,
    write_ferv39k,
    write_frames,
    write_mafw,
    write_ravdess,
    write_votes,
)

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFTrainer, HDFVideoProcessor
from modeling_hdf.backbone_hdf import DropPath
from modeling_hdf.cli.main import main
from modeling_hdf.cli.train import FREE, training_parser
from modeling_hdf.configuration import configuration_path
from modeling_hdf.data import DataArguments, class_count_lines
from modeling_hdf.training.recipes import deciding_arguments, parse_with_recipe

SCRIPT = Path(__file__).parents[2] / "examples" / "train.py"
TINY = ("--model_name_or_path", "", "--preset", "tiny", "--model_overrides", '{"image_size": 32}')
SHORT = ("--max_steps", 2, "--per_device_train_batch_size", 8, "--use_cpu", "true", "--logging_steps", 1)
ELEVEN = [
    *("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
]


@pytest.fixture(autouse=True)
def own_dataset_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


def parse(*arguments):
    """The parsed arguments of `hdf train`."""
    return parse_with_recipe(training_parser(), "train", [str(argument) for argument in arguments])


def train(*arguments):
    """Runs `hdf train` in this process."""
    assert main(["train", *map(str, arguments)]) == 0


def read_metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_the_dfew_recipe_runs_by_accelerate_launch(tmp_path):
    write_dfew(tmp_path / "tree")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--cpu", str(SCRIPT)]
    arguments = ("--recipe", "dfew", "--data-dir", tmp_path / "tree", "--fold", 1, "--output-dir", tmp_path / "run")
    output = subprocess.run(
        [*command, *map(str, (*arguments, *TINY, *SHORT, "--dataloader_num_workers", 1))],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
    )
    assert output.returncode == 0, output.stderr[-3000:]
    counts = "happiness 2, sadness 2, neutral 2, anger 2, surprise 2, disgust 2, fear 2"
    shown = output.stdout.index(f"train: 14 clips: {counts}")
    assert shown < output.stdout.index("validation: 7 clips:") < output.stdout.index("test: 7 clips:")
    assert output.stdout.index("test: 7 clips:") < output.stdout.index("'loss'")  # before training
    assert "dfew fold 1, test split, 2 views" in output.stdout and "PEER" not in output.stdout
    metrics = read_metrics(tmp_path / "run")
    assert (metrics["dataset"], metrics["fold"], metrics["num_clips"]) == ("dfew", 1, 7)
    assert (metrics["num_views"], metrics["temporal_sampling"], metrics["peer_protocol"]) == (2, "segments", False)
    assert not (tmp_path / "run" / "test_clips").exists()  # the clips are not ours to hand on


def test_the_ferv39k_recipe_runs_on_a_videomae_checkpoint_under_the_peer_protocol(tmp_path, capsys):
    write_ferv39k(tmp_path / "tree", scenes=("Action", "War"))
    checkpoint = save_backbone("base", tmp_path / "videomae")
    VideoMAEImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(checkpoint)
    train(
        *("--recipe", "ferv39k", "--data-dir", tmp_path / "tree", "--peer-protocol", "--output_dir", tmp_path / "run"),
        *("--model_name_or_path", checkpoint, "--model_overrides", '{"image_size": 32}'),
        *(*SHORT, "--dataloader_num_workers", 0),
    )
    shown = capsys.readouterr().out
    assert "validation (peer protocol: the test split): 14 clips" in shown and "train: 28 clips" in shown
    mark = "ferv39k, test split, 2 views, PEER PROTOCOL: model selected on this split"
    assert mark in shown and mark in (tmp_path / "run" / "README.md").read_text()
    metrics = read_metrics(tmp_path / "run")
    assert metrics["peer_protocol"] is True and metrics["fold"] is None and metrics["num_clips"] == 14
    processor = HDFVideoProcessor.from_pretrained(tmp_path / "run")
    assert list(processor.image_mean) == [0.1, 0.2, 0.3]  # as the checkpoint's


def test_a_preset_on_x3d_trains_and_its_card_says_so(tmp_path):
    write_ferv39k(tmp_path / "tree", scenes=("Action", "War"))
    train(
        *("--recipe", "ferv39k", "--data-dir", tmp_path / "tree", "--output_dir", tmp_path / "run"),
        *(
            "--model_name_or_path",
            "",
            "--preset",
            "x3d_tiny",
            "--model_overrides",
            '{"image_size": 32, "num_frames": 4}',
        ),
        *(*SHORT, "--dataloader_num_workers", 0, "--layer_decay", 0.9, "--sam_rho", 0.05),
    )
    model = HDFForVideoClassification.from_pretrained(tmp_path / "run")
    assert model.config.backbone_config.model_type == "hdf_x3d" and list(model.hdf.dam) == ["1", "2", "3", "4"]
    assert model.hdf.backbone.stem.norm.num_batches_tracked == 2  # steps; the second passes of SAM do not count
    assert list(HDFVideoProcessor.from_pretrained(tmp_path / "run").image_mean) == [0.45] * 3
    card = (tmp_path / "run" / "README.md").read_text()
    assert "on an X3D\nbackbone" in card and "\n- x3d\n" in card and "VideoMAE" not in card
    assert "Gates of " in (tmp_path / "run" / "report.html").read_text()  # of four layers with maps of four sizes


def test_the_mafw_recipe_trains_eleven_classes(tmp_path, capsys):
    write_mafw(tmp_path / "tree")
    train(
        *("--recipe", "mafw", "--data-dir", tmp_path / "tree", "--fold", 1, "--output_dir", tmp_path / "run"),
        *(*TINY, *SHORT, "--dataloader_num_workers", 0, "--sampler", "per_class", "--num_views", 1),
        *("--temporal_sampling", "dense", "--sampling_stride", 4, "--frame_controls", "true"),
    )
    assert "disappointment" in capsys.readouterr().out
    metrics = read_metrics(tmp_path / "run")
    assert list(metrics["recall"]) == ELEVEN and metrics["num_clips"] == 11
    model = HDFForVideoClassification.from_pretrained(tmp_path / "run")
    assert list(model.config.id2label.values()) == ELEVEN and model.classifier.out_features == 11
    card = " ".join((tmp_path / "run" / "README.md").read_text().split())
    assert "Measured with dense sampling with stride 4, 1 view per clip. The video processor" in card


def test_the_fer2013_recipe_trains_on_stills(tmp_path, capsys):
    write_fer2013(tmp_path / "tree" / "fer2013.csv", fer2013_stills(per_class=5))
    train(
        *("--recipe", "fer2013", "--data-dir", tmp_path / "tree", "--output_dir", tmp_path / "run"),
        *(*SHORT, "--dataloader_num_workers", 0, "--sam_rho", 0.05, "--gradient_accumulation_steps", 2),
    )
    assert "train: 21 clips: happiness 3" in capsys.readouterr().out
    model = HDFForVideoClassification.from_pretrained(tmp_path / "run")
    taps = model.hdf.backbone.stages[3].blocks[1].channelwise.weight
    assert taps[:, :, 1].all() and not taps[:, :, ::2].any()  # single frames
    metrics = read_metrics(tmp_path / "run")
    assert (metrics["dataset"], metrics["fold"], metrics["num_clips"]) == ("fer2013", None, 7)
    assert metrics["dataset_overrides"] == {"leave_out_copies": True}
    assert "authors state no licence" in (tmp_path / "run/README.md").read_text()


@pytest.fixture
def open_data(tmp_path):
    write_ravdess(tmp_path / "data" / "RAVDESS", (1, 2, 3, 4), modalities=("01",))
    write_cremad(tmp_path / "data" / "CREMA-D", (1001, 1003, 1006, 1008))
    write_fer2013(tmp_path / "data" / "fer2013" / "fer2013.csv", fer2013_stills(per_class=5))
    return tmp_path / "data"


def test_the_open_recipe_trains_on_three_datasets_and_tests_on_each(open_data, tmp_path, capsys):
    run = tmp_path / "run"
    train(
        *("--recipe", "open", "--data-dir", open_data, "--fold", 1, "--output_dir", run, *TINY, *SHORT),
        *("--dataloader_num_workers", 0, "--num_views", 1, "--logit_adjustment", 1, "--frame_controls", "true"),
    )
    shown = capsys.readouterr().out
    for name in ("ravdess, train", "cremad, train", "fer2013, train"):
        assert f"{name}: " in shown
    for title in ("ravdess fold 1, test split", "cremad fold 1, test split", "fer2013, test split"):
        assert title in shown
    pooled, parts = read_metrics(run), {name: read_metrics(run / name) for name in ("ravdess", "cremad", "fer2013")}
    assert pooled["dataset"] == "ravdess,cremad,fer2013" and pooled["num_clips"] == 52 + 6 + 7
    assert {name: part["num_clips"] for name, part in parts.items()} == {"ravdess": 52, "cremad": 6, "fer2013": 7}
    assert {name: (part["dataset"], part["fold"]) for name, part in parts.items()} == {
        "ravdess": ("ravdess", 1), "cremad": ("cremad", 1), "fer2013": ("fer2013", None),
    }  # fmt: skip
    assert list(parts["cremad"]["recall"]) == [name for name in parts["ravdess"]["recall"] if name != "surprise"]
    assert parts["cremad"]["across_datasets"]["only_in_model"] == ["surprise"]
    assert "across_datasets" not in parts["ravdess"] and set(parts["fer2013"]["controls"]) == {
        "first_war", "shuffled_war",
    }  # fmt: skip
    groups = pooled["groups"]["dataset"]["groups"]
    assert {name: group["num_clips"] for name, group in groups.items()} == {"cremad": 6, "fer2013": 7, "ravdess": 52}
    assert groups["ravdess"]["war"] == pytest.approx(parts["ravdess"]["war"])
    assert pooled["bootstrap"]["unit"] == "group" and pooled["bootstrap"]["num_units"] == 1 + 1 + 7
    table = pandas.read_parquet(run / "predictions.parquet")
    assert table["clip_id"].str.startswith("cremad/1006_").sum() == 6
    card = (run / "README.md").read_text()
    assert "CC BY-NC-SA" in card and "Open Database License" in card and "state no licence" in card
    # The same command tests the finished run again; another fold of one of the datasets is refused.
    capsys.readouterr()
    assert main(
        ["evaluate", str(run), "--dataset", "ravdess", "--data-dir", str(open_data / "RAVDESS"), "--fold", "2"]
    )
    assert "trained on fold 1 of ravdess" in capsys.readouterr().err
    assert main(["report", str(run), "--data-dir", str(open_data)]) == 1
    assert "Give the folder of one in it, such as ravdess" in capsys.readouterr().err
    arguments = ("--data-dir", open_data / "RAVDESS", "--model", run, "--clips", 1)
    assert main(["report", str(run / "ravdess"), *map(str, arguments)]) == 0


def test_the_open_recipe_runs_with_its_own_preset_and_its_model_is_evaluated_on_each_dataset(open_data, tmp_path):
    run = tmp_path / "run"
    train(
        *("--recipe", "open", "--data-dir", open_data, "--fold", 1, "--output_dir", run, *SHORT),
        *("--dataloader_num_workers", 0, "--num_views", 1),
    )
    config = HDFConfig.from_pretrained(run)
    assert config.backbone_config.model_type == "hdf_x3d" and (config.num_frames, config.image_size) == (8, 64)
    for name, folder in (("ravdess", "RAVDESS"), ("cremad", "CREMA-D"), ("fer2013", "fer2013")):
        fold = () if name == "fer2013" else ("--fold", 1)
        evaluate = ("evaluate", run, "--dataset", name, "--data-dir", open_data / folder, *fold)
        assert main([*map(str, evaluate), "--output", str(tmp_path / name)]) == 0
        if name != "fer2013":  # cut from the training clips, and recorded
            assert main([*map(str, evaluate), "--split", "validation", "--resamples", "5"]) == 0
        trained, again = read_metrics(run / name), read_metrics(tmp_path / name)
        assert again["num_clips"] == trained["num_clips"]
        assert again["war"] == pytest.approx(trained["war"]), name
    cut_splits = read_metrics(run)["cut_splits"]
    assert {name: list(splits) for name, splits in cut_splits.items()} == {
        "ravdess": ["validation"], "cremad": ["validation"], "fer2013": [],
    }  # fmt: skip
    assert read_metrics(run / "cremad")["cut_splits"] == {"cremad": cut_splits["cremad"]}


@pytest.mark.parametrize(("name", "folder"), [("ravdess", "RAVDESS"), ("cremad", "CREMA-D")])
def test_the_recipes_of_acted_clips_start_from_a_checkpoint_of_faces(open_data, tmp_path, name, folder):
    torch.manual_seed(0)
    start = HDFForVideoClassification(HDFConfig.from_pretrained(configuration_path("model", "x3d_faces")))
    start.save_pretrained(tmp_path / "start")
    HDFVideoProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(tmp_path / "start")
    train(
        *("--recipe", name, "--data-dir", open_data / folder, "--fold", 1, "--output_dir", tmp_path / "run"),
        *("--model_name_or_path", tmp_path / "start", "--learning_rate", 1e-9, "--num_views", 1),
        *(*SHORT, "--dataloader_num_workers", 0),
    )
    assert read_metrics(tmp_path / "run")["dataset"] == name
    model = HDFForVideoClassification.from_pretrained(tmp_path / "run")
    torch.testing.assert_close(model.hdf.backbone.stem.spatial.weight, start.hdf.backbone.stem.spatial.weight)
    processor = HDFVideoProcessor.from_pretrained(tmp_path / "run")
    assert list(processor.image_mean) == [0.5] * 3 and processor.num_frames == 8


def test_weights_and_a_sampler_of_classes_exclude_each_other(open_data, tmp_path, capsys):
    arguments = ("--recipe", "open", "--data-dir", open_data, "--fold", 1, "--output_dir", tmp_path / "run", *TINY)
    arguments = (*arguments, *SHORT, "--dataloader_num_workers", 0, "--sampler", "balanced")
    assert main(["train", *map(str, arguments)]) == 1
    assert "The datasets have weights and `sampler` is 'balanced'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dfew", "ferv39k", "mafw"])
def test_recipes_start_from_videomae_at_160_pixels(name):
    recipe = yaml.safe_load(configuration_path("train", name).read_text())
    assert recipe["dataset"] == name and recipe["model_name_or_path"] == "MCG-NJU/videomae-base"
    assert recipe["model_overrides"] == {"image_size": 160, "drop_path_rate": 0.1}


def test_a_preset_on_the_command_line_replaces_the_checkpoint_of_a_recipe(tmp_path, capsys):
    arguments = (
        "--recipe",
        "dfew",
        "--data-dir",
        tmp_path,
        "--fold",
        1,
        "--output_dir",
        tmp_path,
        "--use_cpu",
        "true",
    )
    assert parse(*arguments)[0].model_name_or_path == "MCG-NJU/videomae-base"
    script = parse(*arguments, "--preset", "tiny")[0]
    assert (script.preset, script.model_name_or_path) == ("tiny", None)
    with pytest.raises(SystemExit):
        parse(*arguments, "--preset", "tiny", "--model-name-or-path", "owner/name")
    assert "--preset starts from scratch" in capsys.readouterr().err


def test_a_checkpoint_that_is_nowhere_is_named_before_the_clips_are_read(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    arguments = ("--model_name_or_path", "owner/nothing", "--output_dir", tmp_path / "run", "--use_cpu", "true")
    assert main(["train", *map(str, arguments)]) == 1
    printed = capsys.readouterr()
    assert "--model_name_or_path owner/nothing cannot be loaded: there is no such folder" in printed.err
    assert "clips" not in printed.out


@pytest.mark.parametrize("name", ["dfew", "ferv39k", "mafw"])
def test_recipes_fine_tune_as_mae_dfer(tmp_path, name):
    fold = () if name == "ferv39k" else ("--fold", 1)
    short = (*("--max_steps", 40, "--logging_steps", 1), *("--eval_strategy", "no", "--save_strategy", "no"))
    short = (*short, "--load_best_model_at_end", "false", "--use_cpu", "true", "--dataloader_num_workers", 0)
    arguments = ("--recipe", name, "--data-dir", tmp_path, *fold, "--output_dir", tmp_path / "run", *short)
    script, data, training = parse(*arguments)
    batch = training.per_device_train_batch_size
    assert training.learning_rate == pytest.approx(1e-3 * batch / 256) and training.weight_decay == 0.05
    assert (training.adam_beta1, training.adam_beta2, training.label_smoothing_factor) == (0.9, 0.999, 0.1)
    assert (training.metric_for_best_model, training.greater_is_better) == ("uar", True)
    # What corrects for imbalance, soft labels and early stopping are the user's choice.
    assert (training.sampler, training.logit_adjustment, training.early_stopping_patience) == ("random", 0, 0)
    assert data.vote_labels is False

    training.per_device_train_batch_size = 4
    overrides = {**script.model_overrides, "image_size": 16}
    config = HDFConfig(
        backbone_config=tiny_backbone_config().to_dict() | {"image_size": 16}, **overrides, num_labels=3
    )
    trainer = HDFTrainer(model=HDFForVideoClassification(config), args=training, train_dataset=build_rows(160))
    trainer.train()
    shape = [step / 2 if step < 2 else 0.5 + 0.5 * math.cos(math.pi * (step - 2) / 38) for step in range(40)]
    logged = [entry["learning_rate"] for entry in step_logs(trainer)]
    assert logged == pytest.approx([training.learning_rate * share for share in shape])  # warm-up, then a cosine
    rates = {group["initial_lr"] / training.learning_rate for group in trainer.optimizer.param_groups}
    assert sorted(rates) == pytest.approx([0.75**3, 0.75**2, 0.75, 1])
    assert [module.rate for module in trainer.model.modules() if isinstance(module, DropPath)] == [0, 0, 0.1, 0.1]


def test_a_run_with_votes_and_adjusted_logits_stops_early(tmp_path, capsys):
    write_votes(tmp_path / "tree", write_dfew(tmp_path / "tree"))
    train(
        *("--recipe", "dfew", "--data-dir", tmp_path / "tree", "--fold", 1, "--output_dir", tmp_path / "run", *TINY),
        *("--vote_labels", "true", "--logit_adjustment", 1.0, "--early_stopping_patience", 1, "--learning_rate", 0),
        *("--num_train_epochs", 5, "--per_device_train_batch_size", 8, "--use_cpu", "true"),
        *("--dataloader_num_workers", 0, "--num_views", 1),
    )
    assert read_metrics(tmp_path / "run")["num_clips"] == 7
    # Nothing is learned: the second evaluation of five is no better than the first.
    assert capsys.readouterr().out.count("'eval_uar'") == 2


def test_help_lists_the_features_of_a_recipe(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--help"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option, words in {
        "--layer_decay": "1: off, 0.75: MAE-DFER, S4D",
        "--logit_adjustment": "Tau of logit adjustment",
        "--early_stopping_patience": "evaluations without a better validation UAR",
        "--vote_labels": "shares of DFEW's votes",
        "--sampler": "random, balanced, per_class",
        "--warmup_steps": "",
        "--lr_scheduler_type": "",
        "--model_overrides": "HDFConfig fields",
    }.items():
        assert option in shown and words in shown, option


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", "is no YAML file: it gives 'seed' twice"),
        ("model_overrides: {num_frames: 8, num_frames: 16}\n", "is no YAML file: it gives 'num_frames' twice"),
        ("seed: 1.5\n", "sets `seed` to 1.5; it must be a whole number"),
        ("seed: true\n", "sets `seed` to True; it must be a whole number"),
        ("learning_rate: [1]\n", r"sets `learning_rate` to \[1\]; it must be a number"),
        ("learning_rate: fast\n", "invalid float value: 'fast' .recipe "),
        ("use_cpu: 1.0\n", "sets `use_cpu` to 1.0; it must be true or false"),
        ("- seed\n", "must be a mapping of argument to value"),
        ("sed: 1\n", r"has unknown arguments \['sed'\]"),
        ("seed: !!python/object/apply:os.getcwd []\n", "is no YAML file"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path, capsys, text, message):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SystemExit):
        parse("--recipe", tmp_path / "own.yaml")
    assert re.search(f"^usage: hdf train .*\nhdf train: error: .*{message}", capsys.readouterr().err)


def test_a_recipe_may_write_numbers_and_repeat_parts_as_yaml_does(tmp_path):
    text = "seed: 7\nlearning_rate: 1e-4\nnum_train_epochs: 3\nmax_missing: 0.05\nmodel_overrides:\n"
    text += "  backbone_config: &one {num_hidden_layers: 1}\n  other: {<<: *one, num_hidden_layers: 2}\n"
    (tmp_path / "own.yaml").write_text(text)
    script, data, training = parse("--recipe", tmp_path / "own.yaml", "--use_cpu", "true", "--seed", "8")
    assert (training.seed, training.learning_rate, training.num_train_epochs) == (8, 1e-4, 3)
    assert script.model_overrides["other"] == {"num_hidden_layers": 2} and data.max_missing == 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dataset": "imagenet"}, "`dataset` is 'imagenet'; choose one of synthetic, dfew"),
        ({"dataset": "dfew", "fold": 1}, "`data_dir` is missing"),
        ({"dataset": "dfew", "data_dir": "."}, "`fold` is missing; dfew has folds 1 to 5"),
        ({"dataset": "mafw", "data_dir": ".", "fold": 6}, "`fold` is 6; mafw has folds 1 to 5"),
        ({"dataset": "ferv39k", "data_dir": ".", "fold": 1}, "`fold` is 1; ferv39k has a single split"),
        ({"dataset": "synthetic", "peer_protocol": True}, "`peer_protocol` has no meaning"),
        ({"dataset": "synthetic", "data_dir": "."}, "`data_dir` has no meaning"),
        ({"temporal_sampling": "sparse"}, "`temporal_sampling` is 'sparse'"),
        ({"sampling_stride": 4}, "stride of 4 needs dense"),
        ({"augmentation": "all"}, "`augmentation` is 'all'"),
        ({"num_views": 0}, "`num_views` is 0"),
    ],
)
def test_data_arguments_that_cannot_work_are_refused_before_anything_is_read(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataArguments(**arguments)


@pytest.mark.parametrize(("limit", "expected"), [("3", 3), ("0.25", 0.25), (2, 2), (0.5, 0.5), (0.00001, 1e-5)])
def test_max_missing_is_a_number_or_a_share(tmp_path, limit, expected):
    write_ferv39k(tmp_path, scenes=("Action", "War"))
    builder = DataArguments(dataset="ferv39k", data_dir=str(tmp_path), max_missing=limit).builder({})
    assert builder.config.max_missing == expected and type(builder.config.max_missing) is type(expected)


def test_videos_of_ones_own_are_a_dataset_too(tmp_path):
    for index, name in enumerate(("anger", "fear") * 5):
        write_frames(tmp_path / name / f"{index}", ["1.jpg", "2.jpg"])
    builder = DataArguments(dataset="folder", data_dir=str(tmp_path)).builder({"validation_fraction": 0.25})
    builder.download_and_prepare()
    assert sum(rows.num_rows for rows in builder.as_dataset().values()) == 10


@pytest.mark.parametrize(("dsm", "num_mixed"), [(True, 2), (False, 4)])
def test_beside_dsm_half_of_a_batch_is_mixed_and_all_of_it_without(dsm, num_mixed):
    processor = HDFVideoProcessor(num_frames=2, size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    items = [{"clip": torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "label": 0, "seed": index} for index in range(4)]
    batch = DataArguments(mixup_alpha=0.8).collator(processor, 7, dsm)(items)
    assert batch["is_mixed"].sum() == num_mixed
    assert "is_mixed" not in DataArguments().collator(processor, 7, dsm)(items)


def test_class_counts_are_shown_by_split():
    counts = {"train": {"anger": 3, "fear": 0}, "validation": {"anger": 1, "fear": 2}}
    assert class_count_lines(counts) == ["train: 3 clips: anger 3, fear 0", "validation: 3 clips: anger 1, fear 2"]
    assert class_count_lines(counts, True)[1].startswith("validation (peer protocol: the test split): 3 clips")


def test_a_start_from_the_checkpoint_of_another_run_is_part_of_the_record(tmp_path):
    def started_from(*arguments):
        script, data, training = parse("--output_dir", tmp_path / "run", *arguments)
        return deciding_arguments(training, (script, data), FREE)["started_from"]

    other = tmp_path / "other" / "checkpoint-2"
    assert started_from() is None
    assert started_from("--resume_from_checkpoint", str(other)) == str(other)
    assert started_from("--resume_from_checkpoint", str(tmp_path / "run" / "checkpoint-2")) is None
