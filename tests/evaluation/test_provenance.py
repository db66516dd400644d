"""What training recorded beside a model: clips it has seen are refused, and it is measured as training measured it."""

import hashlib
import json
from pathlib import Path

import pytest
from evaluated_models import RUN, assert_error, own_dataset_cache, record, run  # noqa: F401
from trees import (
    OURS,
    write_video,
)

from modeling_hdf.data import DataArguments, DFEWConfig
from modeling_hdf.evaluation.provenance import check_unseen, chosen_protocol
from modeling_hdf.evaluation.results import Results
from modeling_hdf.evaluation.trainings import (
    measured_weights,
    recorded_training,
    training_results,
    trainings_from,
)
from modeling_hdf.hub.origin import Origin


@pytest.fixture
def model(saved_model) -> Path:
    return saved_model


def own_videos(root: Path, splits: tuple[str, ...], per_class: int = 1) -> Path:
    for split in splits:
        for number, name in enumerate(OURS):
            for index in range(per_class):
                write_video(root / split / name / f"{index}.mp4", number)
    return root


# ---- What the weights come from ----


def test_the_trainings_of_a_start_follow_its_own(tmp_path):
    assert trainings_from(None, "ravdess") == [{"base_model": None, "dataset": "ravdess"}]
    unknown = tmp_path / "unknown"
    unknown.mkdir()
    assert trainings_from(str(unknown), "dfew") == [{"base_model": "local:unknown", "dataset": "dfew"}]

    faces = trainings_from("hdf-small-faces", "ravdess,cremad")
    assert faces[0] == {"base_model": "shipped:hdf-small-faces", "dataset": "ravdess,cremad"}
    assert [each["base_model"] for each in faces[1:]] == [None] and "fer2013" in faces[1]["dataset"].split(",")
    first, second = tmp_path / "first", tmp_path / "second" / "checkpoint-5"
    first.mkdir()
    second.mkdir(parents=True)
    (second / "config.json").write_text('{"model_type": "hdf"}')
    record(first, base_model="shipped:hdf-small-faces", seed=0, trainings=faces)
    third = trainings_from(str(first), "dfew")
    told = {"fold": 1, "peer_protocol": False, "dataset_overrides": {}}  # of the start's own training
    assert third == [{"base_model": "local:first", "dataset": "dfew"}, faces[0] | told, faces[1]]
    # Of a record without the field, and of a checkpoint within a run.
    record(second.parent, base_model="org/videomae", seed=0)
    assert trainings_from(str(second), "folder")[1:] == [{"base_model": "org/videomae", "dataset": "dfew"} | told]
    record(first, model="org/other")  # what `hdf evaluate` writes
    assert trainings_from(str(first), "dfew") == [{"base_model": "local:first", "dataset": "dfew"}]


def test_only_an_hdf_model_has_a_record_of_ours(tmp_path):
    (tmp_path / "metrics.json").write_text('{"accuracy": 0.9, "recall": 0.71}')
    for config in (None, {"model_type": "videomae"}):
        if config is not None:
            (tmp_path / "config.json").write_text(json.dumps(config))
        assert len(trainings_from(str(tmp_path), "dfew")) == 1
    (tmp_path / "config.json").write_text('{"model_type": "hdf"}')
    with pytest.raises(ValueError, match="`recall` is 0.71"):
        trainings_from(str(tmp_path), "dfew")
    assert trainings_from("no/such/folder", "dfew") == [{"base_model": "local:folder", "dataset": "dfew"}]


