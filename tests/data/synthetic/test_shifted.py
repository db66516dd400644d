"""ShiftedSyntheticFaces: factors, people and backdrops beyond those of every split of SyntheticFaces."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import (
    ClipFactors,
    ShiftedFacesConfig,
    ShiftedSyntheticFaces,
    SyntheticFaces,
    SyntheticFacesConfig,
    load_clip,
    render_clip,
)
from modeling_hdf.data.synthetic.builder import SPLITS, clip_factors
from modeling_hdf.data.synthetic.renderer import make_background
from modeling_hdf.data.synthetic.shifted import shifted_clip_factors

TINY = {"num_test": 14, "image_size": 32, "duration": 0.8}
# What each factor's ordinary range is, in the measure of `distances`.
ENDS = {
    "speed": 1.5, "intensity": 0.2, "asymmetry": 0.3, "yaw": 10, "pitch": 6, "roll": 4, "head_motion": 2.5,
    "zoom": 0.04, "light": 40, "brightness": 0.35, "talking": 0.45, "noise": 5, "compression": 8,
}  # fmt: skip
# Where its shifted range ends.
FAR_ENDS = {
    "speed": 2.3, "intensity": 0.4, "asymmetry": 0.6, "yaw": 15, "pitch": 9, "roll": 6, "head_motion": 3.5,
    "zoom": 0.06, "light": 60, "brightness": 0.55, "talking": 0.65, "noise": 7, "compression": 12,
}  # fmt: skip
STYLES = ("speed", "intensity", "asymmetry")  # their ranges do not depend on the difficulty


@pytest.fixture(scope="module", params=(0.5, 1.5))
def both(request) -> tuple[list[ClipFactors], list[ClipFactors], float]:
    """Factors of ordinary clips of all splits, those of shifted clips, and the difficulty."""
    ordinary = SyntheticFacesConfig(difficulty=request.param)
    shifted = ShiftedFacesConfig(difficulty=request.param, num_shifts=4)
    clips = [clip_factors(ordinary, split, index) for split in SPLITS for index in range(700)]
    return clips, [shifted_clip_factors(shifted, index) for index in range(1400)], request.param


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    builder = ShiftedSyntheticFaces(cache_dir=str(tmp_path_factory.mktemp("shifted")), **TINY)
    builder.download_and_prepare(num_proc=1)
    return builder.as_dataset()


def distances(clips: list[ClipFactors], difficulty: float) -> dict[str, np.ndarray]:
    """Distance of each factor from the middle of its ordinary range, in units of the difficulty where it scales."""
    columns = {name: np.array([getattr(clip, name) for clip in clips]) for name in ENDS}
    # 3 to 6 apexes per clip length are trained, 4.5 lies in the middle.
    columns["speed"] = columns["speed"] * [clip.duration for clip in clips] - 4.5
    columns["intensity"] = columns["intensity"] - 1.0
    columns["zoom"] = columns["zoom"] - 1.0
    columns["brightness"] = np.log2(columns["brightness"])
    columns["compression"] = columns["compression"] - 18.0
    return {name: np.abs(values) / (1 if name in STYLES else difficulty) for name, values in columns.items()}


def test_ordinary_clips_stay_within_the_ranges_that_shifted_clips_leave(both):
    ordinary, shifted, difficulty = both
    for name, values in distances(ordinary, difficulty).items():
        assert values.max() <= ENDS[name] + 1e-9, name
    beyond = np.array([values > ENDS[name] for name, values in distances(shifted, difficulty).items()])
    assert (beyond.sum(axis=0) == 4).all()
    # Each of the 13 factors is as likely as the others.
    np.testing.assert_allclose(beyond.mean(axis=1), 4 / 13, atol=4 * np.sqrt(4 * 9 / 13**2 / 1400))
    assert {clip.background for clip in ordinary}.isdisjoint(clip.background for clip in shifted)


def test_shifted_ranges_are_the_documented_ones(both):
    _, clips, difficulty = both
    for name, values in distances(clips, difficulty).items():
        values = values[values > ENDS[name]]
        margin = 0.06 * (FAR_ENDS[name] - ENDS[name])
        assert values.min() < ENDS[name] + margin and FAR_ENDS[name] - margin < values.max() <= FAR_ENDS[name], name
    for name in ("yaw", "pitch", "roll", "light", "asymmetry"):
        signs = np.sign([getattr(clip, name) for clip in clips])[distances(clips, difficulty)[name] > ENDS[name]]
        assert set(signs) == {-1.0, 1.0}, name


def test_shifted_people_are_in_no_ordinary_split(both):
    ordinary, shifted, _ = both
    assert {clip.identity for clip in ordinary}.isdisjoint(clip.identity for clip in shifted)
    one = render_clip(ClipFactors(identity=shifted[0].identity), 32)
    assert np.abs(one.astype(int) - render_clip(ClipFactors(identity=0), 32)).mean() > 1


def test_every_shifted_person_shows_each_class_once(both):
    for start in range(0, 1400, 7):
        clips = both[1][start : start + 7]
        assert {clip.label for clip in clips} == set(EMOTIONS)
        assert len({clip.identity for clip in clips}) == 1


def test_shifted_factors_say_nothing_about_the_label(both):
    clips = both[1]
    label = np.array([EMOTIONS.index(clip.label) for clip in clips])
    for field in fields(ClipFactors):
        values = np.array([getattr(clip, field.name) for clip in clips if field.name not in ("label", "background")])
        if not len(values) or values.std() == 0:
            continue
        for k in range(7):
            deviation = (values[label == k].mean() - values.mean()) / (values.std() / np.sqrt(200))
            assert abs(deviation) < 4.0, field.name


def test_rows_have_the_columns_and_classes_of_the_ordinary_faces(rendered, tmp_path):
    ordinary = SyntheticFaces(cache_dir=str(tmp_path)).info.features
    assert list(rendered) == ["test"]
    assert set(rendered["test"].features) == set(ordinary)
    assert rendered["test"].features["label"] == ordinary["label"]
    assert Counter(rendered["test"]["label"]) == dict.fromkeys(range(7), 2)
    row = rendered["test"][0]
    assert rendered["test"].features["background"].int2str(row["background"]) == "stripes"
    assert row["clip_id"] == "test_00000" and row["identity"] >= 1_000_000
    assert load_clip(row).shape[1:] == (32, 32, 3)


def test_stripes_alternate_between_two_colours():
    image = make_background("stripes", 64, np.random.default_rng(0)).reshape(-1, 3)
    low, high = image[image[:, 0].argmin()], image[image[:, 0].argmax()]
    share = (image - low) @ (high - low) / ((high - low) ** 2).sum()
    np.testing.assert_allclose(image, low + share[:, None] * (high - low), atol=1e-5)
    row = share.reshape(64, 64)
    changes = [(np.diff(np.sign(lines - 0.5), axis=1) != 0).sum(axis=1).max() for lines in (row, row.T)]
    assert max(changes) >= 4


# Mean level of the four quarters of two clips per split, over time and colours.
ORDINARY_CLIPS = [
    [61.18, 103.5, 72.6, 97.78],
    [197.66, 145.06, 207.69, 150.8],
    [110.22, 61.57, 104.74, 78.0],
    [111.81, 81.66, 118.09, 91.87],
    [184.5, 174.92, 170.72, 166.81],
    [108.23, 153.01, 106.35, 137.21],
]


def test_ordinary_clips_show_what_they_showed_before_there_were_shifted_ones():
    """A trained model, and a cache, stay valid."""
    config = SyntheticFacesConfig(difficulty=1.5)
    quarters = []
    for split_id, split in enumerate(SPLITS):
        for index in (0, 9):
            clip = render_clip(clip_factors(config, split, index), 32, 0, (split_id, index))
            quarters.append(clip.reshape(len(clip), 2, 16, 2, 16, 3).mean((0, 2, 4, 5)).ravel())
    np.testing.assert_allclose(quarters, ORDINARY_CLIPS, atol=0.02)


def test_the_cache_folder_of_ordinary_clips_keeps_its_name(tmp_path):
    assert "default-fields=a6d4d00b92dde0e4" in SyntheticFaces(cache_dir=str(tmp_path)).cache_dir


@pytest.mark.parametrize("field, value", [("num_test", 6), ("num_shifts", 0), ("num_shifts", 14)])
def test_a_value_out_of_range_is_refused_by_name(tmp_path, field, value):
    with pytest.raises(ValueError, match=f"`{field}`"):
        ShiftedSyntheticFaces(cache_dir=str(tmp_path), **{field: value})
