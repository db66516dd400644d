"""`hdf robustness` on a tiny model, against a plain loop and hand-made scores."""

import hashlib
import json
from zlib import crc32

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from evaluated_models import assert_error, own_dataset_cache, record, run  # noqa: F401
from sklearn.metrics import balanced_accuracy_score

from modeling_hdf.cli.robustness import _compared
from modeling_hdf.data import SyntheticFaces, load_clip
from modeling_hdf.data.corruptions import CORRUPTIONS, corrupt
from modeling_hdf.data.frame_sampling import TemporalSampling
from modeling_hdf.evaluation.robustness import CLEAN, clips_sha256, mean_corruption_error, read_robustness, summarize
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
def measured(saved, overrides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new"
    options = ("--overrides", json.dumps(overrides), "--corruptions", *CHOSEN, "--severities", 2, 5, "--seed", 3)
    assert run("robustness", saved, "--dataset", "synthetic", *options, "--output", folder) == 0
    return folder


def first_partner(rows, index: int, seed: int) -> int:
    """The clip that gives the foreign frames."""
    labels, people, clip_id = rows["label"][:], rows["identity"][:], rows["clip_id"][index]
    others = [other for other in range(len(rows)) if labels[other] != labels[index] and people[other] != people[index]]
    others = others or [other for other in range(len(rows)) if labels[other] != labels[index]]
    return np.random.default_rng([seed, crc32(clip_id.encode())]).permutation(others)[0]


def answers(saved, rows, name, severity) -> np.ndarray:
    """Predicted classes of a plain loop over clips."""
    model, processor = load_classifier(str(saved))
    references = [
        torch.from_numpy(load_clip(row, sample=TemporalSampling(num_frames=64).view())).movedim(-1, -3) for row in rows
    ]
    found = []
    for index, row in enumerate(rows):
        frames = references[index]
        if name != "clean":
            options = {"seed": 3, "clip_id": row["clip_id"], "foreign": references[first_partner(rows, index, 3)]}
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


SCORES = {
    CLEAN: {"war": 0.9, "uar": 0.8},
    ("black", 1): {"war": 0.8, "uar": 0.6},
    ("black", 2): {"war": 0.4, "uar": 0.2},
    ("blur", 1): {"war": 0.8, "uar": 0.8},
    ("blur", 2): {"war": 0.8, "uar": 0.6},
}


def hand_made(**changes) -> dict:
    told = {"title": "t", "dataset_overrides": {}, "num_clips": 5, "clips_sha256": "s", "seed": 0}
    return {**told, "reference_frames": 64, **summarize(SCORES), **changes}


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
        ({"clips_sha256": "other"}, "clips_sha256 'other'"),
        ({"corruptions": {}}, "other corruptions"),
    ],
)
def test_a_baseline_of_another_measurement_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        mean_corruption_error(hand_made(), hand_made(**changes))


@pytest.fixture
def compare(saved, overrides, measured, tmp_path):
    """Runs the measurement of `measured` again, with its file as baseline after a change."""

    def compare(change=lambda content: None, *options) -> int:
        content = json.loads((measured / "robustness.json").read_text())
        change(content)
        (tmp_path / "baseline.json").write_text(json.dumps(content))
        same = ("--overrides", json.dumps(overrides), "--corruptions", *CHOSEN, "--severities", 2, 5, "--seed", 3)
        baseline = ("--baseline", tmp_path / "baseline.json", "--output", tmp_path / "out")
        return run("robustness", saved, "--dataset", "synthetic", *same, *options, *baseline)

    return compare


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda content: content.update(title="dfew fold 1, test split"), (), "title 'dfew fold 1, test split'"),
        (lambda content: content.update(reference_frames=32), (), "reference_frames 32"),
        (lambda content: content["corruptions"]["noise"].update(uar=1.0), (), "no error under noise"),
        (lambda content: content.pop("model"), (), "baseline.json has no model"),
        (lambda content: content.pop("clips_sha256"), (), "has no clips_sha256: measure it again"),
        (lambda content: content["dataset_overrides"].update(seed=7), (), "dataset_overrides .*'seed': 7"),
        (lambda content: None, ("--seed", 4), "seed 3, the model 4"),
        (lambda content: None, ("--severities", 2), "other corruptions or severities"),
        (lambda content: None, ("--corruptions", "noise"), "other corruptions or severities"),
        (lambda content: None, ("--max-clips", 9), "num_clips 14, the model 9"),
    ],
)
def test_a_baseline_of_another_measurement_is_refused_before_the_work(
    compare, tmp_path, capsys, monkeypatch, change, options, message
):
    monkeypatch.setattr("modeling_hdf.cli.robustness.measure_robustness", lambda *_, **__: pytest.fail("measured"))
    assert compare(change, *options) == 1
    assert_error(capsys, message)
    assert not (tmp_path / "out" / "robustness.json").exists()


