"""`hdf report` on a tiny model and a handful of clips, and the page as a parser sees it."""

import json
import shutil
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from page_parser import Page
from PIL import Image
from scipy.special import softmax
from tiny_models import move_dam_weights, tiny_config
from trees import write_dfew

from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.cli.main import main
from modeling_hdf.data import EXPRESSIONS, SyntheticFaces
from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.metrics import expected_calibration_error
from modeling_hdf.evaluation.predictions import class_numbers, class_probabilities, read_predictions
from modeling_hdf.evaluation.results import Results
from modeling_hdf.reports import page as html_report
from modeling_hdf.reports.inspection import first_of_each_class
from modeling_hdf.reports.page import MAX_ERRORS, SECTIONS, reliability_panels, write_report

HISTORY = [{"epoch": 1.0, "loss": 2.0}, {"epoch": 1.0, "eval_loss": 1.9, "eval_war": 0.3, "eval_uar": 0.2}]


@pytest.fixture(autouse=True)
def own_dataset_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


def save_model(folder: Path, **fields) -> Path:
    model = move_dam_weights(HDFForVideoClassification(tiny_config(id2label=dict(enumerate(EXPRESSIONS)), **fields)))
    model.save_pretrained(folder)
    size = {"height": 16, "width": 24}
    HDFVideoProcessor(num_frames=4, size=size, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def overrides(tmp_path_factory) -> dict:
    fields = {"num_train": 7, "num_validation": 7, "num_test": 14, "image_size": 32, "duration": 0.8}
    fields["cache_dir"] = str(tmp_path_factory.mktemp("cache"))
    SyntheticFaces(**fields).download_and_prepare()
    return fields


@pytest.fixture(scope="module")
def rows(overrides) -> datasets.Dataset:
    return SyntheticFaces(**overrides).as_dataset("test")


@pytest.fixture(scope="module")
def finished(overrides, tmp_path_factory) -> Path:
    """A folder with everything that a run can leave, evaluation and model together."""
    root = tmp_path_factory.mktemp("finished")
    model, folder = save_model(root / "model"), root / "run"
    options = ["--dataset", "synthetic", "--overrides", json.dumps(overrides), "--resamples", "50"]
    assert main(["evaluate", str(model), *options, "--output", str(folder)]) == 0
    shutil.copytree(model, folder, dirs_exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": HISTORY}))
    change(folder, environment=environment(), command='hdf evaluate /home/ann/model --overrides \'{"a": "/home/b"}\'')
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def small_pictures(monkeypatch) -> None:
    """Drawing takes most of the time, and has tests of its own."""

    def draw(*arguments):
        file = next(argument for argument in arguments if isinstance(argument, BytesIO))
        Image.new("RGB", (1, 1)).save(file, "PNG")

    for name in ("confusion_matrix", "training_curves", "reliability", "features", "gates"):
        monkeypatch.setattr(html_report, f"plot_{name}", draw)


@pytest.fixture(scope="module")
def page(finished, rows, tmp_path_factory) -> Page:
    return Page(write_report(finished, rows, num_clips=3, output=tmp_path_factory.mktemp("page") / "page.html"))


def change(folder: Path, **fields) -> dict:
    """Sets fields of `metrics.json`; None removes one."""
    path = folder / "metrics.json"
    metrics = json.loads(path.read_text()) | fields
    metrics = {name: value for name, value in metrics.items() if value is not None or name in ("fold", "worst")}
    path.write_text(json.dumps(metrics))
    return metrics


def number(value: float) -> str:
    return f"{value:.3f}"


def test_page_has_every_section_and_stands_alone(page):
    assert page.open == []
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == list(SECTIONS)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert attributes.get("src", "data:image/png").startswith("data:image/png")
        assert attributes.get("href", "#run")[1:] in SECTIONS
        assert not any(name.startswith("on") or name in ("srcset", "style") for name in attributes)
    assert "url(" not in page.source and "@import" not in page.source
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:")
    counts = {name: len(page.pictures(name)) for name in SECTIONS}
    expected = {"curves": 1, "confusion": 1, "calibration": 1, "features": 1, "gates": 3}
    assert counts == {name: expected.get(name, 0) for name in SECTIONS}
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")


def test_numbers_are_those_of_the_metrics_file(page, finished):
    metrics = json.loads((finished / "metrics.json").read_text())

    def values(value, interval):
        return [number(value), "–" if interval is None else f"{number(interval[0])} to {number(interval[1])}"]

    liveness = metrics["gate_liveness"]
    for layer, spread in liveness["layers"].items():
        assert [layer, *(f"{100 * spread[name]:.2g} %" for name in ("temporal", "frequency"))] in page.rows
    assert f"{100 * liveness['flipped']:.1f} % of the answers change" in page.texts["gates"]
    totals = {"WAR": "war", "UAR": "uar", "macro F1": "macro_f1", "calibration error (ECE)": "ece"}
    for name, key in totals.items():
        assert [name, *values(metrics[key], metrics["intervals"][key])] in page.rows
    counts = np.sum(metrics["confusion_matrix"], axis=1)
    recalls = [
        [name, str(count), *values(metrics["recall"][name], metrics["intervals"]["recall"][name])]
        for name, count in zip(EXPRESSIONS, counts, strict=True)
    ]
    start = page.rows.index(recalls[0])
    assert page.rows[start : start + 7] == recalls  # and in the order of the classes
    for factor, report in metrics["groups"].items():
        for name, group in report["groups"].items():
            war = values(group["war"], group["intervals"] and group["intervals"]["war"])
            assert [factor, name, str(group["num_clips"]), *war, number(group["uar"])] in page.rows
    assert "50 resamples of" in page.texts["numbers"]


def test_page_names_versions_and_device_but_neither_folders_nor_people(page, finished):
    for name, value in environment().items():
        assert [name, str(value)] in page.rows
    assert 'hdf evaluate model --overrides \'{"a": "b"}\'' in page.texts["run"]
    assert "ann" not in page.texts["run"].split() and str(finished.parent) not in page.source
    assert ["model", "model"] in page.rows


def test_page_tells_how_the_frames_were_sampled(run):
    change(run, temporal_sampling="dense", sampling_stride=4, num_views=2)
    assert ["frames", "dense sampling with stride 4, 2 views per clip"] in Page(write_report(run)).rows


def test_page_tells_which_weights_the_training_started_from(run):
    told = {"base_model_revision": "c0ffee" * 6 + "c0ff", "base_model_sha256": {"model.safetensors": "0123456789" * 6}}
    start = {"base_model": "org/videomae", "dataset": "synthetic"}
    change(run, model=None, base_model="org/videomae", trainings=[start | told])
    rows = Page(write_report(run, None)).rows
    assert ["starts from", "org/videomae"] in rows
    weights = "commit c0ffeec0ffee, SHA-256 of model.safetensors 012345678901"
    assert ["weights of the start", weights] in rows
    change(run, trainings=[start])  # of an earlier version
    assert "weights of the start" not in Page(write_report(run, None)).source


def test_hostile_names_and_commands_are_text(run, rows):
    metrics = json.loads((run / "metrics.json").read_text())
    evil = r"<script>alert($\frac$)</script>"  # no formula either, for the pictures
    recall = {evil if name == "anger" else name: value for name, value in metrics["recall"].items()}
    intervals = metrics["intervals"] | {"recall": dict.fromkeys(recall)}
    change(run, recall=recall, intervals=intervals, command=f"hdf '{evil}'", model=evil, groups={})
    (run / "predictions.parquet").unlink()
    (run / "predictions.csv").unlink()
    page = Page(write_report(run))
    assert "script" not in {tag for tag, _ in page.tags}
    assert evil in page.texts["run"] and evil in page.texts["numbers"]


@pytest.mark.usefixtures("small_pictures")
def test_the_page_says_what_is_missing(run, rows):
    for name in ("trainer_state.json", "predictions.parquet", "predictions.csv"):
        (run / name).unlink()
    change(
        run, reliability=None, intervals=None, bootstrap=None, environment=None, command=None, groups=None, ece=None
    )
    page = Page(write_report(run))
    assert {
        name: len(page.pictures(name)) for name in ("curves", "confusion", "calibration", "features", "gates")
    } == {
        **dict.fromkeys(("curves", "calibration", "features", "gates"), 0),
        "confusion": 1,
    }
    assert "neither predictions.parquet nor predictions.csv" in page.texts["errors"]
    assert "no training log" in page.texts["curves"] and "no reliability" in page.texts["calibration"]
    assert "--data-dir" in page.texts["features"] and "--data-dir" in page.texts["gates"]
    assert "No intervals" in page.texts["numbers"] and "–" in page.texts["numbers"]
    assert "command was not recorded" in page.texts["run"] and "environment was not recorded" in page.texts["run"]
    for name in ("config.json", "model.safetensors"):
        (run / name).unlink()
    change(run, model=None)
    assert "This folder holds no model" in Page(write_report(run, rows)).texts["gates"]


@pytest.mark.usefixtures("small_pictures")
def test_a_model_without_dam_layers_and_few_clips_have_a_page_that_says_so(run, rows):
    save_model(run, dam_layers=[])
    for name in ("predictions.parquet", "predictions.csv"):
        (run / name).unlink()
    few = rows.select(range(4))
    matrix = [[int(row == column and row < 4) for column in range(7)] for row in range(7)]
    change(run, num_clips=4, confusion_matrix=matrix, weights_sha256=None)
    page = Page(write_report(run, few))
    assert "no DAM layers" in page.texts["gates"] and "4 clips are too few" in page.texts["features"]


def test_numbers_come_first_and_the_environment_last(page):
    assert page.source.index("WAR") < page.source.index("torchvision")
    assert list(SECTIONS)[0] == "numbers" and list(SECTIONS)[-1] == "run"
    assert "torchvision" in page.texts["run"]
    assert "A dash in place of a recall" not in page.texts["numbers"]  # every class has clips here


def test_the_most_confident_errors_are_listed_and_nothing_else(page, finished):
    table = read_predictions(finished / "predictions.parquet")
    expected = []
    for row in table.to_dict("records"):
        if row["label"] != row["predicted"]:
            confidence, true = (row[f"probability_{row[name]}"] for name in ("predicted", "label"))
            expected.append((-confidence, row["clip_id"], row["label"], row["predicted"], number(true)))
    rows = [[clip, label, guess, number(-negative), true] for negative, clip, label, guess, true in sorted(expected)]
    assert 5 < len(rows) <= MAX_ERRORS
    start = page.rows.index(rows[0])
    assert page.rows[start : start + len(rows)] == rows
    assert f"{len(rows)} of {len(rows)} wrong predictions among 14 clips" in " ".join(page.texts["errors"].split())


@pytest.mark.usefixtures("small_pictures")
def test_of_many_errors_the_page_lists_twenty_with_their_names_as_text(run):
    table = read_predictions(run / "predictions.parquet")
    wrong = table[table["label"] != table["predicted"]]
    table = pd.concat([wrong.assign(clip_id=wrong["clip_id"] + f"<b>{copy}</b>") for copy in range(5)])
    table.to_parquet(run / "predictions.parquet")
    page = Page(write_report(run))
    assert f"20 of {5 * len(wrong)} wrong predictions" in " ".join(page.texts["errors"].split())
    assert sum(row[0].endswith("</b>") for row in page.rows) == 20 and "b" not in {tag for tag, _ in page.tags}
    right = table.assign(label=table["predicted"]).drop_duplicates("clip_id")
    right.to_parquet(run / "predictions.parquet")
    assert "No clip is classified wrongly" in Page(write_report(run)).texts["errors"]


@pytest.mark.usefixtures("small_pictures")
def test_a_class_without_clips_has_no_recall(run):
    metrics = json.loads((run / "metrics.json").read_text())
    matrix = metrics["confusion_matrix"]
    matrix[2] = [0] * 7
    intervals = metrics["intervals"]
    intervals["recall"]["neutral"] = None
    counted = {"confusion_matrix": matrix, "num_clips": int(np.sum(matrix))}
    change(run, recall=metrics["recall"] | {"neutral": None}, intervals=intervals, **counted)
    page = Page(write_report(run))
    assert ["neutral", "0", "–", "–"] in page.rows
    assert "A dash in place of a recall: the class has no clip" in page.texts["numbers"]
    assert "dashes: the class has no clip" in page.texts["confusion"]


@pytest.mark.usefixtures("small_pictures")
def test_pictures_are_given_the_true_classes_and_the_models_own_answers(run, rows, monkeypatch):
    seen = {"gates": []}
    monkeypatch.setattr(html_report, "plot_features", lambda *arguments: seen.update(features=arguments))
    monkeypatch.setattr(html_report, "plot_gates", lambda clip, file, shown: seen["gates"].append((clip, shown)))
    write_report(run, rows, num_clips=8)
    features, labels, names, _ = seen["features"]
    assert names == list(EXPRESSIONS) and labels == [EXPRESSIONS[label] for label in rows["label"]]
    model = HDFForVideoClassification.from_pretrained(run)
    processor = HDFVideoProcessor.from_pretrained(run)
    outputs = [model(**processor(row["clip"]["bytes"], return_tensors="pt")) for row in rows]
    np.testing.assert_allclose(features, [output.features[0].tolist() for output in outputs], atol=1e-5)
    assert len(seen["gates"]) == 8 and all(shown for _, shown in seen["gates"])
    assert [clip.label for clip, _ in seen["gates"]] == [*EXPRESSIONS, EXPRESSIONS[0]]
    for clip, _ in seen["gates"]:
        index = rows["clip_id"][:].index(clip.clip_id)
        probabilities = softmax(outputs[index].logits[0].detach().numpy())
        assert clip.predicted == EXPRESSIONS[probabilities.argmax()]
        assert clip.probability == pytest.approx(probabilities.max(), abs=1e-5)
        assert clip.frames.shape == (4, 16, 24, 3) and set(clip.gates) == {1, 2}


def test_clips_are_the_first_of_each_class_in_turn():
    labels = [2, 2, 0, 2, 0, 1]
    assert first_of_each_class(labels, 5) == [2, 5, 0, 4, 1]
    assert first_of_each_class(labels, 9) == [2, 5, 0, 4, 1, 3]
    assert first_of_each_class(labels, 0) == []


def test_reliability_is_shown_before_and_after_the_temperature(finished):
    table = read_predictions(finished / "predictions.parquet")
    metrics = json.loads((finished / "metrics.json").read_text())
    panels = reliability_panels(Results(**metrics), table, 2.5)
    assert list(panels) == ["temperature 1, as measured", "temperature 2.5"]
    assert panels["temperature 1, as measured"]["ece"] == pytest.approx(metrics["ece"])
    scores = np.log(class_probabilities(table))
    expected = expected_calibration_error(class_numbers(table), softmax(scores / 2.5, axis=1))
    assert panels["temperature 2.5"]["ece"] == pytest.approx(expected)
    # Measured at a temperature of 2: that of 1 has to be taken back.
    panels = reliability_panels(Results(**metrics | {"calibration_temperature": 2.0}), table, 2.0)
    assert list(panels) == ["temperature 1", "temperature 2, as measured"]
    expected = expected_calibration_error(class_numbers(table), softmax(scores * 2, axis=1))
    assert panels["temperature 1"]["ece"] == pytest.approx(expected)
    assert list(reliability_panels(Results(**metrics), None, 2.5)) == ["temperature 1, as measured"]
    of_views = Results(**metrics | {"num_views": 2})
    assert list(reliability_panels(of_views, table, 2.5)) == ["temperature 1, as measured"]


@pytest.mark.usefixtures("small_pictures")
def test_a_calibrated_model_is_recognised_and_its_calibration_shown(run, rows):
    values = {"ece": 0.1234, "nll": 0.5}
    split = {"num_clips": 9, "before": values, "after": values | {"ece": 0.0321}}
    calibration = {"temperature": {"before": 1.0, "after": 1.7}, "validation": split, "test": split}
    (run / "calibration.json").write_text(json.dumps(calibration))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"calibration_temperature": 1.7}))
    page = Page(write_report(run, rows))  # the same model, though its probabilities are others now
    assert "temperature is now 1.7; all numbers above are at 1." in page.texts["calibration"]
    shown = ["validation", "9", "0.123", "0.032", "0.500", "0.500"]
    assert shown in page.rows

    (run / "calibration.json").write_text(json.dumps(calibration | {"weights_sha256": {"model.safetensors": "other"}}))
    page = Page(write_report(run))
    assert "calibration.json is of other weights" in page.texts["calibration"] and shown not in page.rows


