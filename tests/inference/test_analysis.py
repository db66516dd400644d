"""From raw videos to rows per person, with videos whose people and times are known."""

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from face_clips import FPS, close_up, hidden, place_faces, straight
from tiny_models import move_dam_weights, tiny_backbone_config, tiny_config
from video_files import write_video

from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.downloading_hdf import Download
from modeling_hdf.faces import crop_face
from modeling_hdf.faces.following import Moment
from modeling_hdf.frame_reading_hdf import PictureFrame
from modeling_hdf.inference import Timeline, VideoAnalyzer, analysis, analyze, analyze_stream
from modeling_hdf.inference.rows import TrackRows
from modeling_hdf.inference.subtitles import subtitles
from modeling_hdf.limits_hdf import LIMITS, LimitError

EDGE = 32
FRAME = 1 / FPS


@pytest.fixture(scope="module")
def pair() -> tuple[HDFForVideoClassification, HDFVideoProcessor]:
    """A tiny model with its processor."""
    torch.manual_seed(0)
    config = tiny_config(backbone_config=tiny_backbone_config(image_size=EDGE).to_dict())
    model = move_dam_weights(HDFForVideoClassification(config)).eval()
    processor = HDFVideoProcessor(
        num_frames=config.num_frames, size={"shortest_edge": EDGE}, crop_size={"height": EDGE, "width": EDGE}
    )
    return model, processor


@pytest.fixture(scope="module")
def party(tmp_path_factory) -> Path:
    """A large face from the start, and a second one that comes after 1 s and leaves after 3 s."""
    paths = {0: straight((40, 40), (90, 60), 100), 1: hidden(straight((300, 40), (300, 60), 100), 0, 24)}
    paths[1] = hidden(paths[1], 75, 99)
    return write_video(tmp_path_factory.mktemp("videos") / "party.mp4", list(place_faces(paths, 100)), rate=FPS)


def spans(timeline: Timeline) -> list[list[tuple[float, float]]]:
    return [person.spans for person in timeline.people]


def test_people_and_times_are_right_to_one_frame(pair, party):
    timeline = analyze(party, pair)
    assert spans(timeline) == [[(0.0, 4.0)], [pytest.approx((1.0, 3.0), abs=FRAME)]]
    table = timeline.to_pandas()
    assert list(table.columns[:6]) == ["video", "person", "start", "end", "label", "confidence"]
    assert table["video"].eq(str(party)).all()
    np.testing.assert_allclose(table.loc[:, list(timeline.labels)].sum(axis=1), 1.0, rtol=1e-5)
    first = table[table["person"] == 1]
    np.testing.assert_allclose(first["start"], np.arange(0, 4, 0.5))
    np.testing.assert_allclose(first["end"], np.arange(0.5, 4.5, 0.5))
    assert ((table["face_left"] > 200) == (table["person"] == 2)).all() and (table["face_seen"] == 1).all()
    summary = timeline.summary
    assert summary["seconds"].tolist() == pytest.approx([4.0, 2.0], abs=FRAME)
    mean = first[list(timeline.labels)].mean()
    np.testing.assert_allclose(summary.loc[0, [f"mean_{name}" for name in timeline.labels]].astype(float), mean)
    shares = first["label"].value_counts(normalize=True)
    assert all(summary.loc[0, f"share_{name}"] == pytest.approx(shares.get(name, 0.0)) for name in timeline.labels)


def test_a_window_gets_the_probabilities_of_its_cropped_clip(pair, tmp_path, monkeypatch):
    model, processor = pair
    monkeypatch.setattr(analysis, "follow_faces", partial(analysis.follow_faces, interval=0.125))  # as `crop_face`
    path = write_video(tmp_path / "one.mp4", list(place_faces({0: straight((40, 40), (90, 60), 50)}, 50)), rate=FPS)
    (row,) = analyze(path, pair, hop=2.0).rows
    crop = crop_face(path, size=EDGE, sample=processor.sample_frames)
    with torch.inference_mode():
        inputs = processor(crop.frames, do_sample_frames=False, return_tensors="pt")
        expected = model(**inputs).logits.softmax(-1)[0].numpy()
    assert (row.start, row.end) == (0.0, 2.0)
    np.testing.assert_allclose(row.probabilities, expected, atol=1e-5)


