"""docs/results.md against the records of benchmarks/controlled_ablation.py, by scikit-learn and scipy."""

import json
import re
from functools import cache

import controlled_ablation
import numpy as np
import pytest
from controlled_ablation import clips_path
from controlled_analysis import contrasts_of, liveness_table
from controlled_settings import SEEDS, TUNING_SEEDS
from scipy.stats import ttest_rel
from sklearn.metrics import balanced_accuracy_score

from modeling_hdf import DAM
from modeling_hdf.training.dsm import DSM

PAGE = (controlled_ablation.ROOT / "docs" / "results.md").read_text()
README = " ".join((controlled_ablation.ROOT / "README.md").read_text().split())
ARMS = ("none", "static", "temporal", "normalized", "dsm", "temporal_dsm")


def section(title: str, part: str | None = None) -> str:
    """The text under a heading of the third level up to its first part, or that of a part."""
    first, *others = re.split(r"\n#{1,3} ", PAGE.split(f"\n### {title}\n")[1])[0].split("\n#### ")
    return first if part is None else next(text for text in others if text.startswith(f"{part}\n"))


def recorded(name: str) -> dict:
    """A committed record with the classes of its clips."""
    path = controlled_ablation.RESULTS / name
    record = json.loads(path.read_text())
    clips = clips_path({"path": path, "settings": record["settings"], "splits": tuple(record["answers"])})
    return record | json.loads(clips.read_text())


@cache
def records_of(backbone: str, condition: str, arm: str) -> list[dict]:
    return [recorded(f"{backbone}_{condition}_{arm}_4_{seed}.json") for seed in SEEDS]


def recorded_scores(record: dict) -> list[float]:
    """UAR of a record on the five test sets, in points."""
    truth = {split: np.array(list(text)) for split, text in record["truth"].items()}
    answers = {split: [text] for split, text in record["answers"].items()} | {"corrupted": [], "foreign": []}
    for name, text in record["corrupted"].items():
        answers["foreign" if name.startswith("foreign") else "corrupted"].append(text)
    means = []
    for name in ("validation", "test", "shifted", "corrupted", "foreign"):
        labels = truth[name if name in truth else "test"]
        rows = [np.array(list(text)) for text in answers[name]]
        means.append(100 * np.mean([balanced_accuracy_score(labels[: len(row)], row) for row in rows]))
    return means


@cache
def scores_of(backbone: str, condition: str, arm: str) -> np.ndarray:
    """UAR `(seeds, 5)` of an arm on the test sets, in points."""
    return np.array([recorded_scores(record) for record in records_of(backbone, condition, arm)])


def check_scores(text: str, name: str, scores: np.ndarray) -> None:
    """The row `name` of a table shows the means of `scores` `(seeds, 5)`."""
    (row,) = re.findall(rf"^\| {name} \| 8 \| ((?:[\d.]+ \| ){{4}}[\d.]+) \|", text, re.MULTILINE)
    assert [float(cell) for cell in row.split(" | ")] == pytest.approx(scores.mean(0), abs=0.051)


def check_contrast(text: str, name: str, scores: np.ndarray, others: np.ndarray) -> list[str]:
    """The row `name` of a table shows the mean differences, with intervals that seeds and people explain."""
    (row,) = re.findall(rf"^\| {re.escape(name)} \| 8 \| (.+) \|$", text, re.MULTILINE)
    shown = [[float(number) for number in re.findall(r"[-+][\d.]+", cell)] for cell in row.split(" | ")]
    assert [middle for middle, _, _ in shown] == pytest.approx((scores - others).mean(0), abs=0.051)
    # The bootstrap also draws people, so its interval is a little wider than the t-test's over seeds.
    by_seed = ttest_rel(scores, others).confidence_interval()
    assert all(
        low - 1.5 < interval[1] < low + 0.2 and high - 0.2 < interval[2] < high + 1.5
        for interval, low, high in zip(shown, by_seed.low, by_seed.high, strict=True)
    )
    return row.split(" | ")


def test_the_page_shows_the_recorded_trials_of_gates_that_may_only_suppress():
    titles = {"none": "no DAM", "normalized": "free", "suppress": "suppress"}
    for arm, title in titles.items():
        folder = "../gate_trials" if arm == "suppress" else "convergence"
        records = [recorded(f"{folder}/x3d_plain_{arm}_2_{seed}.json") for seed in TUNING_SEEDS]
        pairs = [(list(each["truth"]["validation"]), list(each["answers"]["validation"])) for each in records]
        scores = [100 * balanced_accuracy_score(*pair) for pair in pairs]
        cells = [f"{score:.1f}" for score in (*scores, np.mean(scores))]
        assert f"| {' | '.join([title, *cells])} |" in PAGE