@pytest.mark.usefixtures("small_pictures")
def test_another_model_and_other_clips_are_refused(run, rows):
    with pytest.raises(ValueError, match="has 13 of"):
        write_report(run, rows.select(range(13)))
    renamed = rows.map(lambda row: {"clip_id": "other_" + row["clip_id"]})
    with pytest.raises(ValueError, match="'other_.* is not among the predictions"):
        write_report(run, renamed)
    save_model(run)  # another one: the global generator has moved on
    for clips in (rows, None):
        with pytest.raises(ValueError, match="metrics.json is of other weights than .*run holds now"):
            write_report(run, clips)
    (run / "model.safetensors").rename(run / "aside")  # as beside a model.onnx
    assert write_report(run).is_file()
    (run / "aside").rename(run / "model.safetensors")
    change(run, weights_sha256=None)  # as earlier versions wrote it
    with pytest.raises(ValueError, match="not the measured ones"):
        write_report(run, rows)


@pytest.mark.usefixtures("small_pictures")
def test_a_clip_that_reduced_precision_moved_does_not_make_it_another_model(run, rows):
    table = read_predictions(run / "predictions.parquet")
    columns = [name for name in table if name.startswith("probability_")]
    first = table.loc[0, columns].sort_values()
    table.loc[0, [first.index[-2], first.index[-1]]] += np.array([-0.06, 0.06])
    table.to_parquet(run / "predictions.parquet")
    assert write_report(run, rows).is_file()


