"""Splits that are cut from training clips, every clip of a dataset, and clips that a start was trained on."""

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from evaluated_models import assert_error, own_dataset_cache, record, run  # noqa: F401
from huggingface_hub.errors import GatedRepoError
from trees import (
    CREMAD_LABELS,
    OURS,
    fer2013_stills,
    write_cremad,
    write_dfew,
    write_fer2013,
    write_fer2013_folders,
    write_video,
)

from modeling_hdf import SMALL_FACES
from modeling_hdf.cli import train
from modeling_hdf.cli.main import main
from modeling_hdf.cli.training_data import Part
from modeling_hdf.data import DataArguments, DFEWConfig, FER2013Config
from modeling_hdf.data.builders.cremad import CREMADConfig
from modeling_hdf.data.builders.folder import VideoFolderConfig
from modeling_hdf.evaluation import trainings as trainings_module
from modeling_hdf.evaluation.provenance import check_same_cut, check_unseen
from modeling_hdf.evaluation.results import Results
from modeling_hdf.evaluation.trainings import recorded_training, trainings_from, trainings_of_run
from modeling_hdf.training.runs import write_record

FOLDERS = ("--dataset", "fer2013", "--resamples", 5, "--data-dir")


@pytest.fixture
def model(saved_model) -> Path:
    return saved_model


@pytest.fixture
def fer2013(tmp_path) -> Path:
    """FER2013 as folders, whose validation split is cut from Training."""
    write_fer2013_folders(tmp_path / "FER2013", fer2013_stills(6))
    return tmp_path / "FER2013"


def held_out(digests: dict[str, str], **fields) -> dict:
    return {"dataset": "fer2013", "fold": None, "cut_splits": {"fer2013": digests}, **fields}


# ---- Splits that are cut from training clips ----


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_the_shipped_checkpoint_is_not_measured_on_a_cut_of_its_training_stills(fer2013, tmp_path, capsys, command):
    model = shutil.copytree(SMALL_FACES, tmp_path / "faces")
    split = ("--split", "validation", "--resamples", 5) if command == "evaluate" else ()
    assert run(command, model, "--dataset", "fer2013", "--data-dir", fer2013, *split) == 1
    assert_error(capsys, "FER2013 gives no validation split.*record does not tell.*of their own .fer2013.*PublicTest_")
    assert not (model / "calibration.json").exists()


def test_given_splits_are_measured_and_a_cut_of_training_on_request(fer2013, tmp_path, capsys):
    assert run("evaluate", "hdf-small-faces", *FOLDERS, fer2013) == 0  # test/
    assert "SELECTED ON" not in capsys.readouterr().out  # a tenth of Training selected it, not PublicTest
    assert run("evaluate", "hdf-small-faces", *FOLDERS, fer2013, "--split", "train") == 0
    write_fer2013(tmp_path / "table" / "fer2013.csv", fer2013_stills())
    assert run("evaluate", "hdf-small-faces", *FOLDERS, tmp_path / "table", "--split", "validation") == 0
    assert "7 of 28 clips (validation split)" in capsys.readouterr().out  # PublicTest


def test_a_cut_is_measured_if_training_held_out_the_same_clips(model, fer2013, capsys):
    validation = ("--split", "validation")
    config = FER2013Config(data_dir=str(fer2013))
    record(model, **held_out(config.cut_digests()))
    assert run("evaluate", model, *FOLDERS, fer2013, *validation) == 0
    Path(next(clip.path for clip in config.listing.clips if clip.split == "validation")).unlink()
    assert run("evaluate", model, *FOLDERS, fer2013, *validation) == 1
    assert_error(capsys, "training held out other clips for validation")
    record(model, **held_out({}))  # trained on the table, with PublicTest as validation
    assert run("evaluate", model, *FOLDERS, fer2013, *validation) == 1
    assert_error(capsys, "training cut no validation split.*of their own")