@pytest.mark.parametrize(("backbone", "title"), [("x3d", "Small X3D"), ("videomae", "VideoMAE")])
def test_the_page_shows_the_recorded_runs_and_the_package_repeats_it(backbone, title):
    arms = {arm: scores_of(backbone, "plain", arm) for arm in ARMS}
    for arm, scores in arms.items():
        check_scores(section(title), arm, scores)
    texts = {}
    for name, (arm, other) in contrasts_of("temporal").items():
        check_contrast(section(title), name, arms[arm], arms[other])
        (text,) = re.findall(rf"^\| {backbone}: {re.escape(name)} \| (.+?) \|", PAGE, re.MULTILINE)
        assert float(text.split()[0]) == pytest.approx((arms[arm] - arms[other]).mean(0)[3], abs=0.051)
        texts[name] = text
    dam, dsm = (" ".join(text.split()) for text in (DAM.__doc__, DSM.__doc__))
    assert texts["DAM - static"] in README and texts["DAM + DSM - none"] in README
    assert texts["DAM - static"] in dam and texts["DAM - none"] in dam and texts["DSM - none"] in dsm


@pytest.mark.parametrize(("backbone", "title"), [("x3d", "small X3D"), ("videomae", "VideoMAE")])
def test_the_page_shows_how_live_the_recorded_gates_are(backbone, title):
    for arm in ("temporal", "normalized", "temporal_dsm"):
        records = records_of(backbone, "plain", arm)
        table = liveness_table(records)
        (cells,) = re.findall(rf"^\| {backbone} \| plain \| {arm} \| 8 \| trained \| (.+) \|$", table, re.MULTILINE)
        assert f"| {title} | {arm} | 8 | {cells} |" in section("Live gates")
        flipped = 100 * np.mean([record["liveness"]["trained"]["flipped"] for record in records])
        assert float(cells.split(" | ")[-1]) == pytest.approx(flipped, abs=0.051)


@pytest.mark.parametrize(("backbone", "part"), [("videomae", None), ("x3d", "Small X3D")])
def test_the_page_shows_what_the_augmentation_gained(backbone, part):
    text = section("Training on corrupted clips", part)
    arms = {condition: scores_of(backbone, condition, "none") for condition in ("plain", "augmented")}
    for condition, scores in arms.items():
        check_scores(text, condition, scores)
    cells = check_contrast(text, "augmented - plain", arms["augmented"], arms["plain"])
    assert cells[3] in README


CONTRASTS = {
    "DAM - static": ("temporal", "static"),
    "DAM - none": ("temporal", "none"),
    "best - none": ("static", "none"),
    "normalized - static": ("normalized", "static"),
    "DSM - none": ("dsm", "none"),
    "DAM + DSM - none": ("temporal_dsm", "none"),
}
COMPARED = ["DAM - static", "DAM - none", "best - none"]


@pytest.mark.parametrize(
    ("title", "part", "backbone", "condition", "names"),
    [
        ("Training on foreign frames", None, "videomae", "foreign", COMPARED),
        ("Training on foreign frames", "Small X3D", "x3d", "foreign", list(CONTRASTS)),
        ("Training on a long tail", None, "videomae", "long_tail", ["best - none"]),
        ("Training on a long tail", "Small X3D", "x3d", "long_tail", ["best - none"]),
        ("Training with wrong labels", None, "videomae", "noise", ["best - none"]),
        ("Training with wrong labels", "Small X3D", "x3d", "noise", ["best - none"]),
    ],
)
def test_the_page_shows_the_recorded_runs_of_a_condition(title, part, backbone, condition, names):
    text, contrasts = section(title, part), {name: CONTRASTS[name] for name in names}
    arms = {arm: scores_of(backbone, condition, arm) for pair in contrasts.values() for arm in pair}
    for arm, scores in arms.items():
        check_scores(text, arm, scores)
    for arm in {"temporal", "normalized", "temporal_dsm"} & arms.keys():
        flipped = [each["liveness"]["trained"]["flipped"] for each in records_of(backbone, condition, arm)]
        (shown,) = re.findall(rf"^\| {arm} \| 8 \| .+ \| ([\d.]+) \|$", text, re.MULTILINE)
        assert float(shown) == pytest.approx(100 * np.mean(flipped), abs=0.051)
    for name, (arm, other) in contrasts.items():
        check_contrast(text, name, arms[arm], arms[other])
