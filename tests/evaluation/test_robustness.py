"""`hdf robustness` on a tiny model, against a plain loop and hand-made scores."""

import json

import numpy as np
import pytest
import torch
from evaluated_models import assert_error, own_dataset_cache, run, save_model  # noqa: F401
from sklearn.metrics import balanced_accuracy_score

from modeling_hdf.cli.text import robustness_lines
from modeling_hdf.data import SyntheticFaces, load_clip
from modeling_hdf.data.corruptions import CORRUPTIONS, corrupt
from modeling_hdf.data.frame_sampling import TemporalSampling
from modeling_hdf.evaluation.robustness import CLEAN, mean_corruption_error, partners, read_robustness, summarize
from modeling_hdf.inference import load_classifier
from modeling_hdf.reports.page import write_report

CHOSEN = ["swapped", "foreign", "noise"]


@pytest.fixture(scope="module")
def overrides(tmp_path_factory) -> dict:
    fields = {"num_train": 7, "num_validation": 7, "num_test": 14, "image_size": 32, "duration": 0.8}
    fields["cache_dir"] = str(tmp_path_factory.mktemp("cache"))
    SyntheticFaces(**fields).download_and_prepare()
    return fields


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def measured(saved, overrides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new"
    options = ("--overrides", json.dumps(overrides), "--corruptions", *CHOSEN, "--severities", 2, 5, "--seed", 3)
    assert run("robustness", saved, "--dataset", "synthetic", *options, "--output", folder) == 0
    return folder


def answers(saved, rows, name, severity) -> np.ndarray:
    """Predicted classes of a plain loop over clips."""
    model, processor = load_classifier(str(saved))
    foreign_rows = partners(rows, 3)
    references = [
        torch.from_numpy(load_clip(row, sample=TemporalSampling(num_frames=64).view())).movedim(-1, -3) for row in rows
    ]
    found = []
    for index, row in enumerate(rows):
        frames = references[index]
        if name != "clean":
            options = {"seed": 3, "clip_id": row["clip_id"], "foreign": references[foreign_rows[index]]}
            frames = corrupt(frames, name, severity, **options)
        chosen = list(frames[[8, 24, 40, 56]])  # the middles of four quarters of 64 frames
        pixel_values = processor([torch.stack(chosen)], do_sample_frames=False, return_tensors="pt").pixel_values
        with torch.no_grad():
            found.append(model(pixel_values).logits[0].argmax().item())
    return np.array(found)


def test_scores_are_those_of_a_plain_loop(measured, saved, overrides):
    rows = SyntheticFaces(**overrides).as_dataset("test")
    result = read_robustness(measured / "robustness.json")
    assert list(result["corruptions"]) == CHOSEN and result["num_clips"] == 14
    labels = np.array(rows["label"][:])
    conditions = [("clean", 0), *((name, level) for name in CHOSEN for level in (2, 5))]
    for name, level in conditions:
        found = answers(saved, rows, name, level)
        scores = result["clean"] if name == "clean" else result["corruptions"][name]["severities"][str(level)]
        assert scores["war"] == pytest.approx((found == labels).mean(), abs=0.08)  # one clip may tip over
        assert scores["uar"] == pytest.approx(balanced_accuracy_score(labels, found), abs=0.08)
    assert (measured / "robustness.png").stat().st_size > 0
    for name, each in result["corruptions"].items():
        assert each["kind"] == ("style" if name == "noise" else "sequence")


def test_foreign_frames_come_from_another_class_and_another_person(overrides):
    rows = SyntheticFaces(**overrides).as_dataset("test")
    chosen = partners(rows, 0)
    labels, people = np.array(rows["label"][:]), np.array(rows["identity"][:])
    assert (labels[chosen] != labels).all()
    alone = [i for i in range(len(rows)) if not ((labels != labels[i]) & (people != people[i])).any()]
    assert all(people[chosen[i]] != people[i] for i in range(len(rows)) if i not in alone)
    with pytest.raises(ValueError, match="one class"):
        partners(rows.filter(lambda row: row["label"] == 0), 0)


SCORES = {
    CLEAN: {"war": 0.9, "uar": 0.8},
    ("black", 1): {"war": 0.8, "uar": 0.6},
    ("black", 2): {"war": 0.4, "uar": 0.2},
    ("blur", 1): {"war": 0.8, "uar": 0.8},
    ("blur", 2): {"war": 0.8, "uar": 0.6},
}


def hand_made(**changes) -> dict:
    return {"title": "t", "num_clips": 5, "seed": 0, "reference_frames": 64, **summarize(SCORES), **changes}


def test_the_summary_is_that_of_a_hand_calculation():
    result = summarize(SCORES)
    assert result["corruptions"]["black"]["uar"] == pytest.approx(0.4)
    assert result["corruptions"]["black"]["relative"] == pytest.approx(0.5)
    assert result["kinds"] == {
        "sequence": {"uar": pytest.approx(0.4), "relative": pytest.approx(0.5)},
        "style": {"uar": pytest.approx(0.7), "relative": pytest.approx(0.875)},
    }
    worse = summarize(SCORES | {("blur", 1): {"war": 0.4, "uar": 0.4}, ("blur", 2): {"war": 0.4, "uar": 0.4}})
    # black: 0.6 / 0.6; blur: 0.6 / 0.3
    assert mean_corruption_error(hand_made(**worse), hand_made()) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_clips": 6}, "num_clips 6"),
        ({"title": "other"}, "title 'other'"),
        ({"corruptions": {}}, "other corruptions"),
    ],
)
def test_a_baseline_of_another_measurement_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        mean_corruption_error(hand_made(), hand_made(**changes))


