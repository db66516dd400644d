"""The Trainer's own pushes: `push_to_hub=True`, and `trainer.push_to_hub()`."""

import json
import logging
import tempfile
from pathlib import Path

import pytest
import torch
from hub_emulator import READ_TOKEN, WRITE_TOKEN, Fault
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load, load_file
from tiny_models import tiny_config

from modeling_hdf import HDFForVideoClassification, HDFTrainer, HDFTrainingArguments, HDFVideoProcessor
from modeling_hdf.hub.client import HubError

TRAIN = Path(__file__).parents[2] / "examples" / "train.py"
CODE = {"videomae_hdf.py", "configuration_hdf.py", "dam_hdf.py", "modeling_hdf.py", "video_processing_hdf.py"} | {
    *("video_reading_hdf.py", "frame_reading_hdf.py", "clip_reading_hdf.py", "file_kinds_hdf.py")
}
MODEL = {"README.md", "config.json", "video_preprocessor_config.json", "model.safetensors", *CODE}


def build_trainer(folder, **arguments) -> HDFTrainer:
    """Two steps on four clips, with a checkpoint after each."""
    options = {
        "push_to_hub": True,
        "hub_model_id": "org/hdf-tiny",
        "max_steps": 2,
        "save_steps": 1,
        "save_total_limit": 1,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        **arguments,
    }
    return HDFTrainer(
        model=HDFForVideoClassification(tiny_config()),
        args=HDFTrainingArguments(output_dir=str(folder), **options),
        train_dataset=[{"pixel_values": torch.randn(4, 3, 16, 24), "labels": index % 2} for index in range(4)],
        processing_class=HDFVideoProcessor(num_frames=4, crop_size={"height": 16, "width": 24}),
    )


def assert_is_pushed(hub, trainer, revision="main") -> ModelCard:
    files = hub.files("org/hdf-tiny", revision)
    assert set(files) == MODEL
    weights = load(files["model.safetensors"])
    for name, value in trainer.model.state_dict().items():
        assert weights[name].equal(value), name
    return ModelCard(files["README.md"].decode())


def test_training_pushes_each_save_and_the_end(online, tmp_path):
    trainer = build_trainer(tmp_path / "run", hub_always_push=True)
    trainer.train()
    trainer.push_to_hub()
    card = assert_is_pushed(online, trainer)
    assert "Not evaluated yet" in card.text and card.data.eval_results is None and card.data.license == "other"
    messages = [commit.message for commit in online.repositories["model", "org/hdf-tiny"].commits.values()]
    assert messages[:3] == ["initial commit", "Training in progress, step 1", "Training in progress, step 2"]
    # The weights of the end are those of the last save: there is nothing left to commit but what differs.
    assert len(messages) <= 4
    for commit in online.repositories["model", "org/hdf-tiny"].commits.values():
        assert set(commit.files) - {".gitattributes"} <= MODEL
    assert (tmp_path / "run" / "training_args.bin").is_file()  # which stays here
    assert not any(WRITE_TOKEN.encode() in content for content in online.files("org/hdf-tiny").values())