@pytest.mark.parametrize(
    ("trained", "named", "may"),
    [
        ({}, False, True),  # on the table: PublicTest selected the epoch, and test/ holds it too
        ({}, True, False),  # the names of the stills tell
        ({"validation": "0"}, False, False),  # on folders: neither part of test/ was used
    ],
)
def test_stills_that_may_have_selected_the_model_are_told(model, tmp_path, capsys, trained, named, may):
    write_fer2013_folders(tmp_path / "stills", fer2013_stills(6), named)
    record(model, **held_out(trained))
    assert run("evaluate", model, *FOLDERS, tmp_path / "stills", "--output", tmp_path / "out") == 0
    measured = capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["may_hold_training_clips"] is may
    options = ("--corruptions", "grey", "--severities", 1)
    assert run("robustness", model, "--dataset", "fer2013", "--data-dir", tmp_path / "stills", *options) == 0
    for output in (measured, capsys.readouterr().out):
        assert ("MAY HOLD CLIPS THAT THE MODEL WAS SELECTED ON" in output) is may
    assert run("report", tmp_path / "out") == 0
    assert (
        "may include some that the model was trained or selected on" in (tmp_path / "out" / "report.html").read_text()
    ) is may


@pytest.mark.parametrize(("usages", "may"), [(("PrivateTest",), False), (("PrivateTest", "Other"), True)])
def test_stills_of_private_test_alone_are_known_by_their_names(tmp_path, usages, may):
    write_fer2013_folders(tmp_path / "stills", fer2013_stills(6), named=True)
    for public in list(tmp_path.glob("stills/test/*/PublicTest_*")):
        public.rename(public.with_name(public.name.replace("PublicTest", usages[-1])))
    assert FER2013Config(data_dir=str(tmp_path / "stills")).may_test_validation_clips() is may


def test_a_digest_depends_on_the_clips_that_are_held_out_and_not_on_their_place(dfew, tmp_path):
    def digests(root: Path, **fields) -> dict[str, str]:
        return DFEWConfig(name="fold1", data_dir=str(root), **fields).cut_digests()

    write_dfew(tmp_path / "copy")
    assert digests(dfew) == digests(tmp_path / "copy") and set(digests(dfew)) == {"validation"}
    assert digests(dfew) != digests(dfew, seed=7)
    assert digests(dfew, peer_protocol=True) == {}


@pytest.mark.parametrize("named", [True, False])
def test_training_goes_on_from_the_shipped_checkpoint_if_the_stills_give_their_validation_split(tmp_path, named):
    write_fer2013_folders(tmp_path / "FER2013", fer2013_stills(6), named)
    data = DataArguments(dataset="fer2013", data_dir=str(tmp_path / "FER2013"))
    part = Part(data, {}, data.builder({}), {})
    trainings = trainings_from("hdf-small-faces", "fer2013")
    if named:
        train._check_start("hdf-small-faces", trainings, {"fer2013": part})
    else:
        with pytest.raises(ValueError, match=r"hdf-small-faces was trained on fer2013.*\(fer2013.csv, .*PublicTest_"):
            train._check_start("hdf-small-faces", trainings, {"fer2013": part})


def test_a_run_is_not_tested_again_on_other_clips_than_it_held_out(tmp_path):
    def add(*indices: int) -> dict[str, dict[str, str]]:
        for name, index in itertools.product(OURS, indices):
            write_video(tmp_path / "own" / name / f"{index}.mp4")
        return {"folder": VideoFolderConfig(data_dir=str(tmp_path / "own")).cut_digests()}

    run_folder = tmp_path / "run"
    run_folder.mkdir()
    before = add(*range(4))
    train._check_held_out(str(run_folder), {"cut_splits": before})  # a new run
    (run_folder / "model.safetensors").touch()
    write_record(run_folder, {"seed": 0, "cut_splits": before})
    train._check_held_out(str(run_folder), {"cut_splits": before})
    after = add(*range(4, 7))
    with pytest.raises(ValueError, match="run holds a run on folder that held out other clips, because the data"):
        train._check_held_out(str(run_folder), {"cut_splits": after})
    write_record(run_folder, {"seed": 0})
    with pytest.raises(ValueError, match="that an earlier version trained, .*: use `hdf evaluate`"):
        train._check_held_out(str(run_folder), {"cut_splits": after})
    train._check_held_out(str(run_folder), {"cut_splits": {"fer2013": {}}})  # nothing is cut


