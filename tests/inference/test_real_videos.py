"""Videos made of real clips: the right number of people at the right times, to one frame."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import write_video

from modeling_hdf.clip_reading_hdf import open_clip
from modeling_hdf.inference import Timeline, VideoAnalyzer

pytestmark = pytest.mark.skipif("HDF_REAL_VIDEOS" not in os.environ, reason="HDF_REAL_VIDEOS names a folder of clips")
FPS = 25
QUARTER_TURN = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)


def first_frames(name: str, count: int) -> list[np.ndarray]:
    """The first frames of a clip, `(180, 320, 3)`."""
    frames = open_clip(Path(os.environ["HDF_REAL_VIDEOS"]) / name).stream()
    return [frame.rgb(320) for frame, _ in zip(frames, range(count), strict=False)]


@pytest.fixture(scope="module")
def woman() -> list[np.ndarray]:
    return first_frames("WolfgangLanger_Pexels.mp4", 60)


@pytest.fixture(scope="module")
def man() -> list[np.ndarray]:
    return first_frames("single_face.mp4", 60)


@pytest.fixture(scope="module")
def room() -> list[np.ndarray]:
    """Frames without a face."""
    return first_frames("no_face.mp4", 60)


@pytest.fixture(scope="module")
def analyzer() -> VideoAnalyzer:
    return VideoAnalyzer()


def people(timeline: Timeline) -> list[tuple[float, float]]:
    """When each person is shown, in order of time."""
    return sorted((round(start, 3), round(end, 3)) for person in timeline.people for start, end in person.spans)


def test_two_people_side_by_side(analyzer, woman, man, tmp_path):
    frames = [np.concatenate(pair, axis=1) for pair in zip(woman, man, strict=True)]
    timeline = analyzer.analyze(write_video(tmp_path / "a.mp4", frames, rate=FPS))
    assert people(timeline) == [(0.0, 2.4), (0.0, 2.4)]
    centres = sorted(float(row.box[0] + row.box[2] / 2) for row in timeline.rows if row.start == 0)
    assert 0 < centres[0] < 320 < centres[1] < 640


def test_shots_in_sequence_and_a_person_who_leaves_and_comes_back(analyzer, woman, man, room, tmp_path):
    frames = woman[:40] + man[:30] + room[:25] + man[30:]
    path = write_video(tmp_path / "a.mp4", frames, rate=FPS)
    timeline = analyzer.analyze(path)
    assert people(timeline) == [(0.0, 1.6), (1.6, 2.8), (3.8, 5.0)]
    assert timeline.cuts == pytest.approx([1.6, 2.8, 3.8])
    analyzer.same_person = True
    assert len(analyzer.analyze(path).people) == 1
    analyzer.same_person = False


def test_a_freeze_does_not_end_a_person(analyzer, man, tmp_path):
    ticks = [*range(20), *range(80, 100)]  # the 20th frame is shown for 61 ticks
    path = write_video(tmp_path / "a.mp4", man[:40], rate=FPS, pts=ticks)
    assert people(analyzer.analyze(path)) == [(0.0, 4.0)]
    repeated = write_video(tmp_path / "b.mp4", man[:20] + man[19:20] * 60 + man[20:40], rate=FPS)
    assert people(analyzer.analyze(repeated)) == [(0.0, 4.0)]


def test_slow_clips_and_animations(analyzer, man, tmp_path):
    slow = analyzer.analyze(write_video(tmp_path / "a.mp4", man[:50:10], rate=1))
    assert people(slow) == [(0.0, 5.0)] and slow.rows[-1].end == 5.0
    pictures = [Image.fromarray(frame) for frame in man[:60:10]]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=500, loop=0)
    assert people(analyzer.analyze(tmp_path / "a.gif")) == [(0.0, 3.0)]


def test_a_portrait_video_of_a_phone_is_shown_upright(analyzer, man, tmp_path):
    stored = [np.ascontiguousarray(np.rot90(frame)) for frame in man[:25]]
    path = write_video(tmp_path / "a.mp4", stored, rate=FPS, display_matrix=QUARTER_TURN)
    upright = write_video(tmp_path / "b.mp4", man[:25], rate=FPS)
    timeline, expected = analyzer.analyze(path), analyzer.analyze(upright)
    assert (timeline.size, timeline.quarter_turns) == ((180, 320), 0) and people(timeline) == [(0.0, 1.0)]
    np.testing.assert_allclose(timeline.rows[0].box, expected.rows[0].box, atol=3.0)


def test_no_face_at_all(analyzer, room, tmp_path):
    timeline = analyzer.analyze(write_video(tmp_path / "a.mp4", room[:25], rate=FPS))
    assert people(timeline) == [] and timeline.summary.empty


def test_the_clips_as_they_are(analyzer):
    folder = Path(os.environ["HDF_REAL_VIDEOS"])
    assert people(analyzer.analyze(folder / "single_face.mp4")) == [(0.0, 2.4)]
    ((start, end),) = people(analyzer.analyze(folder / "noface_face.mov"))
    assert (start, end) == pytest.approx((3.945, 6.345), abs=0.02)
    assert len(analyzer.analyze(folder / "multi_face.jpg").people) == 5
