"""The progress bar: seconds of video and the time left, also of several videos at once."""

import re

import pytest

from modeling_hdf.inference.progress import ProgressBar


def shown(capsys) -> str:
    """The last state of the bar."""
    return [line for line in re.split(r"[\r\n]", capsys.readouterr().err) if line.strip()][-1].strip()


def test_one_video_is_named_and_its_declared_length_is_the_whole(capsys):
    with ProgressBar() as bar:
        bar("party.mp4", 0.04, 20.0)
        bar("party.mp4", 5.0, 20.0)
        assert bar._bar.n == 5.0 and bar._bar.total == 20.0
        bar("party.mp4", 20.02, 20.0)
    assert re.fullmatch(r"party.mp4: 100% \|.+\| 20/20 s, 00:00 left", shown(capsys))


def test_a_video_of_unknown_length_shows_its_seconds(capsys):
    with ProgressBar() as bar:
        bar({"bytes": b""}, 7.0, None)
    assert shown(capsys) == "video: 7 s"


def test_several_videos_share_a_bar_and_the_length_of_the_others_is_their_mean(capsys):
    first, second, unreadable = "a.mp4", "b.mp4", "text.mp4"
    with ProgressBar(4) as bar:
        bar(first, 1.0, 30.0)
        bar(second, 2.0, 10.0)  # at the same time, in another process
        assert (bar._bar.n, bar._bar.total) == (3.0, pytest.approx(4 * 20.0))
        bar.finish(first)  # whose last seconds were not reported
        bar.finish(unreadable)  # takes no time
        assert (bar._bar.n, bar._bar.total) == (32.0, pytest.approx(4 * (30.0 + 10.0 + 0.0) / 3))
        bar(second, 1.0, 10.0)  # a second pass
    assert re.fullmatch(r"2 of 4 videos:  58% \|.+\| 31/53 s, \d\d:\d\d left", shown(capsys))


def test_the_time_left_is_that_of_the_mean_speed(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with ProgressBar(2) as bar:
        bar("a.mp4", 0.0, 60.0)
        for second in range(1, 31):
            now[0] += 2.0 if second <= 15 else 6.0
            bar("a.mp4", float(second), 60.0)
        assert (bar._bar.n, bar._bar.total) == (30.0, 120.0)
    # 30 of 120 seconds took 120 seconds.
    assert shown(capsys).endswith("30/120 s, 06:00 left")