# ---- Every clip ----


@pytest.fixture
def cremad(tmp_path) -> Path:
    write_cremad(tmp_path / "CREMA-D", (1001, 1003, 1006))
    return tmp_path / "CREMA-D"


def test_every_clip_of_a_dataset_with_folds(model, cremad, tmp_path, capsys):
    record(model, dataset="ravdess,fer2013")
    options = ("--dataset", "cremad", "--data-dir", cremad, "--split", "all", "--resamples", 5)
    assert run("evaluate", model, *options, "--group-by", "sex", "age", "--output", tmp_path / "out") == 0
    assert "all 18 clips\n" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (metrics["split"], metrics["fold"], metrics["num_clips"]) == ("all", None, 18)
    assert [sum(row) for row in metrics["confusion_matrix"]] == [3] * len(CREMAD_LABELS)
    assert metrics["bootstrap"]["num_units"] == 3  # actors
    header, *rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert "fold" not in header and {row.split("_")[0].strip('"') for row in rows} == {"1001", "1003", "1006"}
    assert run("report", tmp_path / "out", "--data-dir", cremad, "--model", model, "--clips", 1) == 0


def test_a_factor_that_needs_a_missing_table_names_the_table_and_its_source(model, cremad, capsys):
    table = cremad / "VideoDemographics.csv"
    content = table.read_bytes()
    table.unlink()
    options = ("--dataset", "cremad", "--data-dir", cremad, "--split", "all", "--resamples", 5, "--group-by")
    assert run("evaluate", model, *options, "sex", "race") == 1
    assert_error(
        capsys,
        "no column sex, race to group by; their factors: level. "
        f"{cremad}: holds no VideoDemographics.csv, .*https://github.com/CheyneyComputerScience/CREMA-D.$",
    )
    assert run("evaluate", model, *options, "scene") == 1
    assert "VideoDemographics" not in capsys.readouterr().err  # it would not help
    table.write_bytes(content)
    assert run("evaluate", model, *options, "sex", "race") == 0


@pytest.mark.parametrize("trained", ["cremad", "ravdess,cremad"])
def test_every_clip_is_refused_to_a_model_that_was_trained_on_the_dataset(model, cremad, capsys, trained):
    record(model, dataset=trained)
    assert run("evaluate", model, "--dataset", "cremad", "--data-dir", cremad, "--split", "all") == 1
    assert_error(capsys, "was trained on cremad, so it has seen some of its clips: measure the test split")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--split", "all", "--fold", 1), 2, "all folds: leave --fold out"),
        ((), 1, "`fold` is missing; cremad has folds 1 to 5: give one"),
    ],
)
def test_a_fold_is_given_for_a_split_and_not_for_every_clip(model, cremad, capsys, options, code, message):
    assert run("evaluate", model, "--dataset", "cremad", "--data-dir", cremad, *options) == code
    assert_error(capsys, message)


# ---- Clips that a start was trained on ----


