"""Cross-validation: means by hand, and the folds that must not be averaged."""

import json
from pathlib import Path

import numpy as np
import pytest

from modeling_hdf.cli.main import main
from modeling_hdf.evaluation.folds import aggregate_folds, read_fold
from modeling_hdf.evaluation.metrics import classification_scores

NAMES = ["happiness", "sadness", "neutral"]


def write_fold(root: Path, fold: int, **changes) -> tuple[Path, dict]:
    """The `metrics.json` of a fold with random predictions; fold 2 has no clip of the last class."""
    generator = np.random.default_rng(fold)
    labels = generator.integers(0, 2 if fold == 2 else 3, 40)
    predictions = np.where(generator.random(40) < 0.6, labels, generator.integers(0, 3, 40))
    metrics = {
        "dataset": "dfew",
        "fold": fold,
        "split": "test",
        "peer_protocol": False,
        "temporal_sampling": "uniform",
        "sampling_stride": 1,
        "num_views": 1,
        "dataset_overrides": {},
        "calibration_temperature": 1.0 + fold / 10 if fold else 1.0,  # each fold has its own
        **classification_scores(labels, predictions, NAMES),
        "ece": float(generator.random()),
        **changes,
    }
    folder = root / f"run_{len(list(root.iterdir()))}"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder, metrics


@pytest.fixture
def folds(tmp_path):
    """Folders and metrics of the five folds of DFEW, not in their order."""
    return [write_fold(tmp_path, fold) for fold in (3, 1, 5, 2, 4)]


def aggregate(folds, **options) -> dict:
    return aggregate_folds([read_fold(folder) for folder, _ in folds], **options)


def test_each_fold_mean_and_deviation(folds):
    result = aggregate(folds)
    assert [fold["fold"] for fold in result["folds"]] == [1, 2, 3, 4, 5]
    by_number = {metrics["fold"]: (folder, metrics) for folder, metrics in folds}
    for fold in result["folds"]:
        folder, metrics = by_number[fold["fold"]]
        assert fold["folder"] == str(folder)
        assert {name: fold[name] for name in ("war", "uar", "macro_f1", "ece", "recall", "num_clips")} == {
            name: metrics[name] for name in ("war", "uar", "macro_f1", "ece", "recall", "num_clips")
        }
    for name in ("war", "uar", "macro_f1", "ece"):
        values = [metrics[name] for _, metrics in folds]
        mean = sum(values) / 5
        assert result["mean"][name] == pytest.approx(mean)
        deviation = (sum((value - mean) ** 2 for value in values) / 4) ** 0.5
        assert result["standard_deviation"][name] == pytest.approx(deviation)
    neutral = [metrics["recall"]["neutral"] for _, metrics in folds if metrics["fold"] != 2]
    assert result["mean"]["recall"]["neutral"] == pytest.approx(sum(neutral) / 4)
    assert result["standard_deviation"]["recall"]["neutral"] == pytest.approx(np.std(neutral, ddof=1))
    total = sum(np.array(metrics["confusion_matrix"]) for _, metrics in folds)
    assert result["confusion_matrix"] == total.tolist() and result["num_clips"] == 200
    assert result["missing_folds"] == [] and result["dataset"] == "dfew"


def test_a_class_with_clips_in_no_fold_has_no_mean(tmp_path):
    recall = {"happiness": 0.5, "sadness": 0.25, "neutral": None}
    folds = [write_fold(tmp_path, fold, recall=recall) for fold in (1, 2)]
    result = aggregate(folds, allow_missing=True)
    assert result["mean"]["recall"]["neutral"] is None and result["standard_deviation"]["recall"]["neutral"] is None


