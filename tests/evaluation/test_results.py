"""`metrics.json`: what is written comes back, earlier files load, and what cannot be is named."""

import dataclasses
import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modeling_hdf import TINY_SYNTHETIC
from modeling_hdf.data.files import OutputError
from modeling_hdf.evaluation import results as schema
from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.results import Results, evaluation_title, frames_text, read_results
from modeling_hdf.evaluation.summary import evaluate_predictions
from modeling_hdf.evaluation.trainings import training_results

NAMES = ["happy", "sad", "calm"]


def scores() -> dict:
    """Of 40 random predictions with two groups of clips."""
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), 40)
    table = pd.DataFrame(
        {
            "clip_id": [f"clip {number}" for number in range(40)],
            "label": generator.choice(NAMES, 40),
            "predicted": [NAMES[best] for best in probabilities.argmax(1)],
            **{f"probability_{name}": probabilities[:, number] for number, name in enumerate(NAMES)},
            "scene": generator.choice(["indoors", "outdoors"], 40),
        }
    )
    return evaluate_predictions(table, num_resamples=20)


SCORES = scores()
FIELDS = {
    "base_model": None,
    "dataset": "dfew",
    "fold": 2,
    "peer_protocol": False,
    "temporal_sampling": "uniform",
    "sampling_stride": 1,
    "num_views": 1,
    "dataset_overrides": {"seed": 3},
    "cut_splits": {"dfew": {"validation": "0123456789abcdef"}},
    "split": "test",
    "calibration_temperature": 1.5,
    **SCORES,
    "controls": {"first_war": 0.1},
    "gate_liveness": {"num_clips": 9, "layers": {"3": {"temporal": 0.2, "frequency": 1.5}}, "flipped": 0.25},
    "seed": 4,
    "environment": environment(),
    "command": "accelerate launch train.py",
    "weights_sha256": {"model.safetensors": "0" * 64},
}


def write(folder: Path, content: object) -> Path:
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def test_every_field_has_a_check():
    names = {field.name for field in dataclasses.fields(Results)} - {"others", "source"}
    assert names == set(schema._CHECKS)


def test_what_is_written_comes_back(tmp_path):
    results = Results(**FIELDS)
    results.write(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(FIELDS))
    assert read_results(tmp_path) == results
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_the_shipped_file_of_the_first_version_loads_and_is_written_as_it_was():
    content = json.loads((Path(TINY_SYNTHETIC) / "metrics.json").read_text())
    results = read_results(TINY_SYNTHETIC)
    assert results.to_dict() == content and results.others == {}
    assert results.title == "synthetic, test split" and results.frames == "uniform sampling, 1 view per clip"


def test_files_that_tell_little_load(tmp_path):
    for content in ({}, {"peer_protocol": True}, {"dataset": "dfew", "fold": 1}):
        results = read_results(write(tmp_path, content))
        assert results.to_dict() == content
    with pytest.raises(ValueError, match="metrics.json has no war, recall; evaluate the model again"):
        read_results(tmp_path, require=("dataset", "war", "recall"))


def test_nulls_that_say_something_are_kept_and_must_be_there(tmp_path):
    measured = {"model": "org/hdf", "dataset": "synthetic", "fold": None, **SCORES, "intervals": None}
    written = Results(**measured).to_dict()
    assert written == measured | {"across_datasets": None}
    with pytest.raises(ValueError, match="has no fold; evaluate"):
        read_results(write(tmp_path, {"dataset": "dfew"}))
    with pytest.raises(ValueError, match="has no base_model; evaluate"):
        read_results(write(tmp_path, {"seed": 3}))


def test_unknown_fields_are_kept(tmp_path):
    content = {"peer_protocol": True, "notes": ["filmed indoors"], "of_a_later_version": {"a": 1}}
    results = read_results(write(tmp_path, content))
    assert results.others == {name: content[name] for name in ("notes", "of_a_later_version")}
    assert results.to_dict() == content