def test_batches_change_nothing_and_a_bad_file_does_not_cost_the_others(pair, party, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    small = dict(VideoAnalyzer(pair, batch_size=1).analyze_all([str(party)]))
    videos = [str(party), str(text), tmp_path / "missing.mp4", {"bytes": party.read_bytes(), "path": "row.mp4"}]
    results = list(VideoAnalyzer(pair, batch_size=64).analyze_all(videos))
    assert [video for video, _ in results] == videos
    assert isinstance(results[1][1], ValueError) and "it is a text file or playlist" in str(results[1][1])
    assert isinstance(results[2][1], FileNotFoundError)
    expected = small[str(party)].to_pandas()
    for (_, timeline), name in zip(
        [results[0], results[3]], [str(party), f"row.mp4 ({party.stat().st_size} bytes)"], strict=True
    ):
        table = timeline.to_pandas()
        assert table["video"].eq(name).all() and table["label"].tolist() == expected["label"].tolist()
        numbers = table.select_dtypes("number").columns
        np.testing.assert_allclose(table[numbers], expected[numbers], atol=1e-5)


def test_objects_that_are_no_videos_are_named_and_do_not_cost_the_others(pair, party, tmp_path, monkeypatch):
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    analyzer = VideoAnalyzer(pair)
    with text.open() as opened:
        objects = [np.zeros((3, 20, 20, 3), np.float32), None, 5, opened, {"x": 1}, [None]]
        results = list(analyzer.analyze_all([*objects, party]))
    assert [type(error) for _, error in results[:-1]] == [ValueError] * len(objects)
    messages = [str(error) for _, error in results[:-1]]
    assert "got floats" in messages[0] and "text mode" in messages[3] and "got ['x']" in messages[4]
    assert "a frame must be a PIL image, an array or a tensor, got NoneType" in messages[5]
    assert len(results[-1][1].people) == 2

    def wrong(*_):
        raise TypeError("of our own")

    monkeypatch.setattr(analyzer.queue, "_classify", wrong)
    with pytest.raises(TypeError, match="of our own"):
        list(analyzer.analyze_all([party]))


def test_an_analyzer_works_as_before_after_an_interruption(pair, party, monkeypatch):
    analyzer, sizes = VideoAnalyzer(pair, batch_size=2), []
    classify, add_result = analyzer.queue._classify, TrackRows.add_result
    analyzer.queue._classify = lambda windows: sizes.append(len(windows)) or classify(windows)
    analyzer.analyze(party)
    expected, calls = sizes.copy(), iter([True])

    def interrupted_once(*arguments):
        if next(calls, False):
            raise KeyboardInterrupt
        return add_result(*arguments)

    def interrupted_videos():
        yield place_faces({0: straight((40, 40), (90, 60), 10)}, 10)  # one window, which waits for a second one
        raise KeyboardInterrupt

    monkeypatch.setattr(TrackRows, "add_result", interrupted_once)
    for interrupt in (lambda: analyzer.analyze(party), lambda: list(analyzer.analyze_all(interrupted_videos()))):
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        sizes.clear()
        analyzer.analyze(party)
        assert sizes == expected and max(sizes) == 2


def test_times_follow_the_video_with_a_late_start_and_uneven_frames(pair, tmp_path):
    ticks = np.cumsum(np.random.default_rng(1).integers(1, 6, 60)) + 180  # of 1/50 s, from 3.6 s on
    frames = place_faces({0: hidden(straight((150, 60), (150, 80), 60), 40, 59)}, 60)
    path = write_video(tmp_path / "late.mkv", list(frames), rate=50, pts=ticks.tolist())
    timeline = analyze(path, pair)
    assert spans(timeline) == [[pytest.approx((ticks[0] / 50, ticks[40] / 50), abs=2e-3)]]
    assert timeline.rows[0].start == pytest.approx(ticks[0] / 50, abs=2e-3)
    assert timeline.rows[-1].end == pytest.approx(ticks[40] / 50, abs=2e-3)


def test_a_recorded_broadcast_is_as_long_as_it_says_and_its_subtitles_and_copy_start_at_zero(pair, tmp_path):
    frames = list(place_faces({0: straight((150, 60), (150, 80), 30)}, 30))
    path = write_video(tmp_path / "broadcast.ts", frames, rate=FPS, pts=range(100 * FPS, 100 * FPS + 30))
    lengths = set()
    timeline = VideoAnalyzer(pair).analyze(path, progress=lambda *state: lengths.add(state[-1]))
    assert spans(timeline) == [[pytest.approx((100.0, 101.2))]] and [*lengths] == [pytest.approx(1.2)]
    assert not timeline.problems
    assert subtitles(timeline, "vtt").startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.200\n")
    timeline.annotate(tmp_path / "copy.mp4", path)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert [frame.time for frame in copy.decode(video=0)] == pytest.approx(np.arange(30) / FPS, abs=1e-4)


def test_pictures_cuts_and_damage_are_told_of_a_long_video(pair, tmp_path):
    frames = place_faces({}, 60, size=(180, 320))
    frames[30:] = (30, 200, 40)  # another scene
    path = write_video(tmp_path / "long.mkv", list(frames), rate=1)
    timeline = analyze(path, pair)
    assert timeline.cuts == [30.0] and not timeline.problems
    times = [time for time, _ in timeline.thumbnails]
    assert len(times) <= 24 and times[0] == 0.0 and times[-1] > 55.0 and np.diff(times).max() <= 4.0
    for time, picture in timeline.thumbnails:
        assert picture.shape == (90, 160, 3)
        assert np.abs(picture.mean((0, 1)) - frames[int(time), 0, 0]).max() < 10
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "declares 60.00 s, but its pictures end" in analyze(path, pair).problems[-1]


def test_damage_after_the_last_good_frame_is_told_although_the_search_for_turns_ends_before_it(pair, tmp_path):
    frames = [np.full((180, 320, 3), 100 + number, np.uint8) for number in range(20)]
    path = write_video(tmp_path / "empty.mkv", frames, rate=FPS, max_b_frames=0, gop_size=1)
    with av.open(str(path)) as container:
        last = [packet for packet in container.demux(video=0) if packet.size][-1]
    content = bytearray(path.read_bytes())
    content[last.pos + 20 : last.pos + last.size] = bytes(last.size - 20)
    path.write_bytes(content)
    timeline = analyze(path, pair)
    assert not timeline.people and len(timeline.problems) == 1
    assert f"{path}: 1 packets or frames are damaged" in timeline.problems[0]


@pytest.mark.parametrize("seconds", [Fraction(1, 25), Fraction(7, 10), Fraction(3, 2)])
def test_pictures_are_spaced_evenly_at_any_frame_rate(pair, seconds):
    each_pass = VideoAnalyzer(pair).start_pass("video")
    picture = PictureFrame(np.zeros((9, 16, 3), np.uint8), (9, 16))
    for index in range(round(200 / seconds)):
        each_pass.add(Moment(index * seconds, (index + 1) * seconds, picture, [], False, []))
    times = [time for time, _ in each_pass.timeline.thumbnails]
    assert 12 <= len(times) <= 24 and times[0] == 0.0
    np.testing.assert_allclose(np.diff(times), times[1])
    assert 200 - times[-1] <= times[1] + seconds


def test_people_are_numbered_by_prominence_and_not_by_appearance(pair, tmp_path):
    paths = {0: hidden(straight((40, 40), (40, 60), 60), 30, 59), 1: hidden(straight((300, 40), (300, 60), 60), 0, 9)}
    timeline = analyze(write_video(tmp_path / "a.mp4", list(place_faces(paths, 60)), rate=FPS), pair)
    assert spans(timeline) == [[pytest.approx((0.4, 2.4), abs=FRAME)], [pytest.approx((0.0, 1.2), abs=FRAME)]]
    assert {row.person: row.box[0] > 200 for row in timeline.rows} == {1: True, 2: False}


def test_who_comes_back_is_another_person_or_the_same_if_asked(pair, tmp_path):
    frames = place_faces({0: hidden(straight((150, 60), (150, 80), 90), 30, 59)}, 90)
    path = write_video(tmp_path / "back.mp4", list(frames), rate=FPS)
    assert len(analyze(path, pair).people) == 2
    timeline = analyze(path, pair, same_person=True)
    ((first, second),) = spans(timeline)
    assert first == pytest.approx((0, 1.2), abs=FRAME) and second == pytest.approx((2.4, 3.6), abs=FRAME)
    assert timeline.people[0].seconds == pytest.approx(2.4, abs=2 * FRAME)
    assert {row.person for row in timeline.rows} == {1}
    assert timeline.people[0].box_at(1.5) is None and timeline.people[0].box_at(2.4).shape == (4,)


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_turned_video_is_analysed_upright(pair, turns):
    frames = place_faces({0: straight((150, 60), (150, 80), 30)}, 30)
    expected = analyze(frames, pair)
    timeline = analyze(np.ascontiguousarray(np.rot90(frames, turns, axes=(1, 2))), pair)
    assert len(timeline.people) == 1 and timeline.quarter_turns == -turns % 4 and timeline.size == (270, 480)
    np.testing.assert_allclose(timeline.rows[0].box, expected.rows[0].box, atol=6.0)


@pytest.mark.parametrize("turns", [1, 3])
def test_a_close_face_filmed_sideways_is_analysed_upright(pair, turns):
    frames = close_up(30)
    expected = analyze(frames, pair)
    timeline = analyze(np.ascontiguousarray(np.rot90(frames, turns, axes=(1, 2))), pair)
    assert (timeline.quarter_turns, expected.quarter_turns) == (-turns % 4, 0)
    assert len(timeline.people) == 1 and timeline.size == expected.size
    np.testing.assert_allclose(timeline.rows[0].box, expected.rows[0].box, atol=6.0)


def test_no_face_gives_empty_tables(pair):
    timeline = analyze(place_faces({}, 5), pair)
    assert timeline.to_pandas().empty and timeline.summary.empty and timeline.end == pytest.approx(5 / 25)


def test_a_result_waits_for_no_more_videos_than_a_batch_has_windows_and_that_of_a_download_for_none(pair, tmp_path):
    frames, taken = place_faces({0: straight((150, 60), (150, 80), 12)}, 12), []
    remote = Download("https://example.org/face.mp4")
    remote.file = write_video(tmp_path / "face.mp4", list(frames), rate=FPS).open("rb")

    def videos(*each):
        for video in each:
            taken.append(video)
            yield video

    for first, expected in ((remote, 1), (frames, 5)):
        taken.clear()
        results = VideoAnalyzer(pair, batch_size=4).analyze_all(videos(first, *[place_faces({}, 1)] * 9))
        assert len(next(results)[1].rows) == 1 and len(taken) == expected
        assert len(list(results)) == 9
    remote.close()


def test_classes_are_renamed_and_wrong_settings_named(pair, party):
    names = [pair[0].config.id2label[index] for index in range(2)]
    timeline = analyze(party, pair, labels={names[0]: "Freude"})
    assert timeline.labels[:2] == ("Freude", names[1]) and "Freude" in timeline.to_pandas()
    for options, message in [
        ({"labels": {"joy": "x"}}, "'joy' is no class"),
        ({"labels": {names[0]: names[1]}}, "Two classes would have one name"),
        ({"labels": {names[0]: "start"}}, "'start' is a column of the table"),
        ({"hop": 3.0}, "`hop` must be at least a microsecond and at most the window of 2.0 seconds, got 3.0"),
        ({"hop": 1e-7}, "`hop` must be at least a microsecond and at most the window of 2.0 seconds, got 1e-07"),
        ({"hop": 0.0}, "`hop` must be at least a microsecond"),
        ({"window": float("inf")}, "`window` and `hop` must be finite, got inf and 0.5 seconds"),
        ({"hop": float("nan")}, "`window` and `hop` must be finite, got 2.0 and nan seconds"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            analyze(party, pair, **options)


def test_progress_is_in_seconds_of_the_video(pair, party):
    seen = []
    VideoAnalyzer(pair).analyze(party, progress=lambda *seconds: seen.append(seconds))
    assert seen[-1] == (party, pytest.approx(4.0), pytest.approx(4.0)) and len(seen) == 100
    assert [seconds for _, seconds, _ in seen] == sorted(seconds for _, seconds, _ in seen)


def test_settings_are_exact_fractions(pair):
    assert VideoAnalyzer(pair, window=1.6, hop=0.1).hop == Fraction(1, 10)


def test_time_stamps_that_jump_do_not_ask_for_a_row_every_half_second(pair, party, tmp_path, monkeypatch):
    """A file of a few kB would else ask for millions of rows: its last frame starts two hours after the one before."""
    monkeypatch.setattr(LIMITS, "duration", 3600.0)
    frames = list(place_faces({0: straight((40, 40), (50, 40), 30)}, 30, size=(200, 240)))
    for name, last in (("jump.mkv", 7200), ("early.mkv", -7200)):
        pts = [last * FPS, *range(29)] if last < 0 else [*range(29), last * FPS]
        path = write_video(tmp_path / name, frames, rate=FPS, pts=[each - min(pts) for each in pts], max_b_frames=0)
        message = f"{path}: its time stamps span 7,(199|200|201) seconds, and the limit is 3,600"
        with pytest.raises(LimitError, match=message):
            analyze(path, pair)
        with pytest.raises(LimitError, match=message):
            list(analyze_stream(str(path), pair))
    analyzer = VideoAnalyzer(pair)
    (_, bad), (_, good) = analyzer.analyze_all([path, party])
    assert isinstance(bad, LimitError) and len(good.people) == 2 and not analyzer.queue.holds(good)


def test_the_limit_on_the_duration_holds_for_all_frames_together_but_not_for_a_stream(pair, party, monkeypatch):
    monkeypatch.setattr(LIMITS, "duration", 3.9)
    with pytest.raises(LimitError, match="its time stamps span 4 seconds, and the limit is 3.9"):
        analyze(party, pair)
    assert len(list(analyze_stream(str(party), pair))) == 12  # each frame alone is short
    monkeypatch.setattr(LIMITS, "duration", 4.0)
    assert len(analyze(party, pair).rows) == 12
