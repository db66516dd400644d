"""Subtitles, annotated videos, and pictures of a timeline."""

import re
from array import array
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from modeling_hdf.inference import Person, Row, Timeline
from modeling_hdf.inference.drawing import Annotator, _overlap, annotate
from modeling_hdf.inference.palette import class_color, text_color
from modeling_hdf.inference.plots import plot_timeline, timeline_page
from modeling_hdf.inference.subtitles import subtitles

LABELS = ("happiness", "neutral", "<b>fear</b>")
FPS, SECONDS, HEIGHT, WIDTH = 20, 3, 180, 321  # an odd width


def made_row(person: int, start: float, end: float, label: str) -> Row:
    probabilities = np.where(np.array(LABELS) == label, 0.8, 0.1)
    return Row(person, start, end, label, 0.8, probabilities, np.zeros(4), 1.0)


def made_person(number: int, box: tuple, start: float, end: float) -> Person:
    starts = [index / FPS for index in range(FPS * SECONDS) if start <= index / FPS < end]
    return Person(number, [(start, end)], array("d", starts), array("f", box * len(starts)), 1.0)


@pytest.fixture
def timeline(tmp_path) -> Timeline:
    """Two people in a grey video with sound."""
    people = [made_person(1, (40, 60, 80, 90), 0, 3), made_person(2, (200, 60, 60, 80), 1, 2)]
    rows = [made_row(1, 0, 1, "happiness"), made_row(1, 1, 2, "happiness"), made_row(1, 2, 3, "neutral")]
    rows += [made_row(2, 1, 2, "<b>fear</b>")]
    path = tmp_path / "<i>&.mp4"
    with av.open(str(path), "w") as output:
        video, sound = output.add_stream("libx264", rate=FPS), output.add_stream("aac", rate=16000)
        video.width, video.height, video.pix_fmt = WIDTH - 1, HEIGHT, "yuv420p"
        for index in range(FPS * SECONDS):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH - 1, 3), 128, np.uint8), format="rgb24")
            output.mux(video.encode(frame.reformat(format="yuv420p")))
            samples = np.full((1, 16000 // FPS), 0.1, np.float32)
            noise = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            noise.sample_rate, noise.pts = 16000, index * 16000 // FPS
            output.mux(sound.encode(noise))
        output.mux([*video.encode(), *sound.encode()])
    thumbnails = [(0.0, np.zeros((9, 16, 3), np.uint8)), (1.5, np.zeros((9, 16, 3), np.uint8))]
    return Timeline(str(path), LABELS, rows, people, 0.0, 3.0, (HEIGHT, WIDTH - 1), cuts=[2.0], thumbnails=thumbnails)


def with_sound(
    timeline: Timeline, path: Path, codec: str, sound: np.ndarray, rate: int, frames: int | None = None
) -> Path:
    """The first or all frames of the timeline's video with 16-bit sound `(channels, samples)`."""
    layout = {1: "mono", 2: "stereo"}[len(sound)]
    with av.open(timeline.video) as before, av.open(str(path), "w") as output:
        video, track = output.add_stream("libx264", FPS), output.add_stream(codec, rate)
        video.width, video.height, video.pix_fmt, track.layout = WIDTH - 1, HEIGHT, "yuv420p", layout
        for frame in islice(before.decode(video=0), frames):
            frame.pict_type = 0
            output.mux(video.encode(frame))
        output.mux(video.encode())
        interleaved = np.ascontiguousarray(sound.T.astype(np.int16)).reshape(1, -1)
        samples = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=layout)
        samples.sample_rate, samples.pts = rate, 0
        output.mux([*track.encode(samples), *track.encode()])
    return path


def tone(rate: int, channels: int = 1) -> np.ndarray:
    """A tone from 1 s to 2 s, of 3 s."""
    times = np.arange(SECONDS * rate) / rate
    return np.tile(16000 * np.sin(2 * np.pi * 440 * times) * ((times >= 1) & (times < 2)), (channels, 1))


def loud_seconds(path: Path) -> np.ndarray:
    """The times of an AAC track, in steps of 0.1 s, around which it is loud."""
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        frames = [(frame.time, np.abs(frame.to_ndarray()).max()) for frame in container.decode(audio=0)]
    return np.unique([round(time, 1) for time, peak in frames if peak > 0.1])


def shown_colors(path: Path) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Mean of each plane of the first frame, and its matrix, primaries and transfer function."""
    with av.open(str(path)) as container:
        frame, context = next(container.decode(video=0)), container.streams.video[0].codec_context
        planes = np.split(frame.to_ndarray().ravel(), np.array([4, 5]) * frame.width * frame.height // 4)
        tags = context.colorspace, context.color_primaries, context.color_trc
    return tuple(float(plane.mean()) for plane in planes), tags


def test_a_timeline_is_shown_in_one_line(timeline):
    assert repr(timeline) == f"Timeline({timeline.video!r}: 2 people in 3.0 s, 4 rows)"
    assert len(repr(timeline.people[0])) < 100  # without the boxes of all frames


def test_subtitles_join_equal_steps_and_give_each_person_a_line(timeline):
    expected = [("00:00:00{}000", "00:00:01{}000", "1: happiness")]
    expected += [("00:00:01{}000", "00:00:02{}000", "1: happiness\n2: <b>fear</b>")]
    expected += [("00:00:02{}000", "00:00:03{}000", "1: neutral")]
    for kind, point in (("vtt", "."), ("srt", ",")):
        text = subtitles(timeline, kind)
        assert text.startswith("WEBVTT\n\n") == (kind == "vtt")
        found = re.findall(r"\d+\n(\S+) --> (\S+)\n((?:.+\n)+)", text)
        escaped = [(start.format(point), end.format(point), line) for start, end, line in expected]
        if kind == "vtt":
            escaped = [(start, end, line.replace("<", "&lt;").replace(">", "&gt;")) for start, end, line in escaped]
        assert [(start, end, line.strip()) for start, end, line in found] == escaped
    late = Timeline("a", LABELS, [made_row(1, 3661.5, 3662.25, "neutral")], [made_person(1, (0, 0, 1, 1), 0, 1)])
    assert "01:01:01.500 --> 01:01:02.250\nneutral" in subtitles(late, "vtt")


@pytest.mark.parametrize("kind", ["path", "content", "file object"])
def test_an_annotated_video_keeps_times_and_sound_and_shows_boxes(timeline, tmp_path, kind):
    path, content = tmp_path / "out.mp4", Path(timeline.video).read_bytes()
    annotate(timeline, {"path": timeline.video, "content": content, "file object": BytesIO(content)}[kind], path)
    with av.open(timeline.video) as before, av.open(str(path)) as after:
        assert [stream.type for stream in after.streams].count("audio") == 1
        times = [[float(frame.pts * frame.time_base) for frame in each.decode(video=0)] for each in (before, after)]
        assert times[0] == pytest.approx(times[1], abs=2e-5) and len(times[0]) == FPS * SECONDS
        assert after.streams.video[0].codec_context.extradata[3] <= 40  # the level of H.264, ten times
        for each in (before, after):  # the last frame too lasts as long as it did
            assert float(each.streams.video[0].duration * each.streams.video[0].time_base) == pytest.approx(SECONDS)
    with av.open(timeline.video) as before, av.open(str(path)) as after:
        first, second = ([bytes(packet) for packet in each.demux(audio=0) if packet.size] for each in (before, after))
        assert first == second and len(first) > 20
    with av.open(str(path)) as after:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in after.decode(video=0)]
    edge = frames[10][80:140, 40:43].mean((0, 1)) / 255  # the left edge of the first box
    assert np.abs(edge - to_rgb(class_color(0))).max() < 0.25
    assert np.abs(frames[10][60:140, 200:260] - 128).max() < 40  # the second person is not there yet
    assert np.abs(frames[30][60:140, 200:203] - 128).max() > 60


def test_a_smaller_copy_has_smaller_boxes_and_sound_that_mp4_cannot_hold_becomes_aac(timeline, tmp_path):
    source, path = with_sound(timeline, tmp_path / "pcm.mkv", "pcm_s16le", tone(16000), 16000), tmp_path / "small.mp4"
    annotate(timeline, source, path, max_side=160)
    assert loud_seconds(path) == pytest.approx(np.arange(1.0, 2.05, 0.1))
    with av.open(str(path)) as after:
        frame = [frame.to_ndarray(format="rgb24").astype(float) for frame in after.decode(video=0)][10]
    assert frame.shape == (90, 160, 3)
    assert np.abs(frame[45:70, 20:22].mean((0, 1)) / 255 - to_rgb(class_color(0))).max() < 0.3


def test_the_sound_of_joined_files_goes_on_with_their_pictures(timeline, tmp_path):
    joined, path = tmp_path / "joined.ts", tmp_path / "out.mp4"
    with av.open(timeline.video) as before, av.open(str(joined), "w") as output:
        streams = [output.add_stream_from_template(stream) for stream in before.streams]
        for packet in before.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
    joined.write_bytes(joined.read_bytes() * 2)
    annotate(replace(timeline, end=2.0 * SECONDS), joined, path)
    with av.open(str(path)) as after:
        assert after.streams.video[0].frames == 2 * FPS * SECONDS
        starts = [frame.time for frame in after.decode(audio=0)]
        assert np.diff(starts).max() < 0.2 and starts[-1] == pytest.approx(2 * SECONDS, abs=0.2)


@pytest.mark.parametrize("name, codec, rate", [("a.avi", "libmp3lame", 44100), ("a.mkv", "libopus", 48000)])
def test_sound_that_mp4_can_hold_is_copied_whatever_its_decoder_is_called(timeline, tmp_path, name, codec, rate):
    source = with_sound(timeline, tmp_path / name, codec, tone(rate, 2), rate)
    annotate(timeline, source, tmp_path / "out.mp4")
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        first, second = ([bytes(packet) for packet in each.demux(audio=0) if packet.size] for each in (before, after))
    assert first == second and len(first) > 20


def test_sound_with_coarse_times_keeps_its_place(timeline, tmp_path):
    source = with_sound(timeline, tmp_path / "mp2.avi", "mp2", tone(44100, 2), 44100)
    annotate(timeline, source, tmp_path / "out.mp4")
    assert loud_seconds(tmp_path / "out.mp4") == pytest.approx(np.arange(1.0, 2.05, 0.1), abs=0.06)


@pytest.mark.parametrize("rate, channels", [(48000, 1), (44100, 2), (32000, 1)])
def test_sound_whose_channels_or_rate_change_midway_goes_on(timeline, tmp_path, rate, channels):
    first = with_sound(timeline, tmp_path / "first.ts", "mp2", tone(48000, 2), 48000)
    second = with_sound(timeline, tmp_path / "second.ts", "mp2", tone(rate, channels), rate)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    annotate(replace(timeline, end=2.0 * SECONDS), first, tmp_path / "out.mp4")
    expected = [*np.arange(1.0, 2.05, 0.1), *np.arange(4.0, 5.05, 0.1)]
    assert loud_seconds(tmp_path / "out.mp4") == pytest.approx(expected, abs=0.06)


def test_sound_of_joined_files_may_be_longer_than_their_pictures(timeline, tmp_path):
    # The last frame of MP2 starts less than 128 samples before the second file, and lasts 1152.
    source = with_sound(timeline, tmp_path / "long.ts", "mp2", np.zeros((2, 32856)), 48000, frames=13)
    source.write_bytes(source.read_bytes() * 2)
    annotate(replace(timeline, end=26 / FPS), source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as after:
        starts = [frame.time for frame in after.decode(audio=0)]
    assert np.diff(starts).max() < 0.1 and starts[-1] == pytest.approx(26 / FPS, abs=0.1)


@pytest.mark.parametrize("rate, patch", [(192_000, {}), (16_000, {b"sowt": b"apac"})])
def test_sound_at_a_rate_that_aac_lacks_is_kept_and_sound_that_nothing_decodes_is_left_out(
    timeline, tmp_path, rate, patch
):
    source, path = tmp_path / "pcm.mov", tmp_path / "out.mp4"
    with_sound(timeline, source, "pcm_s16le", np.zeros((2, rate)), rate)
    for old, new in patch.items():
        source.write_bytes(source.read_bytes().replace(old, new))
    annotate(timeline, source, path)
    with av.open(str(path)) as after:
        assert after.streams.video[0].frames == FPS * SECONDS
        assert [stream.codec_context.sample_rate for stream in after.streams.audio] == ([] if patch else [48_000])


@pytest.mark.parametrize("tags", [(1, 1, 1), (6, 6, 6), (9, 9, 16), (2, 2, 2)])
def test_a_copy_codes_colours_as_its_source_and_says_so(tmp_path, tags):
    """Else players show it in other colours than the source."""
    source, path, planes = tmp_path / "a.mkv", tmp_path / "out.mp4", (130, 105, 165)
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, context = 64, 32, stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = tags
        pixels = np.repeat(np.array(planes, np.uint8), (64 * 32, 16 * 32, 16 * 32)).reshape(48, 64)
        output.mux([*stream.encode(av.VideoFrame.from_ndarray(pixels, format="yuv420p")), *stream.encode()])
    annotate(Timeline("a", LABELS, size=(32, 64), end=0.1), source, path)
    assert shown_colors(path) == (pytest.approx(planes, abs=2), tags)


def test_a_copy_of_rgb_pictures_codes_colours_as_large_videos_do(tmp_path):
    red, green, blue = 200, 120, 90
    frames = np.full((2, 32, 64, 3), (red, green, blue), np.uint8)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    annotate(Timeline("a", LABELS, size=(32, 64), end=0.08), frames, tmp_path / "out.mp4")
    chroma = [128 + 224 * (blue - luma) / 1.8556 / 255, 128 + 224 * (red - luma) / 1.5748 / 255]
    planes = (16 + 219 * luma / 255, *chroma)
    assert shown_colors(tmp_path / "out.mp4") == (pytest.approx(planes, abs=2), (1, 1, 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (9, 4)])
def test_frames_with_odd_sides_keep_their_last_row_and_column(tmp_path, shape):
    frames = np.full((3, *shape, 3), 200, np.uint8)
    annotate(Timeline("a", LABELS, size=shape, end=0.12), frames, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as after:
        shown = [frame.to_ndarray(format="rgb24") for frame in after.decode(video=0)]
    assert len(shown) == 3 and shown[0].shape[:2] == tuple(side + side % 2 for side in shape)
    assert np.abs(shown[0].astype(int) - 200).max() < 12


def test_the_copy_of_a_panorama_is_scaled_to_what_the_encoder_takes(tmp_path):
    annotate(
        Timeline("a", LABELS, size=(60, 20_000), end=0.04), np.zeros((1, 60, 20_000, 3), np.uint8), tmp_path / "a.mp4"
    )
    with av.open(str(tmp_path / "a.mp4")) as after:
        assert [(frame.width, frame.height) for frame in after.decode(video=0)] == [(16_384, 50)]


def test_labels_do_not_overlap_and_stay_in_the_frame():
    boxes = [(10, 4, 60, 80), (20, 6, 60, 80), (30, 60, 50, 60), (500, 300, 130, 59), (505, 290, 120, 60)]
    people = [made_person(number, box, 0, 1) for number, box in enumerate(boxes, 1)]
    rows = [made_row(person.number, 0, 1, "happiness") for person in people]
    annotator, places = Annotator(Timeline("a", LABELS, rows, people, size=(360, 640))), []
    place = annotator._place
    annotator._place = lambda *arguments: places.append(place(*arguments)) or places[-1]
    annotator.draw(np.zeros((360, 640, 3), np.uint8), 0.0)
    assert len(places) == 5
    assert not any(_overlap(first, second) for index, first in enumerate(places) for second in places[:index])
    assert all(0 <= left and 0 <= top and right <= 640 and bottom <= 360 for left, top, right, bottom in places)
    assert min(bottom - top for _, top, _, bottom in places) >= 16


def test_text_is_readable_on_every_colour():
    def luminance(color):
        channels = np.array(to_rgb(color))
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for number in range(7):
        pair = sorted(luminance(color) for color in (class_color(number), text_color(class_color(number))))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_the_page_loads_nothing_and_names_are_no_markup(timeline, tmp_path):
    page = timeline_page(timeline)
    assert "<i>" not in page and "&lt;i&gt;&amp;.mp4" in page and "<b>" not in page
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert len(sources) == 3 and all(source.startswith("data:image/") for source in sources)
    plot_timeline(timeline, tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").format == "PNG"
    plot_timeline(Timeline("empty.mp4", LABELS), tmp_path / "empty.png")
    assert Image.open(tmp_path / "empty.png").size[0] == Image.open(tmp_path / "plot.png").size[0]