def test_a_missing_fold_is_named_and_allowed_only_when_asked_for(folds):
    there = [fold for fold in folds if fold[1]["fold"] != 3]
    with pytest.raises(ValueError, match="dfew has 5 folds; missing: 3. .*--allow-missing-folds"):
        aggregate(there)
    result = aggregate(there, allow_missing=True)
    assert result["missing_folds"] == [3]
    assert result["mean"]["war"] == pytest.approx(np.mean([metrics["war"] for _, metrics in there]))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dataset": "mafw"}, "`dataset` is 'dfew' in .* and 'mafw' in"),
        ({"peer_protocol": True}, "`peer_protocol` is False in .* and True in"),
        ({"num_views": 2}, "`num_views` is 1 in .* and 2 in"),
        ({"sampling_stride": 2}, "`sampling_stride` is 1 in .* and 2 in"),
        ({"dataset_overrides": {"seed": 1}}, "`dataset_overrides` is {} in .* and {'seed': 1} in"),
        ({"calibration_temperature": 1.0}, "`calibrated` is True in .* and False in"),
        (
            {"recall": {"happiness": 1.0, "fear": 0.0, "neutral": 0.5}},
            "label sets: happiness, sadness.*happiness, fear",
        ),
        ({"recall": {"sadness": 1.0, "happiness": 0.0, "neutral": 0.5}}, "different label sets"),
        ({"fold": 4}, "Fold 4 is given twice: .*run_4 and .*run_5"),
    ],
)
def test_folds_that_do_not_belong_together_are_named(folds, tmp_path, changes, message):
    there = [fold for fold in folds if fold[1]["fold"] != 5]
    with pytest.raises(ValueError, match=message):
        aggregate([*there, write_fold(tmp_path, **{"fold": 5, **changes})])


def test_folders_without_a_fold_are_named(folds, tmp_path):
    with pytest.raises(ValueError, match="at least two folds; got 1"):
        aggregate(folds[:1])
    with pytest.raises(FileNotFoundError, match="nowhere.*metrics.json does not exist"):
        read_fold(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="of ferv39k without a fold"):
        read_fold(write_fold(tmp_path, None, dataset="ferv39k")[0])
    with pytest.raises(ValueError, match="is of the dataset 'afew'; known are synthetic, dfew"):
        read_fold(write_fold(tmp_path, 1, dataset="afew")[0])
    folder, metrics = write_fold(tmp_path, 1)
    del metrics["confusion_matrix"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="has no confusion_matrix; evaluate the model again"):
        read_fold(folder)
    (folder / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match="metrics.json: is not JSON"):
        read_fold(folder)


def test_files_that_do_not_tell_are_equal_only_to_each_other(folds):
    for folder, metrics in folds:
        older = {name: metrics[name] for name in metrics if name not in ("sampling_stride", "calibration_temperature")}
        (folder / "metrics.json").write_text(json.dumps(older))
    result = aggregate(folds)
    assert result["sampling_stride"] is None and result["calibrated"] is None
    (folds[0][0] / "metrics.json").write_text(json.dumps(folds[0][1]))
    with pytest.raises(ValueError, match="`sampling_stride` is"):
        aggregate(folds)


def test_the_command_prints_each_fold_and_the_result_as_json(folds, capsys):
    folders = [str(folder) for folder, _ in folds]
    assert main(["folds", *folders, "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result == aggregate(folds)
    lines = printed.err.splitlines()
    assert lines[0] == "dfew, test split"
    assert lines[2].split()[:2] == ["fold", "1"]
    assert lines[2].split()[2] == f"{result['folds'][0]['war']:.3f}"
    assert lines[7].split()[:3] == ["mean", f"{result['mean']['war']:.3f}", f"{result['mean']['uar']:.3f}"]
    assert lines[8].split()[2] == f"{result['standard_deviation']['war']:.3f}"
    neutral = result["mean"]["recall"]["neutral"], result["standard_deviation"]["recall"]["neutral"]
    assert lines[-1].split() == ["neutral", f"{neutral[0]:.3f}", "+-", f"{neutral[1]:.3f}"]


def test_clips_that_could_not_be_read_are_counted_by_fold(tmp_path, capsys):
    lost = [{"clip_id": "7", "message": "7.mp4: no frame can be decoded"}, {"clip_id": "8", "message": "8.mp4: gone"}]
    told = [{"unreadable": []}, {"unreadable": lost}, {}, {"unreadable": lost[:1]}, {"unreadable": []}]
    folders = [write_fold(tmp_path, fold, **more)[0] for fold, more in enumerate(told, start=1)]
    assert main(["folds", *map(str, folders), "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert [fold["num_unreadable"] for fold in result["folds"]] == [0, 2, None, 1, 0] and result["num_unreadable"] == 3
    line = "clips that could not be read, and count in no figure: 2 of fold 2, 1 of fold 4"
    assert printed.err.splitlines()[1] == line


def test_the_command_says_what_is_missing(folds, capsys):
    folders = [str(folder) for folder, metrics in folds if metrics["fold"] not in (2, 4)]
    assert main(["folds", *folders]) == 1
    assert "hdf folds: error: dfew has 5 folds; missing: 2, 4." in capsys.readouterr().err
    assert main(["folds", *folders, "--allow-missing-folds"]) == 0
    assert "dfew, test split; WITHOUT FOLD 2, 4" in capsys.readouterr().out