def test_results_of_a_training_read_the_trainings_of_their_start(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    results = training_results(tmp_path, "hdf-small-faces", ["train.py"], dataset="dfew", fold=1)
    assert results.trainings == trainings_from("hdf-small-faces", "dfew")
    assert Origin.of(results).published == ["dfew", "fer2013"]


# ---- Clips that were trained on ----


def test_a_training_on_several_datasets_is_known_for_each_of_them(tmp_path):
    overrides = {"cremad": {"seed": 5, "temporal_sampling": "dense", "sampling_stride": 2}, "ravdess": {"fold": 3}}
    fields = {"dataset": "ravdess,cremad,fer2013", "fold": 1, "temporal_sampling": "segments", "sampling_stride": 1}
    record(tmp_path, **fields, dataset_overrides=overrides)
    ravdess, cremad, fer2013, other = (
        recorded_training(str(tmp_path), name) for name in ("ravdess", "cremad", "fer2013", "dfew")
    )
    assert (ravdess.dataset, ravdess.fold, ravdess.temporal_sampling) == ("ravdess", 3, "segments")
    assert (cremad.dataset, cremad.fold, cremad.dataset_overrides) == ("cremad", 1, {"seed": 5})
    assert (cremad.temporal_sampling, cremad.sampling_stride) == ("dense", 2)
    assert (fer2013.dataset, fer2013.fold, fer2013.dataset_overrides) == ("fer2013", None, {})
    assert other.dataset == "ravdess,cremad,fer2013"
    data = DataArguments(dataset="cremad", data_dir=str(tmp_path), fold=2)
    with pytest.raises(ValueError, match="trained on fold 1 of cremad"):
        check_unseen("model", cremad, data, {}, "test")
    check_unseen("model", cremad, DataArguments(dataset="cremad", data_dir=str(tmp_path), fold=1), {}, "test")


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
@pytest.mark.parametrize(
    "fields, options, message",
    [
        ({"fold": 2}, (), "trained on fold 2 of dfew, so it has seen clips of the .* split of fold 1; give --fold 2"),
        ({}, (), "record does not tell which clips.*validation split of their own, or.*by this version"),
        ({"cut_splits": {"dfew": {"validation": "0"}}}, (), "held out other clips for .*--overrides of its training"),
    ],
)
def test_clips_of_the_training_are_refused(model, dfew, capsys, command, fields, options, message):
    record(model, **fields)
    split = ("--split", "validation") if command == "evaluate" else ()
    assert run(command, model, "--dataset", "dfew", "--data-dir", dfew, "--fold", 1, *split, *options) == 1
    assert_error(capsys, message)
    assert not (model / "calibration.json").exists()


@pytest.mark.parametrize(
    "fields, overrides, split",
    [
        ({"dataset": "mafw", "fold": 2}, {"seed": 7}, "test"),  # another dataset
        ({}, {"seed": 7, "validation_fraction": 0.3}, "test"),  # given by the data, whatever is cut for validation
        ({}, {"seed": 0, "variant": "original"}, "test"),  # the same clips, in another form
        ({}, {"seed": 7}, "train"),
        ({"peer_protocol": True}, {}, "test"),  # flagged, not refused
    ],
)
def test_what_is_not_refused(fields, overrides, split):
    data = DataArguments(dataset="dfew", data_dir="DFEW", fold=1)
    check_unseen("M", Results(**{**RUN, **fields}), data, overrides, split)
    older = {name: RUN[name] for name in ("dataset", "fold")}
    check_unseen("M", Results(**older), data, {"seed": 7}, "test")


def test_splits_of_another_list_are_refused(tmp_path):
    trained = Results(dataset="folder", fold=None, dataset_overrides={"metadata": "a.csv"})
    data = DataArguments(dataset="folder", data_dir=str(tmp_path))
    check_unseen("M", trained, data, {"metadata": "a.csv"}, "test")
    with pytest.raises(ValueError, match="`metadata` was 'a.csv' and is 'b.csv'"):
        check_unseen("M", trained, data, {"metadata": "b.csv"}, "test")


def test_sizes_of_the_synthetic_faces_are_free():
    trained = {"dataset": "synthetic", "fold": None, "dataset_overrides": {"seed": 1}}
    check_unseen("M", Results(**trained), DataArguments(), {"num_test": 7, "difficulty": 2}, "test")


@pytest.mark.parametrize("split", ["train", "validation"])
def test_of_the_peer_protocol_only_the_test_split_is_measured(model, dfew, capsys, split):
    record(model, peer_protocol=True)
    assert run("evaluate", model, "--dataset", "dfew", "--data-dir", dfew, "--fold", 1, "--split", split) == 1
    assert_error(
        capsys,
        f"peer protocol, on all clips of dfew except the test split: measure the test split, not the {split} split",
    )


# ---- Where the record lies ----


def test_a_checkpoint_has_the_record_of_its_run(tmp_path, monkeypatch):
    checkpoint = tmp_path / "run" / "checkpoint-12"
    other = tmp_path / "run" / "other"
    checkpoint.mkdir(parents=True)
    other.mkdir()
    assert recorded_training(str(checkpoint), "dfew") == Results()
    record(tmp_path / "run")
    assert (
        recorded_training(str(checkpoint), "dfew")
        == recorded_training(str(tmp_path / "run"), "dfew")
        == Results(**RUN)
    )
    assert recorded_training(str(other), "dfew") == Results()
    monkeypatch.chdir(checkpoint)
    assert recorded_training(".", "dfew") == Results(**RUN)
    record(checkpoint, fold=3)
    assert recorded_training(str(checkpoint), "dfew").fold == 3


def test_the_shipped_checkpoint_has_its_own():
    assert recorded_training("hdf-tiny-synthetic", "dfew").dataset == "synthetic"


@pytest.fixture
def snapshot(tmp_path, monkeypatch) -> Path:
    """The folder of the commit 0000... of the repository owner/hdf, in the cache of the Hub."""
    snapshot = tmp_path / "models--owner--hdf" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    return snapshot


def test_a_repository_has_its_own(snapshot):
    assert recorded_training("owner/hdf", "dfew") == Results()  # offline, and not there
    record(snapshot)
    assert recorded_training("owner/hdf", "dfew") == Results(**RUN)


def test_a_record_names_the_weights_and_the_commit_of_a_repository(snapshot, tmp_path):
    (snapshot / "model.safetensors").write_bytes(b"of the Hub")
    onnx, folder = tmp_path / "model.onnx", tmp_path / "folder"
    onnx.write_bytes(b"exported")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"local")
    for model, name, content, revision in (
        ("owner/hdf", "model.safetensors", b"of the Hub", "0" * 40),
        (str(folder), "model.safetensors", b"local", None),
        (str(onnx), "model.onnx", b"exported", None),
    ):
        digests = {name: hashlib.sha256(content).hexdigest()}
        assert measured_weights(model) == {"weights_sha256": digests, "model_revision": revision}