@pytest.mark.usefixtures("small_pictures")
def test_frames_of_a_licence_gated_dataset_are_drawn_only_when_asked_for(run, tmp_path, monkeypatch, capsys):
    write_dfew(tmp_path / "dfew")
    options = ["--dataset", "dfew", "--data-dir", str(tmp_path / "dfew"), "--fold", "1", "--resamples", "20"]
    assert main(["evaluate", str(run), *options, "--output", str(tmp_path / "out")]) == 0
    shown = []
    monkeypatch.setattr(html_report, "plot_gates", lambda clip, file, frames: shown.append(frames))
    report = ["report", str(tmp_path / "out"), "--data-dir", str(tmp_path / "dfew"), "--clips", "1"]
    assert main(report) == 0 and main([*report, "--frames", "--output", str(tmp_path / "frames.html")]) == 0
    assert shown == [False, True]
    without, with_frames = Page(tmp_path / "out" / "report.html"), Page(tmp_path / "frames.html")
    assert "frames are left out" in without.texts["gates"] and "licence-gated" not in without.texts[None]
    assert "frames are left out" not in with_frames.texts["gates"]
    assert "shows frames of DFEW: share it only if you have the right to" in with_frames.texts[None]
    assert main(["report", str(tmp_path / "out"), "--output", str(tmp_path / "bare.html")]) == 0
    assert "--data-dir" in Page(tmp_path / "bare.html").texts["gates"]