def test_a_baseline_gives_the_mean_corruption_error(compare, measured, tmp_path, capsys):
    def worse(content):
        for each in content["corruptions"].values():
            each["uar"] = 0.0

    assert compare(worse) == 0
    result = read_robustness(tmp_path / "out" / "robustness.json")
    means = [each["uar"] for each in read_robustness(measured / "robustness.json")["corruptions"].values()]
    assert max(means) > 0 and result["mean_corruption_error"] == pytest.approx(1 - np.mean(means), abs=0.05)
    assert f"mean corruption error {result['mean_corruption_error']:.3f}" in capsys.readouterr().out


def test_a_result_is_kept_if_other_clips_of_the_baseline_could_be_read(compare, tmp_path, capsys):
    def one_lost(content):
        content |= {"num_clips": 13, "unreadable": [{"clip_id": "a", "message": "damaged"}]}

    assert compare(one_lost) == 0
    assert "error: the clips that could be read (14) are not those of the baseline" in capsys.readouterr().out
    result = read_robustness(tmp_path / "out" / "robustness.json")
    assert result["mean_corruption_error"] is None and list(result["corruptions"]) == CHOSEN
    assert (result["num_clips"], result["baseline_num_clips"]) == (14, 13)


def test_as_many_but_other_clips_that_could_be_read_give_no_mean_corruption_error():
    lost = [{"unreadable": [{"clip_id": name, "message": "damaged"}], "model": "m"} for name in "ab"]
    results = [hand_made(**each) for each in lost]
    assert _compared(*results)["mean_corruption_error"] is None
    assert _compared(results[0], hand_made(**lost[0]))["mean_corruption_error"] == pytest.approx(1)


def test_the_checksum_of_clips_knows_their_names_and_labels_alone():
    def checksum(clip_ids: str, labels: list[int], order: list[int]) -> str:
        features = Features({"clip_id": Value("string"), "label": ClassLabel(names=["fear", "anger"])})
        return clips_sha256(Dataset.from_dict({"clip_id": list(clip_ids), "label": labels}, features), order)

    assert checksum("abc", [0, 1, 0], [0, 1]) == checksum("xba", [0, 1, 0], [2, 1])
    assert checksum("abc", [0, 1, 0], [0, 1]) != checksum("abc", [0, 1, 0], [1, 2])
    assert checksum("abc", [0, 1, 0], [0, 1]) != checksum("abc", [0, 0, 0], [0, 1])