def test_the_first_save_is_pushed_with_its_own_weights(online, tmp_path):
    trainer = build_trainer(tmp_path / "run", hub_always_push=True, save_total_limit=2)
    trainer.train()
    trainer._finish_current_push()
    commits = {commit.message: commit for commit in online.repositories["model", "org/hdf-tiny"].commits.values()}
    for step in (1, 2):
        saved = (tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors").read_bytes()
        assert commits[f"Training in progress, step {step}"].files["model.safetensors"] == saved


def test_the_arguments_choose_branch_visibility_and_token(online, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    arguments = {"hub_token": WRITE_TOKEN, "hub_private_repo": True, "hub_revision": "fold2", "hub_strategy": "end"}
    trainer = build_trainer(tmp_path / "run", **arguments)
    trainer.train()
    assert online.files("org/hdf-tiny") == {}  # nothing before the end
    trainer.push_to_hub(commit_message="Done")
    assert_is_pushed(online, trainer, "fold2")
    assert online.head("org/hdf-tiny", "fold2").message == "Done"
    assert online.files("org/hdf-tiny") == {} and online.repositories["model", "org/hdf-tiny"].private


def test_a_push_without_the_argument_creates_the_repository(online, tmp_path):
    trainer = build_trainer(tmp_path / "run", push_to_hub=False)
    trainer.train()
    assert not online.repositories
    assert trainer.push_to_hub(blocking=False).result().oid
    assert_is_pushed(online, trainer)


def test_metrics_of_an_earlier_run_do_not_go_with_new_weights(online, tmp_path, trained_folder):
    trainer = build_trainer(tmp_path / "run")
    for name in ("metrics.json", "confusion_matrix.png", "training_curves.png"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes((trained_folder / name).read_bytes())
    trainer.train()
    trainer.push_to_hub()
    assert "Not evaluated yet" in assert_is_pushed(online, trainer).text
    assert "Not evaluated yet" in (tmp_path / "run" / "README.md").read_text()


def test_a_hub_that_fails_stops_no_training(online, tmp_path, caplog, monkeypatch):
    trainer = build_trainer(tmp_path / "run", hub_always_push=True)
    online.faults = [Fault("POST", "/commit/", 500)]
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    trainer.train()
    trainer._finish_current_push()
    assert trainer.state.global_step == 2
    assert "Training in progress, step 1: not pushed. The Hub failed" in caplog.text
    with pytest.raises(HubError, match="repeat the command"):
        trainer.push_to_hub()
    assert online.files("org/hdf-tiny") == {}
    online.faults = []
    trainer.push_to_hub()
    assert_is_pushed(online, trainer)


@pytest.mark.parametrize("name", ["org/hdf-tiny", "hdf-tiny"])
@pytest.mark.parametrize("kind", [503, "cut"])
def test_a_hub_that_is_down_at_the_start_stops_no_training(online, tmp_path, caplog, monkeypatch, kind, name):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    online.faults = [Fault("POST", "repos/create", kind)]
    trainer = build_trainer(tmp_path / "run", hub_always_push=True, hub_model_id=name)
    assert "Training goes on without" in caplog.text
    trainer.train()
    assert trainer.state.global_step == 2
    assert "Training in progress, step 2: not pushed." in caplog.text
    with pytest.raises(HubError, match="repeat the command"):
        trainer.push_to_hub()
    assert not online.repositories
    online.faults = []
    trainer.push_to_hub()
    owner = "org" if "/" in name else "someone"
    assert set(online.files(f"{owner}/hdf-tiny")) == MODEL


@pytest.mark.parametrize(
    "token, message", [("hf_of_nobody", "Run `hf auth login`"), (READ_TOKEN, "No permission to write to org/hdf-tiny")]
)
def test_a_hub_that_refuses_is_told_before_training(online, tmp_path, token, message):
    with pytest.raises(HubError, match=message):
        build_trainer(tmp_path / "run", hub_token=token)
    assert not online.repositories


def test_a_wrong_or_public_repository_is_told_before_training(online, tmp_path):
    with pytest.raises(HubError, match="'org/hdf tiny' is no name of a repository"):
        build_trainer(tmp_path / "run", hub_model_id="org/hdf tiny")
    HfApi().create_repo("org/hdf-tiny")
    with pytest.raises(HubError, match="org/hdf-tiny is public already"):
        build_trainer(tmp_path / "run", hub_private_repo=True)


def test_what_stops_a_push_in_the_background_is_a_warning(online, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    trainer = build_trainer(tmp_path / "run", hub_always_push=True)

    def fail(*_, **__):
        raise ArithmeticError("of another kind")

    with monkeypatch.context() as patch:
        patch.setattr("modeling_hdf.hub.trainer.push_files", fail)
        trainer.train()
    assert "Training in progress, step 2: not pushed. of another kind" in caplog.text
    caplog.clear()
    trainer = build_trainer(tmp_path / "other", hub_always_push=True)
    trainer.model.config.origin = "/home/me/videomae"
    trainer.train()
    assert trainer.state.global_step == 2
    assert "step 1: not pushed." in caplog.text and "names a path of this machine" in caplog.text
    assert online.files("org/hdf-tiny") == {} and list((tmp_path / "temporary").iterdir()) == []


def test_what_cannot_be_pushed_is_refused_before_training(online, tmp_path):
    with pytest.raises(ValueError, match="optimizer states"):
        build_trainer(tmp_path / "run", hub_strategy="checkpoint")
    with pytest.raises(ValueError, match="processing_class"):
        HDFTrainer(
            model=HDFForVideoClassification(tiny_config()),
            args=HDFTrainingArguments(output_dir=str(tmp_path / "run"), push_to_hub=True),
        )
    assert not online.requests


def test_the_training_script_pushes_its_results(hub, run_client, tmp_path):
    small = {"num_train": 14, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
    arguments = ("--num_train_epochs", 1, "--per_device_train_batch_size", 7, "--use_cpu", "true", "--push_to_hub")
    where = ("--output_dir", tmp_path / "a b" / "run", "--hub_model_id", "org/hdf-faces", "--frame_controls", "false")
    token = ("--hub_token", WRITE_TOKEN)
    run = run_client(TRAIN, "--dataset_overrides", json.dumps(small), *arguments, "true", *where, *token, token=None)
    assert run.returncode == 0, run.stderr
    files = hub.files("org/hdf-faces")
    assert set(files) == MODEL | {"metrics.json", "confusion_matrix.png", "training_curves.png"}
    metrics = json.loads(files["metrics.json"])
    card = ModelCard(files["README.md"].decode())
    assert {result.metric_name: result.metric_value for result in card.data.eval_results} == {
        "WAR": round(metrics["war"], 4),
        "UAR": round(metrics["uar"], 4),
    }
    assert card.data.license == "apache-2.0" and "Synthetic data only" in card.text
    assert load(files["model.safetensors"]).keys() == load_file(tmp_path / "a b/run/model.safetensors").keys()
    assert "--output_dir run " in metrics["command"]
    for secret in (str(tmp_path), WRITE_TOKEN, "hub_token"):
        assert not any(secret.encode() in content for content in files.values())


def test_the_training_script_tells_what_the_hub_refuses_in_one_line(run_client, tmp_path):
    small = {"num_train": 7, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
    arguments = ("--use_cpu", "true", "--push_to_hub", "true", "--output_dir", tmp_path / "run")
    run = run_client(TRAIN, "--dataset_overrides", json.dumps(small), *arguments, token=None)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert run.stderr.splitlines()[-1].startswith("hdf train: error: Not logged in to the Hub")