@pytest.mark.usefixtures("small_pictures")
def test_report_command_renders_the_data_of_the_run(run, overrides, capsys):
    place = {"cache_dir": overrides["cache_dir"]}  # all else is in metrics.json
    assert main(["report", str(run), "--overrides", json.dumps(place), "--clips", "0"]) == 0
    assert capsys.readouterr().out == f"report in {run / 'report.html'}\n"
    page = Page(run / "report.html")
    assert len(page.pictures("features")) == 1 and "0 clips were requested" in page.texts["gates"]
    assert "Synthetic data only" in page.texts[None]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "metrics.json").unlink(), "metrics.json does not exist: give a folder"),
        (lambda run: (run / "metrics.json").write_text("{"), "metrics.json: is not JSON"),
        (lambda run: change(run, war=None, recall=None), "metrics.json has no war, recall; evaluate"),
        (lambda run: (run / "trainer_state.json").write_text("no"), "trainer_state.json: is not JSON"),
    ],
)
def test_bad_input_ends_with_a_clear_message(run, overrides, damage, message, capsys):
    damage(run)
    assert main(["report", str(run), "--overrides", json.dumps(overrides)]) == 1
    assert message in capsys.readouterr().err
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--clips", "-1"], "--clips: -1 is no whole number"), (["--model", "x"], "--model: x: there is no such folder")],
)
@pytest.mark.usefixtures("small_pictures")
def test_bad_options_end_with_a_clear_message(run, overrides, options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(run), "--overrides", json.dumps(overrides), *options])
    assert stop.value.code == 2 and message in capsys.readouterr().err
