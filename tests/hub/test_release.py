"""Which files of a model folder travel, and that they belong together."""

import hashlib
import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import save_backbone, tiny_config

from modeling_hdf import HDFForVideoClassification, HDFModel, HDFVideoProcessor
from modeling_hdf.evaluation.results import Results
from modeling_hdf.evaluation.trainings import training_results
from modeling_hdf.hub.client import write_files
from modeling_hdf.hub.release import model_files, model_release, write_model_card

LABELS = list(tiny_config().id2label.values())
MATRIX = [[int(true == predicted) for predicted in range(7)] for true in range(7)]
SCORES = {"war": 0.5, "uar": 0.25, "num_clips": 7, "recall": dict.fromkeys(LABELS, 0.25), "confusion_matrix": MATRIX}
ABOUT = {"dataset": "synthetic", "fold": None, "split": "test", "peer_protocol": False, "seed": 3}
METRICS = {**ABOUT, "temporal_sampling": "uniform", "num_views": 1, **SCORES}


def write_metrics(folder, start: str | None, argv: list[str]) -> Results:
    results = training_results(folder, start, argv, **METRICS)
    results.write(folder)
    return results


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "model"
    HDFForVideoClassification(tiny_config()).save_pretrained(folder)
    HDFVideoProcessor(num_frames=4).save_pretrained(folder)
    write_metrics(folder, None, ["train.py"])
    for name in ("confusion_matrix.png", "training_curves.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def change(path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_card_comes_from_the_metrics(folder):
    (folder / "README.md").write_text("WAR 0.99")
    card = model_release(folder, "org/name")["README.md"].decode()
    assert "| 0.5000 | 0.2500 |" in card and "0.99" not in card
    assert "| 0.5000 | 0.2500 |" in write_model_card(folder).read_text()


@pytest.mark.parametrize(
    "names",
    [
        ("config.json",),
        ("model.safetensors", "video_preprocessor_config.json"),
        ("modeling_hdf.py", "dam_hdf.py", "video_reading_hdf.py"),
        ("confusion_matrix.png", "training_curves.png"),
    ],
)
def test_every_missing_file_is_named(folder, names):
    for name in names:
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        model_release(folder)
    # Without modeling_hdf.py nothing tells that it imports dam_hdf.py.
    assert all(name in str(error.value) for name in names if name != "dam_hdf.py" or "modeling_hdf.py" not in names)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        model_files(tmp_path / "nowhere")


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"\xff" * 8 + data[8:], lambda data: b""])
def test_damaged_weights_are_named(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="model.safetensors: is damaged"):
        model_files(folder)


def test_weights_that_do_not_fit_the_configuration_are_refused(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if name != "classifier.bias"}, path)
    with pytest.raises(ValueError, match="lack 'classifier.bias'"):
        model_files(folder)
    save_file({**tensors, "other.weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="hold the unknown 'other.weight'"):
        model_files(folder)
    save_file({**tensors, "classifier.bias": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"'classifier.bias' has the shape \[2\], config.json asks for \[7\]"):
        model_files(folder)


def test_a_model_without_classifier_is_refused(folder):
    HDFModel(tiny_config()).save_pretrained(folder)
    with pytest.raises(ValueError, match="`auto_map` lacks AutoModelForVideoClassification|weights lack"):
        model_files(folder)


def test_metrics_of_other_weights_are_refused(folder):
    path = folder / "model.safetensors"
    save_file({name: value + 1e-3 for name, value in load_file(path).items()}, path)
    with pytest.raises(ValueError, match="metrics.json: its `weights_sha256` is not that of the weights beside it"):
        model_release(folder)
    files = model_release(folder, may_be_stale=True)
    assert "Not evaluated yet" in files["README.md"].decode() and "metrics.json" not in files
    assert "confusion_matrix.png" not in files  # of the same evaluation
    (folder / "metrics.json").unlink()
    assert model_release(folder).keys() == files.keys()


def test_metrics_that_do_not_say_of_which_weights_are_refused(folder):
    change(folder / "metrics.json", weights_sha256=None)
    with pytest.raises(ValueError, match="weights_sha256"):
        model_release(folder)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "video_preprocessor_config.json"])
def test_a_file_that_is_not_json_is_named(folder, name):
    (folder / name).write_text('{"a": ')
    with pytest.raises(ValueError, match=f"{name}: is not JSON"):
        model_release(folder)


@pytest.mark.parametrize("field, value", [("dam_variant", "spatial"), ("dam_layers", "all"), ("num_frames", 5)])
def test_a_wrong_configuration_is_named(folder, field, value):
    change(folder / "config.json", **{field: value})
    with pytest.raises(ValueError, match=rf"config.json: .*{field}"):
        model_files(folder)


def test_a_metrics_file_without_a_field_is_named(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["uar"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="metrics.json has no uar; evaluate the model again"):
        model_release(folder)


def test_weights_in_several_files_travel_together(folder):
    model = HDFForVideoClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    shards = sorted(path.name for path in folder.glob("model-*"))
    metrics = write_metrics(folder, None, ["train.py"])
    names = ["model.safetensors.index.json", *shards]
    assert len(shards) > 1 and set(names) <= set(model_release(folder))
    assert metrics.weights_sha256 == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / shards[1]).rename(folder / "aside")
    with pytest.raises(FileNotFoundError, match=shards[1]):
        model_release(folder)
    (folder / "aside").rename(folder / shards[1])
    (folder / "model.safetensors").write_bytes(b"old")
    with pytest.raises(ValueError, match="holds both"):
        model_release(folder)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "training_args.bin"])