def test_what_an_evaluation_left_is_no_training(tmp_path):
    record(tmp_path, model="somewhere")
    assert recorded_training(str(tmp_path), "dfew") == Results()


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
@pytest.mark.parametrize(
    "text, message", [("{", "metrics.json: is not JSON"), ("[]", "metrics.json: is not a JSON object")]
)
def test_a_damaged_record_is_named(model, dfew, capsys, command, text, message):
    (model / "metrics.json").write_text(text)
    assert run(command, model, "--dataset", "dfew", "--data-dir", dfew, "--fold", 1) == 1
    assert_error(capsys, f"model/{message}")


# ---- How clips are shown ----

NOTHING = {"temporal_sampling": None, "sampling_stride": None, "num_views": None}
DENSE = {"temporal_sampling": "dense", "sampling_stride": 4, "num_views": 2}


@pytest.mark.parametrize(
    "asked, trained, expected, line",
    [
        ({}, {}, ("uniform", 1, 1), "frames: uniform sampling, 1 view per clip (no metrics.json of a training run"),
        ({}, DENSE, ("dense", 4, 2), "frames: dense sampling with stride 4, 2 views per clip (as in training)"),
        ({"num_views": 1}, DENSE, ("dense", 4, 1), "1 view per clip (the training run: dense sampling with stride 4"),
        ({"temporal_sampling": "uniform"}, DENSE, ("uniform", 1, 2), "uniform sampling, 2 views"),
        ({"temporal_sampling": "dense", "sampling_stride": 2}, DENSE, ("dense", 2, 2), "stride 2"),
    ],
)
def test_the_protocol_of_the_run_is_the_default(asked, trained, expected, line):
    chosen, text = chosen_protocol(NOTHING | asked, Results(**trained))
    assert tuple(chosen[name] for name in DENSE) == expected
    assert line in text


