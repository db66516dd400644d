"""ShiftedSyntheticFaces: factors, people and backdrops beyond those of every split of SyntheticFaces."""

import hashlib
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from modeling_hdf.data import (
    ClipFactors,
    ShiftedFacesConfig,
    ShiftedSyntheticFaces,
    SyntheticFaces,
    SyntheticFacesConfig,
    load_clip,
    render_clip,
)
from modeling_hdf.data.face_dynamics import LABELS
from modeling_hdf.data.face_renderer import make_background
from modeling_hdf.data.synthetic import SPLITS, clip_factors
from modeling_hdf.data.synthetic_shifted import shifted_clip_factors

DIFFICULTIES = (0.5, 1.5)
TINY = {"num_test": 14, "image_size": 32, "duration": 0.8}


@pytest.fixture(scope="module", params=DIFFICULTIES)
def both(request) -> tuple[list[ClipFactors], list[ClipFactors], float]:
    """Factors of ordinary clips of all splits, those of shifted clips, and the difficulty."""
    ordinary = SyntheticFacesConfig(difficulty=request.param)
    shifted = ShiftedFacesConfig(difficulty=request.param)
    clips = [clip_factors(ordinary, split, index) for split in SPLITS for index in range(700)]
    return clips, [shifted_clip_factors(shifted, index) for index in range(700)], request.param


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    builder = ShiftedSyntheticFaces(cache_dir=str(tmp_path_factory.mktemp("shifted")), **TINY)
    builder.download_and_prepare(num_proc=1)
    return builder.as_dataset()


def distances(clips: list[ClipFactors]) -> dict[str, np.ndarray]:
    """How far each clip's factors lie from a clip without nuisance, as what the ranges bound."""
    plain = ClipFactors()
    columns = {name: np.array([getattr(clip, name) for clip in clips]) for name in ("yaw", "pitch", "roll", "light")}
    columns |= {name: np.array([getattr(c, name) - getattr(plain, name) for c in clips]) for name in ("zoom",)}
    columns |= {name: np.array([getattr(c, name) for c in clips]) for name in ("asymmetry", "head_motion", "noise")}
    columns["intensity"] = np.array([clip.intensity - 1.0 for clip in clips])
    columns["brightness"] = np.array([np.log2(clip.brightness) for clip in clips])
    columns["compression"] = np.array([clip.compression for clip in clips])
    columns["talking"] = np.array([clip.talking for clip in clips if clip.talking])
    # 3 to 6 apexes per clip length are trained, 4.5 lies in the middle.
    columns["speed"] = np.array([clip.speed * clip.duration - 4.5 for clip in clips])
    return {name: np.abs(values) for name, values in columns.items()}


def test_each_shifted_range_begins_where_the_trained_one_ends(both):
    ordinary, shifted = distances(both[0]), distances(both[1])
    for name in ordinary:
        assert shifted[name].min() >= ordinary[name].max(), name
    assert {clip.background for clip in both[0]}.isdisjoint(clip.background for clip in both[1])


def test_shifted_ranges_are_the_documented_ones(both):
    _, clips, d = both
    ranges = {
        "intensity": (0.2, 0.4), "asymmetry": (0.3, 0.6), "yaw": (10 * d, 15 * d), "pitch": (6 * d, 9 * d),
        "roll": (4 * d, 6 * d), "head_motion": (2.5 * d, 3.5 * d), "zoom": (0.04 * d, 0.06 * d),
        "light": (40 * d, 60 * d), "brightness": (0.35 * d, 0.55 * d), "talking": (0.45 * d, 0.65 * d),
        "noise": (5 * d, 7 * d), "compression": (18 + 8 * d, 18 + 12 * d), "speed": (1.5, 3.5),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        values = distances(clips)[name]
        assert low <= values.min() + 1e-9 and values.max() <= high + 1e-9, name
        margin = 0.06 * (high - low)
        assert values.min() < low + margin and values.max() > high - margin, name
    for name in ("yaw", "pitch", "roll", "light", "asymmetry"):
        assert {np.sign(getattr(clip, name)) for clip in clips} == {-1.0, 1.0}, name


def test_shifted_people_are_in_no_ordinary_split(both):
    ordinary, shifted, _ = both
    assert {clip.identity for clip in ordinary}.isdisjoint(clip.identity for clip in shifted)
    one = render_clip(ClipFactors(identity=shifted[0].identity), 32)
    assert np.abs(one.astype(int) - render_clip(ClipFactors(identity=0), 32)).mean() > 1


def test_every_shifted_person_shows_each_class_once(both):
    for start in range(0, 700, 7):
        clips = both[1][start : start + 7]
        assert {clip.label for clip in clips} == set(LABELS)
        assert len({clip.identity for clip in clips}) == 1


def test_shifted_factors_say_nothing_about_the_label(both):
    clips = both[1]
    label = np.array([LABELS.index(clip.label) for clip in clips])
    for field in fields(ClipFactors):
        values = np.array([getattr(clip, field.name) for clip in clips if field.name not in ("label", "background")])
        if not len(values) or values.std() == 0:
            continue
        for k in range(7):
            deviation = (values[label == k].mean() - values.mean()) / (values.std() / np.sqrt(100))
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


def test_ordinary_clips_are_the_same_to_the_last_bit():
    """A trained model, and a cache, stay valid: these pixels were recorded before the shifted clips existed."""
    config = SyntheticFacesConfig(difficulty=1.5)
    digest = hashlib.sha256()
    for split_id, split in enumerate(SPLITS):
        for index in (0, 9):
            digest.update(render_clip(clip_factors(config, split, index), 32, 0, (split_id, index)).tobytes())
    assert digest.hexdigest() == "7ad7604e793d037c37c24bdd5a50b4a73eb6affd91ecb3efe3c66b29c2dae390"


def test_the_cache_folder_of_ordinary_clips_keeps_its_name(tmp_path):
    assert "default-fields=a6d4d00b92dde0e4" in SyntheticFaces(cache_dir=str(tmp_path)).cache_dir


def test_too_few_shifted_clips_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="`num_test`"):
        ShiftedSyntheticFaces(cache_dir=str(tmp_path), num_test=6)