def test_clips_of_a_start_are_refused(cremad, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    config = CREMADConfig(name="fold1", data_dir=str(cremad))
    others = (CREMADConfig(name="fold1", data_dir=str(cremad), seed=seed) for seed in range(1, 20))
    other = next(each.seed for each in others if each.cut_digests() != config.cut_digests())
    first.mkdir()
    record(first, dataset="cremad", fold=1, base_model=None, seed=0, cut_splits={"cremad": config.cut_digests()})
    second.mkdir()
    trainings = trainings_from(str(first), "ravdess")
    record(second, dataset="ravdess", fold=1, base_model="local:first", seed=0, trainings=trainings)
    evaluated = recorded_training(str(second), "cremad")
    for trained in (evaluated, Results(trainings=trainings_from(str(second), "cremad"))):  # the latter as in training
        for fold, split, seed, message in (
            (2, "test", 0, "trained on fold 1 of cremad"),
            (None, "all", 0, "has seen some of its clips"),
            (1, "validation", 0, None),
            (1, "test", other, None),
            (1, "validation", other, "held out other clips for validation"),
        ):
            _check(trained, cremad, fold, split, seed, message)
    unknown = Results(trainings=[{"base_model": None, "dataset": "mafw"}, {"base_model": None, "dataset": "cremad"}])
    _check(unknown, cremad, 1, "test", 0, "trained on fold None of cremad")  # as earlier versions wrote it


def _check(trained: Results, root: Path, fold: int | None, split: str, seed: int, message: str | None) -> None:
    def check() -> None:
        data = DataArguments(dataset="cremad", data_dir=str(root), fold=fold or 1)
        check_unseen("M", trained, data, {"seed": seed}, split)
        config = CREMADConfig(name=f"fold{fold or 1}", data_dir=str(root), seed=seed)
        check_same_cut("M", trained, config, "cremad", split)

    if message is None:
        check()
    else:
        with pytest.raises(ValueError, match=message):
            check()


def test_given_clips_of_a_start_are_measured_and_a_cut_is_not(model, fer2013, capsys):
    trainings = [{"base_model": "local:first", "dataset": "dfew"}, *trainings_from("hdf-small-faces", "ravdess")]
    record(model, base_model="local:first", seed=0, trainings=trainings)
    assert run("evaluate", model, *FOLDERS, fer2013) == 0  # test/
    assert run("evaluate", model, *FOLDERS, fer2013, "--split", "validation") == 1
    assert_error(capsys, "trained on fer2013, and its record does not tell.*by this version")
    assert run("evaluate", model, *FOLDERS, fer2013, "--split", "all") == 1
    assert_error(capsys, "trained on fer2013, so it has seen some of its clips")


def test_training_does_not_test_on_clips_of_its_start(model, cremad, tmp_path, capsys):
    record(model, dataset="cremad", fold=1, cut_splits={"cremad": {}})
    options = ("--data-dir", cremad, "--fold", 2, "--model_name_or_path", model, "--output_dir", tmp_path / "out")
    assert main(["train", "--recipe", "cremad", *map(str, options), "--use_cpu", "true"]) == 1
    assert_error(capsys, "model was trained on fold 1 of cremad.*give --fold 1")
    assert not list((tmp_path / "out").glob("*.json"))


def test_training_takes_a_start_of_another_folder_and_says_so(tmp_path, capsys):
    for name in OURS:
        for index in range(4):
            write_video(tmp_path / "second" / name / f"{index}.mp4")
    data = DataArguments(dataset="folder", data_dir=str(tmp_path / "second"))
    part = Part(data, {}, data.builder({}), {})
    start = {"base_model": None, "dataset": "folder", "dataset_overrides": {"metadata": "a.csv"}, "cut_splits": {}}
    trainings = [{"base_model": "local:first", "dataset": "folder"}, start]
    train._check_start("first", trainings, {"folder": part})
    assert "first was trained on a folder of clips. If it was this one, it" in capsys.readouterr().out
    cut = part.builder.config.cut_digests()
    trained = Results(dataset="folder", dataset_overrides={}, cut_splits={"folder": cut}, trainings=trainings)
    for split in ("validation", "test"):  # its own, whatever the start was trained on
        check_unseen("M", trained, data, {}, split)
        check_same_cut("M", trained, part.builder.config, "folder", split)


@pytest.mark.parametrize("fields", [{}, {"fold": None, "trainings": [{"base_model": "org/x", "dataset": "folder"}]}])
def test_clips_that_a_start_was_pretrained_on_are_known(model, tmp_path, capsys, fields):
    pretrained = tmp_path / "run" / "checkpoint-5"  # a record of an earlier version, and one of today
    pretrained.mkdir(parents=True)
    (pretrained / "config.json").write_text('{"model_type": "videomae"}')
    told = {"base_model": "org/x", "dataset": "folder", "num_clips": 9, "seed": 0, "num_steps": 2, **fields}
    (pretrained.parent / "pretraining.json").write_text(json.dumps(told))
    trainings = trainings_from(str(pretrained), "dfew")
    assert trainings == [
        {"base_model": "local:checkpoint-5", "dataset": "dfew"},
        {"base_model": "org/x", "dataset": "folder"},
    ]
    write_dfew(tmp_path / "dfew")
    data = DataArguments(dataset="dfew", data_dir=str(tmp_path / "dfew"), fold=1)
    train._check_start("P", trainings, {"dfew": Part(data, {}, data.builder({}), {})})
    assert "P was trained on a folder of clips. If it held clips of dfew, it" in capsys.readouterr().out

    record(model, base_model="local:checkpoint-5", seed=0, trainings=trainings)
    for name in OURS:
        for index in range(3):
            write_video(tmp_path / "own" / name / f"{index}.mp4")
    own = ("--dataset", "folder", "--data-dir", tmp_path / "own", "--resamples", 5)
    assert run("evaluate", model, *own) == 1
    assert_error(capsys, "model was trained on folder")
    assert run("evaluate", model, *own, "--split", "all") == 0
    assert "MAY HOLD CLIPS OF THE TRAINING" in capsys.readouterr().out


def test_training_says_that_nothing_tells_what_its_start_was_trained_on(model, capsys):
    start = str(model)
    train._check_start(start, trainings_from(start, "folder"), {})
    assert "No metrics.json beside" in capsys.readouterr().out
    record(model)
    train._check_start(start, trainings_from(start, "folder"), {})
    assert not capsys.readouterr().out


def test_a_start_that_gives_no_access_does_not_count_as_one_without_a_record(monkeypatch):
    def refuse(*_, **__):
        raise GatedRepoError("Access is restricted", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr("transformers.utils.hub.hf_hub_download", refuse)
    with pytest.raises(OSError, match="gated repo.*\n.*access to it at .*org/faces"):
        trainings_from("org/faces", "dfew")


def test_another_folder_is_measured_whole(tmp_path):
    for name in OURS:
        for index in range(3):
            write_video(tmp_path / name / f"{index}.mp4")
    config = VideoFolderConfig(data_dir=str(tmp_path))
    trained = Results(dataset="folder", fold=None, cut_splits={"folder": {"test": "0"}})
    check_same_cut("M", trained, config, "folder", "all")
    with pytest.raises(ValueError, match="`hdf evaluate --split all` measures every clip of another folder"):
        check_same_cut("M", trained, config, "folder", "test")


def test_spaces_between_names_change_nothing():
    assert DataArguments(dataset=" ravdess, fer2013", data_dir="D", fold=1).dataset == "ravdess,fer2013"
    described = DataArguments(dataset="ravdess , cremad", data_dir="D", fold=1).described({})
    data = DataArguments(dataset="cremad", data_dir="D", fold=2)
    with pytest.raises(ValueError, match="trained on fold 1 of cremad"):
        check_unseen("M", Results(**{name: described[name] for name in ("dataset", "fold")}), data, {}, "test")


def test_a_run_that_goes_on_keeps_its_trainings_without_its_start(tmp_path, monkeypatch):
    def trainings(start: str, dataset: str = "dfew") -> list[dict]:
        return trainings_of_run(tmp_path, start, dataset)

    known = [{"base_model": "org/faces", "dataset": "dfew"}, {"base_model": None, "dataset": "fer2013"}]
    write_record(tmp_path, {"trainings": known})
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setattr(
        trainings_module, "trainings_from", lambda start, dataset: [{"base_model": start, "dataset": dataset}]
    )
    assert trainings("org/faces") == known
    assert trainings("org/other") == [{"base_model": "org/other", "dataset": "dfew"}]
    assert len(trainings("org/faces", "mafw")) == 1
    (tmp_path / "model.safetensors").unlink()  # a record without a run
    assert len(trainings("org/faces")) == 1