def test_fewer_clips_and_unknown_names(saved, overrides, capsys):
    options = ("--overrides", json.dumps(overrides), "--corruptions", "black", "--severities", 1, "--max-clips", 9)
    assert run("robustness", saved, "--dataset", "synthetic", *options, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_clips"] == 9
    assert run("robustness", saved, "--dataset", "synthetic", "--corruptions", "rain") == 2
    assert_error(capsys, "rain; choose from dropped, .*occlusion")


def test_an_output_of_another_run_is_not_replaced(measured, saved, capsys):
    assert run("robustness", saved, "--dataset", "synthetic", "--output", measured) == 1
    assert_error(capsys, "robustness.json of another run")


@pytest.fixture(scope="module")
def evaluated(saved, overrides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    options = ("--overrides", json.dumps(overrides), "--resamples", 5, "--output", folder)
    assert run("evaluate", saved, "--dataset", "synthetic", *options) == 0
    return folder


def report(evaluated, measured, **changes) -> str:
    result = json.loads((measured / "robustness.json").read_text()) | changes
    (evaluated / "robustness.json").write_text(json.dumps(result))
    page = write_report(evaluated).read_text()
    return page[page.index('<section id="robustness">') : page.index('<section id="limits">')]


def test_the_report_shows_the_table_and_the_means_of_each_kind(measured, evaluated):
    section = report(evaluated, measured)
    result = json.loads((measured / "robustness.json").read_text())
    for name, each in result["corruptions"].items():
        numbers = [each["severities"][level]["uar"] for level in ("2", "5")]
        cells = "".join(f'<td class="number">{value:.3f}</td>' for value in numbers)
        assert f"<td>{each['kind']}</td>{cells}" in section, name
    for kind, each in result["kinds"].items():
        cells = "".join(f'<td class="number">{each[key]:.3f}</td>' for key in ("uar", "relative"))
        assert f'<th scope="row">{kind}</th>{cells}' in section
    assert 'alt="UAR over the severity of each corruption"' in section and "orruption error" not in section


def test_the_report_names_the_baseline_and_what_was_left_out(measured, evaluated):
    compared = {"baseline": "/home/ann/plain", "baseline_num_clips": 14, "mean_corruption_error": 0.8765}
    section = report(evaluated, measured, **compared)
    assert "Mean corruption error 0.876, relative to plain" in section and "/home/ann" not in section
    across = {"shared": ["fear", "anger"], "only_in_model": [], "left_out": {"calm": 3}}
    lost = [{"clip_id": "a", "message": "damaged"}]
    compared |= {"baseline_num_clips": 13, "mean_corruption_error": None}
    section = report(evaluated, measured, **compared, across_datasets=across, unreadable=lost)
    assert "the clips that could be read (14) are not those of the baseline plain (13)." in section
    assert "the model lacks: 3 calm" in section and "1 clips could not be read" in section


def test_the_report_leaves_out_a_measurement_of_other_weights(measured, saved, evaluated):
    checksum = hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert read_robustness(measured / "robustness.json")["weights_sha256"] == {"model.safetensors": checksum}
    section = report(evaluated, measured, weights_sha256={"model.safetensors": "0" * 64})
    assert "robustness.json is of other weights" in section and "<table>" not in section
    metrics = json.loads((evaluated / "metrics.json").read_text())
    assert "<table>" in report(evaluated, measured, weights_sha256={"model.safetensors": checksum})
    older = {name: value for name, value in metrics.items() if name != "weights_sha256"}
    (evaluated / "metrics.json").write_text(json.dumps(older))
    for told, is_shown in ((checksum, True), ("0" * 64, False)):  # the model's own, beside earlier files
        section = report(evaluated, measured, weights_sha256={"model.safetensors": told})
        assert ("<table>" in section) == is_shown
    (evaluated / "metrics.json").write_text(json.dumps(metrics))
    assert "<table>" in report(evaluated, measured, weights_sha256=None)  # of an earlier version


def test_the_title_tells_of_any_training_that_selected_the_model_on_these_clips(saved_model, dfew, capsys):
    earlier = {"dataset": "dfew", "base_model": None, "fold": 1, "peer_protocol": True}
    trainings = [{"dataset": "ravdess", "base_model": "a/b"}, earlier]
    record(saved_model, dataset="ravdess", fold=None, trainings=trainings)
    options = ("--data-dir", dfew, "--fold", 1, "--corruptions", "black", "--severities", 1)
    assert run("robustness", saved_model, "--dataset", "dfew", *options, "--json") == 0
    assert "PEER PROTOCOL" in json.loads(capsys.readouterr().out)["title"]


@pytest.mark.parametrize("option", [(), ("--quiet",), ("--json",)])
def test_a_bar_counts_the_clips(saved, dfew, capsys, option):
    options = ("--data-dir", dfew, "--fold", 1, "--corruptions", "black", "--severities", 1, *option)
    assert run("robustness", saved, "--dataset", "dfew", *options) == 0
    assert ("corrupted clips: 100%" in capsys.readouterr().err) == (not option)


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
