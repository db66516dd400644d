"""Sliding windows and the rows made of them, against loops over all frames."""

from fractions import Fraction

import numpy as np
import pytest

from modeling_hdf.inference.rows import TrackRows
from modeling_hdf.inference.windows import SlidingWindows, Window, sample_times


def random_frames(rng: np.random.Generator, seconds: float, rate: int) -> list[tuple[Fraction, Fraction]]:
    """Start and end of frames of random duration, from a random time on."""
    starts, ends = [], Fraction(int(rng.integers(0, 500)), 90)
    first = ends
    while ends - first < seconds:
        starts.append(ends)
        ends += Fraction(int(rng.integers(1, 2 * 90 // rate)), 90)
    return list(zip(starts, [*starts[1:], ends], strict=True))


def shown_at(frames: list[tuple[Fraction, Fraction]], time: Fraction) -> int:
    return max(index for index, (start, _) in enumerate(frames) if start <= time)


def windows_of(frames, length: Fraction, hop: Fraction, num_frames: int) -> tuple[list[Window], int, int]:
    """All windows of a track whose crops hold the number of their frame; most crops kept, and crops made."""
    windows, made, kept, crops = SlidingWindows(frames[0][0], length, hop, num_frames), [], 0, 0
    for index, (start, end) in enumerate(frames):
        is_wanted = windows.wants(start, end)
        crops += is_wanted
        made += windows.add(start, end, np.full((1, 1, 3), index) if is_wanted else None)
        kept = max(kept, len(windows._crops))
    last = windows.finish(frames[-1][1])
    return made + ([last] if last else []), kept, crops


@pytest.mark.parametrize("rate", [1, 5, 25, 60])
@pytest.mark.parametrize(
    ("seconds", "length", "hop"),
    [(12, "2", "0.5"), (12, "2", "0.3"), (7, "1.5", "1.5"), (1, "2", "0.5"), (2, "2", "2")],
)
def test_windows_show_the_frames_at_their_sample_times(rate, seconds, length, hop):
    rng = np.random.default_rng(rate)
    frames, length, hop = random_frames(rng, seconds, rate), Fraction(length), Fraction(hop)
    windows, _, _ = windows_of(frames, length, hop, 8)
    start, end = frames[0][0], frames[-1][1]
    count = max(0, (end - start - length) // hop + 1) if end - start >= length else 0
    assert [window.start for window in windows[:count]] == [start + number * hop for number in range(count)]
    for window in windows[:count]:
        expected = [shown_at(frames, time) for time in sample_times(window.start, window.start + length, 8)]
        assert window.end == window.start + length and window.crops[:, 0, 0, 0].tolist() == expected
    if count and windows[count - 1].end == end:
        assert len(windows) == count
        return
    (last,) = windows[count:]
    assert (last.start, last.end) == (max(start, end - length), end)
    for time, number in zip(sample_times(last.start, end, 8), last.crops[:, 0, 0, 0].tolist(), strict=True):
        exact = shown_at(frames, time)
        if not count:  # a track shorter than a window
            assert number == exact
        else:
            assert (
                number <= exact
                and frames[exact][0] - frames[number][0] <= length / 8 + frames[number][1] - frames[number][0]
            )


def test_a_long_track_crops_few_frames_and_keeps_fewer():
    frames = [(Fraction(index, 50), Fraction(index + 1, 50)) for index in range(50 * 60)]
    windows, kept, crops = windows_of(frames, Fraction(2), Fraction(1, 2), 8)
    assert len(windows) == 117 and kept <= 101  # the first two seconds are kept whole
    assert crops <= 100 + 60 * 4 + 8  # every fourth of a second


def test_a_frame_shown_for_an_hour_gives_one_window_at_a_time():
    windows = SlidingWindows(Fraction(0), Fraction(2), Fraction(1, 2), 4)
    given = windows.add(Fraction(0), Fraction(3600), np.zeros((1, 1, 3)))
    assert next(given).end == 2 and next(given).start == Fraction(1, 2)


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_means_over_the_windows_that_cover_them(seed):
    rng = np.random.default_rng(seed)
    frames, labels = random_frames(rng, [0.8, 2.3, 9][seed % 3], 10), ("a", "b", "c")
    start, end, length, hop = frames[0][0], frames[-1][1], Fraction(2), Fraction(2 if seed > 2 else "0.7")
    windows, _, _ = windows_of(frames, length, hop, 4)
    probabilities = rng.dirichlet(np.ones(3), len(windows))
    boxes, seen = rng.uniform(0, 99, (len(frames), 4)), rng.random(len(frames)) < 0.7
    rows = TrackRows(3, start, length, hop, labels)
    for (begin, finish), box, is_seen in zip(frames, boxes, seen, strict=True):
        rows.add_frame(begin, finish, box, bool(is_seen))
    made = [row for pair in zip(windows, probabilities, strict=True) for row in rows.add_result(*pair)]
    made += rows.finish(end)

    edges = [start]
    if end - start >= length:
        edges = [start + number * hop for number in range(int((end - start) // hop) + 1) if start + number * hop < end]
    edges.append(end)
    assert [(row.start, row.end) for row in made] == [
        (float(first), float(last)) for first, last in zip(edges, edges[1:], strict=False)
    ]
    for row, first, last in zip(made, edges, edges[1:], strict=False):
        covering = [
            each
            for window, each in zip(windows, probabilities, strict=True)
            if window.start <= first and window.end >= last
        ]
        np.testing.assert_allclose(row.probabilities, np.mean(covering, axis=0))
        assert row.label == labels[row.probabilities.argmax()] and row.confidence == row.probabilities.max()
        shares = np.array([max(0, float(min(finish, last) - max(begin, first))) for begin, finish in frames])
        np.testing.assert_allclose(row.box, shares @ boxes / shares.sum(), rtol=1e-6)
        assert row.face_seen == pytest.approx(shares @ seen / shares.sum(), abs=1e-6)
        assert row.person == 3
