"""What a training starts from: in which precision, with which classes, and what its record tells of it."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from evaluated_models import assert_error, own_dataset_cache, record, save_model  # noqa: F401
from tiny_models import save_backbone
from transformers import AutoModel

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.cli import pretrain, train
from modeling_hdf.cli.main import main
from modeling_hdf.data import EXPRESSIONS
from modeling_hdf.inference import load_classifier

SMALL = json.dumps({"num_train": 7, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8})
SHORT = ("--dataset_overrides", SMALL, "--per_device_train_batch_size", "7", "--use_cpu", "true", "--quiet")


def run(output: Path, *arguments: object) -> int:
    return main(["train", "--output_dir", str(output), *SHORT, *map(str, arguments)])


def trainings_in(folder: Path) -> list[dict]:
    return json.loads((folder / "metrics.json").read_text())["trainings"]


def digest_in(folder: Path) -> dict[str, str]:
    return {"model.safetensors": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()}


def halve(folder: Path) -> str:
    """Stores a checkpoint in bfloat16 instead."""
    kind = AutoModel if json.loads((folder / "config.json").read_text())["model_type"] == "videomae" else None
    (kind or HDFForVideoClassification).from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["hdf", "videomae", "pretraining"])
def test_a_checkpoint_in_half_precision_is_trained_in_float32(tmp_path, kind):
    if kind == "hdf":
        start = halve(save_model(tmp_path))
    else:
        start = halve(Path(save_backbone("base", tmp_path)))
    if kind == "pretraining":
        model = pretrain.build_model(pretrain.ScriptArguments(model_name_or_path=start))
    else:
        model = train.build_model(train.ScriptArguments(model_name_or_path=start), list(EXPRESSIONS))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.dtype == torch.float32


@pytest.mark.parametrize("fields", [{"num_labels": 3}, {"label2id": {"joy": 0}}, {"id2label": {"0": "joy"}}])
def test_overrides_do_not_rename_the_classes_of_the_dataset(fields):
    arguments = train.ScriptArguments(preset="tiny", model_overrides=json.dumps(fields))
    with pytest.raises(ValueError, match=f"{next(iter(fields))}.*the classes are those of the dataset"):
        train.build_model(arguments, list(EXPRESSIONS))


def test_a_run_records_the_checksum_of_its_start_and_keeps_it(tmp_path):
    start, output = save_model(tmp_path / "start"), tmp_path / "out"
    began = digest_in(start)
    arguments = ("--model_name_or_path", start, "--max_steps", 1)
    assert run(output, *arguments) == 0
    expected = [{"base_model": "local:start", "dataset": "synthetic", "base_model_sha256": began}]
    assert trainings_in(output) == expected
    # The start is trained on, and the finished run is tested again.
    model = HDFForVideoClassification.from_pretrained(start)
    torch.nn.init.ones_(model.classifier.bias)
    model.save_pretrained(start)
    assert digest_in(start) != began
    (output / "metrics.json").unlink()
    assert run(output, *arguments) == 0
    assert trainings_in(output) == expected


def test_a_checkpoint_of_another_run_is_a_start_like_any_other(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(first, "--preset", "tiny", "--max_steps", 1) == 0
    record(first, dataset="ferv39k", fold=None, base_model="org/faces", seed=0)
    checkpoint = first / "checkpoint-1"
    arguments = ("--preset", "tiny", "--max_steps", 2, "--resume_from_checkpoint", checkpoint)
    assert run(second, *arguments) == 0
    began, earlier = trainings_in(second)
    digests = digest_in(checkpoint)
    assert began == {"base_model": "local:checkpoint-1", "dataset": "synthetic", "base_model_sha256": digests}
    assert earlier["dataset"] == "ferv39k" and earlier["base_model"] == "org/faces"
    # Clips that it was trained on are not held out.
    record(first, dataset="synthetic", fold=1)
    assert run(tmp_path / "third", *arguments) == 1
    assert_error(capsys, "checkpoint-1 was trained on fold 1 of synthetic")


def test_a_checkpoint_that_is_not_there_is_named_before_anything_is_looked_up(tmp_path, capsys):
    assert run(tmp_path / "out", "--resume_from_checkpoint", "owner/checkpoint-5") == 1
    assert_error(capsys, "--resume_from_checkpoint owner/checkpoint-5 is not a folder")


@pytest.mark.parametrize("options", [(), ("--save_strategy", "no", "--eval_strategy", "no", "--logging_steps", 1)])
def test_a_training_that_diverged_ends_and_leaves_the_checkpoints_before(tmp_path, capsys, options):
    diverges = ("--max_steps", 5, "--warmup_steps", 1, "--learning_rate", 1e38, "--load_best_model_at_end", "false")
    assert run(tmp_path / "out", "--preset", "tiny", *diverges, *options) == 1
    assert_error(capsys, "out: weights are NaN or infinite after step 2 of 5. The training has diverged")
    checkpoints = list((tmp_path / "out").glob("checkpoint-*"))
    assert [path.name for path in checkpoints] == ([] if options else ["checkpoint-1"])
    for path in checkpoints:
        load_classifier(str(path))  # refuses weights that are not finite


def test_a_training_that_diverged_in_its_last_step_is_not_tested(tmp_path, capsys):
    last = ("--save_strategy", "no", "--eval_strategy", "no", "--load_best_model_at_end", "false", "--warmup_steps", 0)
    assert run(tmp_path / "out", "--preset", "tiny", "--max_steps", 3, *last, "--learning_rate", 1e38) == 1
    assert_error(capsys, "out: .* are NaN or infinite. The training has diverged")