def test_both_commands_take_the_protocol_of_the_run(model, dfew, tmp_path, capsys, monkeypatch):
    cut = {"dfew": DFEWConfig(name="fold1", data_dir=str(dfew)).cut_digests()}
    record(model, temporal_sampling="segments", sampling_stride=1, num_views=2, cut_splits=cut)
    options = ("--dataset", "dfew", "--data-dir", dfew, "--fold", 1)
    assert run("evaluate", model, *options, "--resamples", 5, "--output", tmp_path / "out") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["temporal_sampling"], metrics["num_views"]) == ("segments", 2)
    output = capsys.readouterr().out
    assert "frames: segments sampling, 2 views per clip (as in training)" in output
    assert "\nframes: segments sampling, 2 views per clip\n" in output  # among the results
    seen = []
    clips = DataArguments.clips
    monkeypatch.setattr(
        DataArguments, "clips", lambda self, *rest, **more: seen.append(self) or clips(self, *rest, **more)
    )
    # An untrained model may have none on so few clips.
    monkeypatch.setattr("modeling_hdf.cli.calibrate.fit_temperature", lambda logits, labels: 1.5)
    assert run("calibrate", model, *options) == 0
    assert [(data.temporal_sampling, data.num_views) for data in seen] == [("segments", 1)]
    assert (
        "segments sampling, 1 view per clip (the training run: segments sampling, 2 views" in capsys.readouterr().out
    )


# ---- Own videos ----


def test_own_test_videos_alone_can_be_measured(model, tmp_path, capsys):
    root = own_videos(tmp_path / "own", ("test",))
    for split in ("test", "all"):
        options = ("--split", split, "--resamples", 5, "--output", tmp_path / split)
        assert run("evaluate", model, "--dataset", "folder", "--data-dir", root, *options) == 0
        assert json.loads((tmp_path / split / "metrics.json").read_text())["num_clips"] == 7
    output = capsys.readouterr().out
    assert "7 of 7 clips (test split)" in output and "all 7 clips\n" in output
    assert json.loads((tmp_path / "all" / "metrics.json").read_text())["may_hold_training_clips"] is False
    assert run("report", tmp_path / "all", "--data-dir", root, "--clips", 0) == 0
    capsys.readouterr()
    assert run("calibrate", model, "--dataset", "folder", "--data-dir", root) == 1
    assert_error(capsys, 'Unknown split "validation"')
    with pytest.raises(ValueError, match="own: the annotation lists no clip for train"):
        DataArguments(dataset="folder", data_dir=str(root)).builder({})


def test_every_clip_of_a_folder_without_splits(model, tmp_path, capsys):
    root = own_videos(tmp_path / "own", ("",), per_class=3)
    options = ("--dataset", "folder", "--data-dir", root, "--resamples", 5)
    assert run("evaluate", model, *options) == 0
    assert "7 of 21 clips (test split); `--split all` measures every clip" in capsys.readouterr().out
    record(model, dataset="folder", fold=None, peer_protocol=True)
    assert run("evaluate", model, *options, "--split", "all", "--output", tmp_path / "out") == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["split"], metrics["num_clips"], metrics["peer_protocol"]) == ("all", 21, True)
    assert metrics["may_hold_training_clips"] is True
    assert run("report", tmp_path / "out", "--clips", 0) == 0
    assert (
        "may include some that the model was trained or selected on" in (tmp_path / "out" / "report.html").read_text()
    )
    output = capsys.readouterr().out
    assert "all 21 clips; MAY HOLD CLIPS OF THE TRAINING" in output
    assert "folder, all splits, PEER PROTOCOL" in output and "frames: " in output