def nested(field: str, *keys, value) -> dict:
    """The fields with one entry within a field changed."""
    changed = json.loads(json.dumps(FIELDS[field]))
    entry = changed
    for key in keys[:-1]:
        entry = entry[key]
    entry[keys[-1]] = value
    return {field: changed}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"war": math.nan}, "`war` is nan; it must be a number from 0 to 1"),
        ({"uar": 1.2}, "`uar` is 1.2; it must be a number from 0 to 1"),
        ({"ece": "0.5"}, "`ece` is '0.5'"),
        ({"macro_f1": True}, "`macro_f1` is True"),
        ({"num_clips": {}}, "`num_clips` is {}; it must be a whole number of at least 1"),
        ({"num_clips": 40.0}, "`num_clips` is 40.0"),
        ({"num_clips": 41}, "`confusion_matrix` holds 40 clips, `num_clips` is 41"),
        ({"fold": 0}, "`fold` is 0"),
        ({"fold": "1"}, "`fold` is '1'"),
        ({"split": "dev"}, "`split` is 'dev'; it must be one of train, validation, test, all"),
        ({"peer_protocol": "no"}, "`peer_protocol` is 'no'; it must be true or false"),
        ({"calibration_temperature": 0}, "`calibration_temperature` is 0; it must be a number above 0"),
        ({"calibration_temperature": math.inf}, "`calibration_temperature` is inf"),
        ({"recall": {"happy": 0.5, "sad": 0.5}}, "`recall` has 2 classes, `confusion_matrix` 3"),
        ({"recall": [0.5, 0.5, 0.5]}, r"`recall` is \[0.5, 0.5, 0.5\]; it must be an object"),
        ({"recall": {"sad": 0.1, "happy": 0.2, "calm": 0.3}}, "the classes of `intervals.recall` and `recall` differ"),
        (nested("recall", "sad", value=-0.1), "`recall.sad` is -0.1"),
        ({"confusion_matrix": [[40]] * 2}, r"`confusion_matrix` is not square: \[1, 1\]"),
        (nested("confusion_matrix", 1, 2, value=-1), r"`confusion_matrix\[1\]\[2\]` is -1"),
        (nested("confusion_matrix", 1, 2, value=0.5), r"`confusion_matrix\[1\]\[2\]` is 0.5"),
        (nested("intervals", "war", value=[0.5, 0.4]), "`intervals.war` is .*; it must be a pair"),
        (nested("intervals", "recall", "sad", value=[0.5, math.nan]), "`intervals.recall.sad` is"),
        ({"intervals": {"war": None}}, "`intervals` has no uar"),
        (nested("bootstrap", "num_units", value=None), "`bootstrap.num_units` is None"),
        (nested("reliability", "accuracy", value=[0.5]), "the lists of `reliability` differ in length"),
        (
            nested("groups", "scene", "worst", value="space"),
            "`groups.scene.worst` is 'space', which is not one of its groups",
        ),
        (nested("groups", "scene", "groups", "indoors", "war", value=7), "`groups.scene.groups.indoors.war` is 7"),
        ({"controls": {"first_war": None}}, "`controls.first_war` is None"),
        ({"gate_liveness": {"num_clips": 9, "layers": {}}}, "`gate_liveness` has no flipped"),
        ({"environment": {"torch": [2]}}, "`environment.torch` is"),
        ({"weights_sha256": "0"}, "`weights_sha256` is '0'"),
        ({"model_revision": 0}, "`model_revision` is 0"),
        ({"dataset_overrides": "{}"}, "`dataset_overrides` is '{}'; it must be an object"),
    ],
)
def test_what_cannot_be_is_named_when_read_and_before_it_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=f"^metrics.json: {message}"):
        Results(**FIELDS | changes)
    with pytest.raises(ValueError, match=f"^{tmp_path}/metrics.json: {message}"):
        read_results(write(tmp_path, FIELDS | changes))


def test_nan_in_an_unknown_field_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="metrics.json: `notes.0` is nan"):
        Results(others={"notes": [math.nan]}).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"war": 0.5', "is not JSON"),
        (b"", "is not JSON"),
        (b"[0.5]", "is not a JSON object"),
        ('{"model": "\u00e4"}'.encode("latin-1"), "is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path, content, message):
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{tmp_path}/metrics.json: {message}.*remove it and evaluate the model again"
    ):
        read_results(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="metrics.json does not exist: give a folder that training or"):
        read_results(tmp_path)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_full_disk_leaves_the_earlier_results_or_none(tmp_path, monkeypatch, is_there):
    if is_there:
        Results(**FIELDS).write(tmp_path)

    def write_half(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OutputError, match="metrics.json: cannot be written .No space left on device"):
        Results(peer_protocol=True).write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == (["metrics.json"] if is_there else [])
    assert not is_there or read_results(tmp_path) == Results(**FIELDS)


def test_results_of_a_training_name_neither_folders_nor_tokens(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    command = ["/home/me/train.py", "--hub_token", "hf_secret", "--data-dir", "/data/DFEW"]
    results = training_results(tmp_path, "/home/me/first", command, dataset="dfew", fold=1)
    assert results.base_model == "local:first"
    assert results.command == "train.py --data-dir DFEW"
    assert list(results.weights_sha256) == ["model.safetensors"]


@pytest.mark.parametrize(
    "changes, title",
    [
        ({}, "dfew fold 2, test split"),
        ({"fold": None, "split": "all", "num_views": 3}, "dfew, all splits, 3 views"),
        ({"peer_protocol": True}, "dfew fold 2, test split, PEER PROTOCOL: model selected on this split"),
    ],
)
def test_the_title_says_what_was_measured(changes, title):
    fields = {name: FIELDS[name] for name in ("dataset", "fold", "split", "num_views", "peer_protocol")}
    assert evaluation_title(**fields | changes) == Results(**FIELDS | changes).title == title


@pytest.mark.parametrize(
    "protocol, text",
    [
        (("uniform", 1, 1), "uniform sampling, 1 view per clip"),
        (("dense", 4, 2), "dense sampling with stride 4, 2 views per clip"),
        (("dense", None, 1), "dense sampling, 1 view per clip"),  # of an earlier version, which did not tell
    ],
)
def test_frames_in_words(protocol, text):
    assert frames_text(*protocol) == text
    names = ("temporal_sampling", "sampling_stride", "num_views")
    assert Results(**FIELDS | dict(zip(names, protocol, strict=True))).frames == text


def test_a_temperature_that_is_not_told_is_neither():
    temperatures = {None: None, 1.0: False, 1.5: True}
    for temperature, expected in temperatures.items():
        assert Results(**FIELDS | {"calibration_temperature": temperature}).is_calibrated is expected