def test_an_index_reaches_no_other_file(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"classifier.bias": name}}))
    with pytest.raises(ValueError, match="names no files of weights"):
        model_files(folder)


def test_paths_of_this_machine_do_not_travel(folder):
    config = json.loads((folder / "config.json").read_text())
    config["backbone_config"]["_name_or_path"] = "/home/me/videomae"
    change(folder / "config.json", **config)
    with pytest.raises(ValueError, match=r"config.json, line 1: names a path of this machine, '/home/me/videomae'"):
        model_files(folder)


def test_a_model_from_a_local_backbone_does_not_name_its_folder(tmp_path):
    backbone = save_backbone("base", tmp_path / "backbone")
    HDFForVideoClassification.from_backbone_pretrained(backbone).save_pretrained(tmp_path / "model")
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()


TOKEN = "hf_" + "aB3" * 11 + "x"


@pytest.mark.parametrize(
    "words",
    [
        ["--hub_token", TOKEN],
        [f"--hub_token={TOKEN}"],
        ["--hub-token", "secret"],
        ["--hub-token=secret"],
        ["--hub_tok", "secret"],  # argparse takes abbreviations
        ["--hub_t=secret"],
        ["--other_api_token", "secret"],
    ],
)
def test_a_command_is_published_without_its_tokens(folder, words):
    argv = ["train.py", "--push_to_hub", "true", *words, "--average_tokens_across_devices", "true", "--seed", "3"]
    expected = "train.py --push_to_hub true --average_tokens_across_devices true --seed 3"
    assert write_metrics(folder, None, argv).command == expected
    assert not any(text in (folder / "metrics.json").read_text() for text in (TOKEN, "secret"))
    assert TOKEN not in model_release(folder)["README.md"].decode()


@pytest.mark.parametrize(
    "name, fields",
    [
        ("metrics.json", {"command": "train.py --hub_token hf_short"}),
        ("metrics.json", {"command": "train.py hf_short"}),
        ("metrics.json", {"command": "train.py --hub-token=secret"}),
        ("metrics.json", {"notes": [f"with {TOKEN}"]}),
        ("config.json", {"token": TOKEN}),
    ],
)
def test_a_file_with_a_token_is_refused(folder, name, fields):
    change(folder / name, **fields)
    with pytest.raises(ValueError, match=f"{name}, line 1: holds a token") as error:
        model_release(folder)
    assert TOKEN not in str(error.value)


def test_the_terms_of_the_weights_travel_with_them(folder):
    assert "LICENSE.md" not in model_release(folder, "org/name")
    (folder / "LICENSE.md").write_text("For research alone.")
    files = model_release(folder, "org/name")
    assert files["LICENSE.md"].read_text() == "For research alone."
    assert "license_link: LICENSE.md" in files["README.md"].decode()
    (folder / "LICENSE.md").write_text(f"Mail {TOKEN}")
    with pytest.raises(ValueError, match="LICENSE.md, line 1: holds a token"):
        model_release(folder, "org/name")


def test_names_that_only_look_like_a_token_are_published(folder):
    change(folder / "metrics.json", base_model="org/hf_videomae")
    assert model_release(folder)


def test_file_urls_do_not_travel_and_class_names_with_slashes_do(folder):
    names = {"0": "anger / contempt", "1": "/ none", **{str(index): f"/other{index}" for index in range(2, 7)}}
    change(folder / "config.json", id2label=names, label2id={name: int(index) for index, name in names.items()})
    change(folder / "metrics.json", recall=dict.fromkeys(names.values(), 0.25), notes="anger / contempt")
    assert "| /other2 |" in model_release(folder)["README.md"].decode()
    change(folder / "metrics.json", notes="from file:///home/me/clips")
    with pytest.raises(ValueError, match="names a path of this machine, 'file:///home/me/clips'"):
        model_release(folder)


def test_files_are_written_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "new" / "out"
    with pytest.raises(FileNotFoundError):
        write_files({"a.txt": b"a", "b.txt": tmp_path / "missing"}, target)
    assert not target.exists() and list(tmp_path.iterdir()) == []
    target.mkdir(parents=True)
    assert write_files({"a.txt": b"a", "data/b.txt": b"b"}, target) == target
    assert (target / "a.txt").read_bytes() == b"a" and (target / "data/b.txt").read_bytes() == b"b"
    assert list(target.parent.iterdir()) == [target]


def test_metrics_name_the_start_and_no_local_path(folder, tmp_path, monkeypatch):
    argv = ["/opt/me/train.py", "--data-dir", str(tmp_path / "my DFEW"), "--seed", "3"]
    command = "train.py --data-dir 'my DFEW' --seed 3"
    assert write_metrics(folder, "MCG-NJU/videomae-base", argv).base_model == "MCG-NJU/videomae-base"
    monkeypatch.chdir(tmp_path)
    # A folder here, although it reads like a repository.
    (tmp_path / "outputs" / "first").mkdir(parents=True)
    metrics = write_metrics(folder, "outputs/first", argv)
    assert metrics.base_model == "local:first" and metrics.command == command
    assert json.loads((folder / "metrics.json").read_text()) == metrics.to_dict()
    assert "base_model" not in model_release(folder)["README.md"].decode()
