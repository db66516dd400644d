"""Temporal sampling against loops over fractions."""

from fractions import Fraction

import numpy as np
import pytest
from transformers.video_utils import VideoMetadata

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import TemporalSampling

# Frames shown for 1, 4, 2, ... ticks, from tick 3 on.
DURATIONS = [1, 4, 2, 2, 7, 1, 1, 3, 5, 2, 2]
TIMESTAMPS = np.cumsum([3, *DURATIONS])


def metadata(total):
    return VideoMetadata(total, fps=None, duration=None)


def shown_at(position, timestamps):
    """Number of the frame shown at a share of the presentation interval, by walking along the frames."""
    time = int(timestamps[0]) + position * int(timestamps[-1] - timestamps[0])
    return max(index for index, start in enumerate(timestamps[:-1]) if int(start) <= time)


@pytest.mark.parametrize("num_views", [1, 2, 3])
@pytest.mark.parametrize("num_frames", [1, 4, 8, 16])
@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("kind", ["uniform", "segments"])
def test_views_look_at_fixed_positions_of_each_segment(kind, timed, num_frames, num_views):
    timestamps = TIMESTAMPS if timed else np.arange(len(DURATIONS) + 1)
    for view in range(num_views):
        sample = TemporalSampling(kind, num_frames).view(view, num_views)
        expected = [
            shown_at((part + Fraction(2 * view + 1, 2 * num_views)) / num_frames, timestamps)
            for part in range(num_frames)
        ]
        actual = sample(metadata=metadata(len(DURATIONS)), timestamps=TIMESTAMPS if timed else None)
        assert actual.tolist() == expected


@pytest.mark.parametrize("total", [1, 3, 16, 70, 847])
def test_the_single_uniform_view_is_the_sampling_of_the_processor(total):
    processor = HDFVideoProcessor(num_frames=16)
    timestamps = np.cumsum(np.random.default_rng(total).integers(1, 90, total + 1))
    for times in (None, timestamps):
        expected = processor.sample_frames(metadata(total), timestamps=times)
        actual = TemporalSampling("uniform", 16).view()(metadata=metadata(total), timestamps=times)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("timed", [True, False])
def test_segments_draw_every_frame_of_each_segment_and_no_other(timed):
    generator = np.random.default_rng(0)
    timestamps = TIMESTAMPS if timed else np.arange(len(DURATIONS) + 1)
    sample = TemporalSampling("segments", 4).sample_randomly(generator)
    sampled = np.stack(
        [sample(metadata=metadata(len(DURATIONS)), timestamps=TIMESTAMPS if timed else None) for _ in range(2000)]
    )
    for part in range(4):
        low, high = shown_at(Fraction(part, 4), timestamps), shown_at(Fraction(part + 1, 4), timestamps)
        ends_on_a_start = (timestamps[high] - timestamps[0]) * 4 == (part + 1) * (timestamps[-1] - timestamps[0])
        assert set(sampled[:, part]) == set(range(low, high if ends_on_a_start else high + 1))


def test_segments_draw_frames_as_often_as_they_are_shown_long():
    sample = TemporalSampling("segments", 1).sample_randomly(np.random.default_rng(0))
    sampled = [sample(metadata=metadata(11), timestamps=TIMESTAMPS)[0] for _ in range(6000)]
    shares = np.bincount(sampled, minlength=11) / 6000
    np.testing.assert_allclose(shares, np.array(DURATIONS) / sum(DURATIONS), atol=0.02)


def dense_reference(total, num_frames, stride, start):
    return [min(start + stride * step, total - 1) for step in range(num_frames)]


@pytest.mark.parametrize(("total", "stride"), [(100, 4), (28, 1), (62, 4), (61, 4)])
def test_dense_sampling_starts_anywhere_the_span_fits(total, stride):
    sample = TemporalSampling("dense", 16, stride).sample_randomly(np.random.default_rng(0))
    starts = set()
    for _ in range(1500):
        frames = sample(metadata=metadata(total)).tolist()
        starts.add(frames[0])
        assert frames == dense_reference(total, 16, stride, frames[0])
    assert starts == set(range(total - 15 * stride))
    assert max(starts) + 15 * stride == total - 1  # the last frame is within reach


@pytest.mark.parametrize(("num_views", "starts"), [(1, [20]), (2, [0, 40]), (3, [0, 20, 40]), (4, [0, 13, 26, 40])])
def test_dense_views_start_at_equal_distances(num_views, starts):
    sampling = TemporalSampling("dense", 16, 4)
    for view, start in enumerate(starts):
        frames = sampling.view(view, num_views)(metadata=metadata(101))  # span 61: starts 0 to 40
        assert frames.tolist() == dense_reference(101, 16, 4, start)


@pytest.mark.parametrize("total", [1, 11, 60])
def test_in_a_clip_shorter_than_the_span_the_last_frame_repeats(total):
    sampling = TemporalSampling("dense", 16, 4)
    expected = dense_reference(total, 16, 4, 0)
    assert expected[-1] == total - 1
    for sample in (sampling.sample_randomly(np.random.default_rng(0)), sampling.view(), sampling.view(1, 2)):
        assert sample(metadata=metadata(total)).tolist() == expected


def test_uniform_sampling_is_not_random_in_training():
    sampling = TemporalSampling("uniform", 8)
    sampled = sampling.sample_randomly(np.random.default_rng(0))(metadata=metadata(50))
    np.testing.assert_array_equal(sampled, sampling.view()(metadata=metadata(50)))
    assert [TemporalSampling(kind).is_random for kind in ("uniform", "segments", "dense")] == [False, True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("random", 16), "`temporal_sampling` is 'random'"),
        (("uniform", 0), "`num_frames` is 0"),
        (("dense", 16, 0), "`sampling_stride` is 0"),
        (("uniform", 16, 4), "stride of 4 needs dense"),
    ],
)
def test_wrong_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TemporalSampling(*arguments)


@pytest.mark.parametrize("view", [(2, 2), (-1, 2), (0, 0)])
def test_a_view_that_does_not_exist_is_refused(view):
    with pytest.raises(ValueError, match="does not exist"):
        TemporalSampling().view(*view)
