"""Association, gaps, smoothing and crop squares, on detections made by hand."""

import numpy as np
import pytest

from modeling_hdf.faces.tracking import box_iou, build_tracks, crop_squares, match_boxes, smooth

FPS = 25


def detection(left, top, side=100.0, roll=0.0, eye_distance=0.45, score=0.9):
    """A face of YuNet's proportions in a square box, tilted by `roll` degrees about the middle of its eyes."""
    middle = np.array([left + 0.5 * side, top + 0.4 * side])
    half = 0.5 * eye_distance * side * np.array([np.cos(np.radians(roll)), np.sin(np.radians(roll))])
    points = [middle - half, middle + half, middle + [0, 20], middle + [-15, 40], middle + [15, 40]]
    return np.array([left, top, side, side, *np.ravel(points), score], np.float32)


def looks(*faces_per_frame):
    return {index: np.array(faces).reshape(-1, 15) for index, faces in enumerate(faces_per_frame)}


def times(num_frames):
    return np.arange(num_frames) / FPS


def painted_iou(first, second):
    """Reference: count the pixels of two boxes with integer corners."""
    canvas = np.zeros((2, 60, 60), bool)
    for layer, (left, top, width, height) in zip(canvas, (first, second), strict=True):
        layer[top : top + height, left : left + width] = True
    return (canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum()


def test_iou_counts_pixels():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.integers(0, 30, (12, 2)), rng.integers(1, 30, (12, 2))])
    expected = [[painted_iou(first, second) for second in boxes[5:]] for first in boxes[:5]]
    np.testing.assert_allclose(box_iou(boxes[:5], boxes[5:]), expected)


def test_each_box_is_matched_once_and_the_best_pair_first():
    first = np.array([[0, 0, 10, 10], [4, 0, 10, 10]])
    second = np.array([[4, 0, 10, 10], [50, 50, 10, 10]])
    assert match_boxes(first, second, 0.2) == [(1, 0)]
    assert match_boxes(first, second[:0], 0.2) == []


def test_faces_that_swap_their_order_keep_their_tracks():
    faces = [[detection(10 + index, 20), detection(300 - index, 20)][:: 1 if index % 2 else -1] for index in range(20)]
    tracks = build_tracks(looks(*faces), times(20), smoothing=0.0)
    assert [len(track.frames) for track in tracks] == [20, 20]
    lefts = {round(float(track.boxes[0, 0])): track.boxes[:, 0] for track in tracks}
    np.testing.assert_allclose(lefts[10], 10 + np.arange(20))
    np.testing.assert_allclose(lefts[300], 300 - np.arange(20))


def test_frames_that_were_not_looked_at_are_interpolated_and_not_called_filled():
    found = {index: detection(10 + 2.0 * index, 20)[None] for index in (0, 3, 6, 9)}
    (track,) = build_tracks(found, times(10), smoothing=0.0)
    np.testing.assert_allclose(track.boxes[:, 0], 10 + 2.0 * np.arange(10), rtol=1e-6)
    assert not track.filled.any()
    assert np.flatnonzero(~np.isnan(track.scores)).tolist() == [0, 3, 6, 9]


def runs(*lengths):
    """A face that is there, gone, there, ... for these numbers of looks."""
    there = [index % 2 == 0 for index, length in enumerate(lengths) for _ in range(length)]
    return looks(*[[detection(50 + index, 20)] if seen else [] for index, seen in enumerate(there)])


@pytest.mark.parametrize("lost, lengths", [(12, [32]), (13, [10, 10])])
def test_a_gap_is_filled_up_to_the_limit(lost, lengths):
    # Half a second is 12.5 frames.
    found = runs(10, lost, 10)
    tracks = build_tracks(found, times(len(found)), max_gap=0.5, smoothing=0.0)
    if len(lengths) == 1:
        (track,) = tracks
        assert np.flatnonzero(track.filled).tolist() == list(range(10, 10 + lost))
        np.testing.assert_allclose(track.boxes[:, 0], 50 + np.arange(len(found)), rtol=1e-6)
    else:
        assert sorted(len(track.frames) for track in tracks) == lengths
        assert not any(track.filled.any() for track in tracks)


@pytest.mark.parametrize("seconds", [1.0, 7.0])
def test_slow_frames_are_one_track_and_a_missing_one_ends_it(seconds):
    (track,) = build_tracks(runs(8), seconds * np.arange(8))
    assert track.frames.tolist() == list(range(8)) and not track.filled.any()
    tracks = build_tracks(runs(4, 1, 3), seconds * np.arange(8))
    assert sorted(track.frames.tolist() for track in tracks) == [[0, 1, 2, 3], [5, 6, 7]]
    (track,) = build_tracks(runs(4, 1, 3), seconds * np.arange(8), max_gap=seconds)
    assert np.flatnonzero(track.filled).tolist() == [4]


def frozen(num_frames, at, seconds):
    """Times of frames of which number `at` stays for so many seconds longer."""
    return times(num_frames) + seconds * (np.arange(num_frames) > at)


def test_a_freeze_does_not_cut_a_track():
    (track,) = build_tracks(runs(30), frozen(30, 14, 0.8))
    assert len(track.frames) == 30 and not track.filled.any()
    # Missed in the two frames after the freeze, or before it: seconds in which the face was shown do not count.
    (track,) = build_tracks(runs(15, 2, 13), frozen(30, 14, 0.8))
    assert np.flatnonzero(track.filled).tolist() == [15, 16]
    # The picture that stays is one without the face: it is gone for 0.88 seconds.
    assert len(build_tracks(runs(13, 2, 15), frozen(30, 14, 0.8))) == 2