def test_a_baseline_gives_the_mean_corruption_error(measured, saved, overrides, capsys):
    options = ("--overrides", json.dumps(overrides), "--corruptions", *CHOSEN, "--severities", 2, 5, "--seed", 3)
    baseline = ("--baseline", measured / "robustness.json")
    assert run("robustness", saved, "--dataset", "synthetic", *options, *baseline, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["mean_corruption_error"] == pytest.approx(1.0)
    assert any(line.startswith("mean corruption error 1.000") for line in robustness_lines(result))


def test_fewer_clips_and_unknown_names(saved, overrides, capsys):
    options = ("--overrides", json.dumps(overrides), "--corruptions", "black", "--severities", 1, "--max-clips", 9)
    assert run("robustness", saved, "--dataset", "synthetic", *options, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_clips"] == 9
    assert run("robustness", saved, "--dataset", "synthetic", "--corruptions", "rain") == 1
    assert_error(capsys, "rain; choose from dropped, .*occlusion")


def test_an_output_of_another_run_is_not_replaced(measured, saved, capsys):
    assert run("robustness", saved, "--dataset", "synthetic", "--output", measured) == 1
    assert_error(capsys, "robustness.json of another run")


def test_the_report_shows_the_table(measured, saved, overrides, tmp_path):
    options = ("--overrides", json.dumps(overrides), "--resamples", 5, "--output", tmp_path / "run")
    assert run("evaluate", saved, "--dataset", "synthetic", *options) == 0
    (tmp_path / "run" / "robustness.json").write_bytes((measured / "robustness.json").read_bytes())
    page = write_report(tmp_path / "run").read_text()
    result = json.loads((measured / "robustness.json").read_text())
    for name, each in result["corruptions"].items():
        numbers = [each["severities"][level]["uar"] for level in ("2", "5")]
        cells = "".join(f'<td class="number">{value:.3f}</td>' for value in numbers)
        assert f"<td>{each['kind']}</td>{cells}" in page, name
    assert 'alt="UAR over the severity of each corruption"' in page


def test_all_corruptions_of_the_issue_are_there():
    sequence = {"dropped", "duplicated", "swapped", "frozen", "black", "foreign", "jitter", "speed", "late_onset"}
    style = {
        "brightness",
        "contrast",
        "colour",
        "grey",
        "blur",
        "noise",
        "jpeg",
        "h264",
        "low_resolution",
        "occlusion",
    }
    assert set(CORRUPTIONS) == sequence | style
