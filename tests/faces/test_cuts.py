"""Cuts and flashes in made sequences of pictures."""

from collections.abc import Sequence

import numpy as np
import pytest

from modeling_hdf.clip_reading_hdf import open_clip
from modeling_hdf.faces.cuts import CutDetector
from modeling_hdf.faces.following import with_starts

WHITE = 9
_SCENES = np.random.default_rng(0).integers(40, 216, (WHITE, 9, 16, 3))


def cuts_of(scenes: Sequence[int], every: int = 1) -> list[int]:
    """Frames that start a shot in a clip of these scenes, at 25 frames per second, of which every so many are kept."""
    rng = np.random.default_rng(1)
    frames = np.full((len(scenes), 72, 128, 3), 255)
    for frame, scene in zip(frames, scenes, strict=True):
        if scene != WHITE:
            frame[:] = np.kron(_SCENES[scene], np.ones((8, 8, 1), int)) + rng.integers(-12, 13, frame.shape)
    timed = list(with_starts(open_clip(frames.astype(np.uint8)).stream()))[::every]
    marked = list(CutDetector().mark(iter(timed)))
    assert [(frame, start) for frame, start, _ in marked] == timed
    return [index for index, (_, _, starts_shot) in enumerate(marked) if starts_shot]


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("other", [WHITE, 1])
def test_a_picture_that_comes_back_within_a_fifth_of_a_second_is_one_shot(length, other):
    assert cuts_of([0] * 10 + [other] * length + [0] * 10) == []
    assert cuts_of([0] * 4 + ([other] * length + [0]) * 3) == []


def test_real_cuts_are_found_to_the_frame():
    assert cuts_of([0] * 7 + [1] * 9 + [2] * 3 + [0] * 5) == [7, 16, 19]
    assert cuts_of([0] * 7 + [1] * 6 + [0] * 7) == [7, 13]  # a quarter of a second
    assert cuts_of([0] * 7 + [1] + [2] * 8) == [7, 8]
    assert cuts_of([0] * 6 + [1] * 2) == [6]


def test_a_flash_at_a_cut_does_not_hide_it_nor_does_a_cut_hide_a_flash():
    assert cuts_of([0] * 7 + [WHITE] + [1] * 9) == [7, 8]
    assert cuts_of([0] * 7 + [1] * 2 + [WHITE] + [1] * 9 + [WHITE] + [1] * 2) == [7]


def test_slow_clips_have_cuts_at_each_change():
    assert cuts_of(([0] * 25 + [1] * 25) * 2, every=25) == [1, 2, 3]