def test_with_a_variable_frame_rate_the_time_without_the_face_counts():
    clock = np.cumsum([0.0] + [0.04] * 10 + [0.5] * 6 + [0.04] * 10)
    (track,) = build_tracks(runs(len(clock)), clock)
    assert len(track.frames) == len(clock)
    (track,) = build_tracks(runs(5, 4, 18), clock)  # 0.16 seconds
    assert np.flatnonzero(track.filled).tolist() == [5, 6, 7, 8]
    assert len(build_tracks(runs(12, 2, 13), clock)) == 2  # two frames of half a second


def test_a_cut_between_slow_frames_does_not_join_two_people():
    found = looks(*[[detection(20, 20)]] * 4, *[[detection(300, 60)]] * 4)
    tracks = build_tracks(found, np.arange(8.0))
    assert sorted(track.frames.tolist() for track in tracks) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert sorted(round(float(track.boxes[:, 0].std()), 6) for track in tracks) == [0.0, 0.0]


@pytest.mark.parametrize(
    "lengths, seconds, tracks",
    [
        ((1,), 1.0, 1),  # a picture
        ((1, 1), 1.0, 1),  # one of two frames
        ((2, 6), 1.0, 1),  # few looks, but for a second
        ((2, 6), 0.04, 0),
        ((1, 7), 1.0, 0),  # one look of eight may be an error of the detector
        ((2, 2), 0.04, 1),  # half of a clip of four frames
    ],
)
def test_a_flicker_is_short_in_looks_and_in_time(lengths, seconds, tracks):
    found = runs(*lengths)
    assert len(build_tracks(found, seconds * np.arange(len(found)))) == tracks


def test_interpolation_follows_the_clock_and_not_the_frame_number():
    clock = np.array([0.0, 0.3, 0.4])  # the middle frame comes late
    found = {0: detection(0, 0)[None], 2: detection(40, 0)[None]}
    (track,) = build_tracks(found, clock, smoothing=0.0)
    np.testing.assert_allclose(track.boxes[:, 0], [0, 30, 40], atol=1e-3)


def test_a_flicker_is_no_track():
    faces = [[detection(50, 20)] + ([detection(300, 20)] if index in (4, 5) else []) for index in range(20)]
    assert len(build_tracks(looks(*faces), times(20))) == 1


def test_the_main_face_is_large_and_long():
    def seen(side, first, last):
        return lambda index: [detection(side * 5, 20, side)] if first <= index <= last else []

    large_short, large_long, small_long = seen(90, 0, 5), seen(80, 0, 29), seen(50, 0, 29)
    frames = [large_short(i) + small_long(i) + large_long(i) for i in range(30)]
    tracks = build_tracks(looks(*frames), times(30))
    assert [track.id for track in tracks] == [0, 1, 2]
    assert tracks[0].boxes[:, 2].mean() == pytest.approx(80)
    assert tracks[1].boxes[:, 2].mean() == pytest.approx(50)


def test_smoothing_follows_constant_motion_and_removes_jitter():
    clock = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.06, 100))
    line = np.column_stack([3.0 * clock, 100.0 - 40.0 * clock])
    np.testing.assert_allclose(smooth(line, clock, 0.1), line, atol=1e-9)
    jitter = np.random.default_rng(1).normal(size=line.shape)
    rest = smooth(line + jitter, clock, 0.1) - line
    assert rest.std() < 0.5 * jitter.std()
    assert smooth(line + jitter, clock, 0.0) is not None
    np.testing.assert_allclose(smooth(line + jitter, clock, 0.0), line + jitter, atol=1e-9)


def test_smoothing_is_a_weighted_line_fit():
    clock = np.sort(np.random.default_rng(0).uniform(0.0, 2.0, 60))
    values = np.random.default_rng(1).normal(size=(60, 1))
    for index in (0, 17, 59):
        near = np.abs(clock - clock[index]) <= 0.6
        weights = np.exp(-0.5 * ((clock[near] - clock[index]) / 0.2) ** 2)
        fit = np.polyfit(clock[near], values[near, 0], 1, w=np.sqrt(weights))  # polyfit squares its weights
        assert smooth(values, clock, 0.2)[index, 0] == pytest.approx(np.polyval(fit, clock[index]))


def test_frames_of_one_moment_do_not_break_the_smoothing():
    faces = [[detection(50 + index, 20)] for index in range(6)]
    (track,) = build_tracks(looks(*faces), np.array([0.0, 0.0, 0.0, 0.04, 0.04, 0.08]))
    assert np.isfinite(track.boxes).all()


def test_the_square_is_centred_on_the_box_and_turned_by_the_eyes():
    faces = [[detection(40, 60, side=100, roll=20.0)] for _ in range(5)]
    (track,) = build_tracks(looks(*faces), times(5))
    x, y, side, angle = crop_squares(track, margin=0.1)[2]
    assert (x, y, side) == pytest.approx((90, 110, 120))
    assert np.degrees(angle) == pytest.approx(20, abs=1e-3)


def test_a_profile_gives_no_angle():
    rolls = [10.0, 10.0, 80.0, 80.0, 10.0, 10.0]
    distances = [0.45, 0.45, 0.05, 0.05, 0.45, 0.45]
    faces = [[detection(40, 60, roll=roll, eye_distance=eyes)] for roll, eyes in zip(rolls, distances, strict=True)]
    (track,) = build_tracks(looks(*faces), times(6), smoothing=0.0)
    np.testing.assert_allclose(np.degrees(crop_squares(track, 0.1)[:, 3]), 10.0, atol=1e-3)
    (profile,) = build_tracks(looks(*faces[2:4], *faces[2:4]), times(4), smoothing=0.0)
    np.testing.assert_array_equal(crop_squares(profile, 0.1)[:, 3], 0.0)