def test_no_split_is_cut_where_it_is_not_measured(model, tmp_path, capsys):
    options = ("--dataset", "folder", "--resamples", 5, "--data-dir")
    for name, splits in (("own", ("",)), ("given", ("train", "test"))):
        own_videos(tmp_path / name, splits, per_class=1)
    assert run("evaluate", model, *options, tmp_path / "own") == 1
    assert_error(capsys, "No test split can be cut")
    assert run("evaluate", model, *options, tmp_path / "own", "--split", "all", "--output", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["num_clips"] == 7
    assert run("report", tmp_path / "out", "--data-dir", tmp_path / "own", "--clips", 2) == 0
    assert run("evaluate", model, *options, tmp_path / "given") == 0
    assert "7 of 14 clips (test split)" in capsys.readouterr().out


def test_all_clips_are_of_real_data_alone(model, capsys):
    assert run("evaluate", model, "--dataset", "synthetic", "--split", "all") == 2
    assert_error(capsys, "`--split all` is for real clips.*num_test")


# ---- Bad input ----


def truncated(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def wrong_head(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    names = dict(enumerate("abc"))
    config |= {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("damage", [truncated, wrong_head])
def test_damaged_weights_are_named(model, capsys, damage):
    damage(model)
    assert run("evaluate", model, "--dataset", "synthetic") == 1
    assert_error(capsys, "Model .*model cannot be loaded: ")


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"num_trian": 7}, "has 'num_trian'; synthetic has the fields .*num_train"),
        ({"data_dir": "x"}, "has 'data_dir'; synthetic has the fields "),
        ({"num_train": True}, "'num_train' of True; it must be of type int"),
        ({"duration": "long"}, "'duration' of 'long'; it must be of type float"),
    ],
)
def test_bad_builder_fields_are_named(model, capsys, overrides, message):
    assert run("evaluate", model, "--dataset", "synthetic", "--overrides", json.dumps(overrides)) == 1
    assert_error(capsys, message)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"validation_fraction": "a"}, "'validation_fraction' of 'a'; it must be of type float"),
        ({"labels": "abc"}, "'labels' of 'abc'; it must be of type tuple"),
        ({"labels": [1, 2]}, r"'labels' of \[1, 2\]"),
        ({"peer_protocol": True}, "has 'peer_protocol'; folder has the fields"),
    ],
)
def test_bad_fields_of_a_folder_are_named(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        DataArguments(dataset="folder", data_dir=str(tmp_path)).builder(overrides)


def test_good_fields_of_a_folder_are_taken(tmp_path):
    root = own_videos(tmp_path / "own", ("train", "test"), per_class=2)
    fields = {"validation_fraction": 0.5, "labels": list(OURS), "label_base": None, "cache_dir": str(tmp_path / "c")}
    config = DataArguments(dataset="folder", data_dir=str(root)).builder(fields).config
    assert config.validation_fraction == 0.5 and config.labels == tuple(OURS)
    whole = {"difficulty": 2, "cache_dir": str(tmp_path / "c")}  # JSON has whole numbers for floats
    assert DataArguments().builder(whole).config.difficulty == 2


def test_a_limit_that_is_no_number_is_named():
    with pytest.raises(ValueError, match=r"`max_missing` \(--max-missing\) is 'lots'; it must be a number of clips"):
        DataArguments(dataset="dfew", data_dir="DFEW", fold=1, max_missing="lots")
