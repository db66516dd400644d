"""The video with a box, number, label and confidence at each face, and its sound."""

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..clip_reading_hdf import open_clip
from ..data.files import whole_or_absent
from ..faces.cropping import NOMINAL_FPS
from ..faces.following import with_starts
from ..faces.turning import turned
from ..video_reading_hdf import VideoFile
from .palette import class_color, text_color
from .timeline import Timeline

_CRF = 20
_TICKS = 90_000  # per second
_SOUNDS_OF_MP4 = ("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus")  # others become AAC
_BT709, _UNKNOWN = (1, 1, 1), (2, 2, 2)  # matrix, primaries and transfer function of colours in ITU-T H.273
_MATRICES = (1, 5, 6, 7, 9)  # of H.273, that FFmpeg converts by
_LONGEST_SIDE = 16_384  # pixels that x264 takes
_USUAL_RATE = 48_000  # samples per second, in place of a rate that AAC does not have
_SMALLEST_TEXT = 16  # pixels
_TEXT_SHARE = 1 / 22  # of the shorter side of the frame

Place = tuple[float, float, float, float]  # left, top, right, bottom


class Annotator:
    """
    Draws the people of a timeline into frames.

    Args:
        timeline ([`Timeline`]): the timeline.
        scale (`float`, *optional*, defaults to 1.0): size of the pictures, as a share of the timeline's frames.
    """

    def __init__(self, timeline: Timeline, scale: float = 1.0):
        self.timeline, self.scale = timeline, scale
        self._rows = {person.number: [] for person in timeline.people}
        for row in timeline.rows:
            self._rows[row.person].append(row)
        self._starts = {number: [row.start for row in rows] for number, rows in self._rows.items()}
        size = max(_SMALLEST_TEXT, round(min(timeline.size) * scale * _TEXT_SHARE))
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self._font = ImageFont.truetype(fonts / "DejaVuSans-Bold.ttf", size)
        self._margin = max(2, size // 5)

    def draw(self, picture: np.ndarray, time: float) -> np.ndarray:
        """The frame `(height, width, 3)` uint8 that starts at `time`, with all its people."""
        image = Image.fromarray(picture)
        canvas = ImageDraw.Draw(image)
        faces = []
        for person in self.timeline.people:
            box = person.box_at(time)
            if box is not None:
                index = max(0, bisect_right(self._starts[person.number], time + 1e-6) - 1)
                faces.append((self._rows[person.number][index], box * self.scale))
        taken: list[Place] = []
        for row, (left, top, width, height) in faces:
            color = class_color(self.timeline.labels.index(row.label))
            line = max(2, self._margin)
            canvas.rectangle((left - 1, top - 1, left + width + 1, top + height + 1), outline="white", width=line + 2)
            canvas.rectangle((left, top, left + width, top + height), outline=color, width=line)
        for row, box in faces:
            color = class_color(self.timeline.labels.index(row.label))
            text = f"{row.person} {row.label} {row.confidence:.0%}"
            place = self._place(canvas, text, box, image.size, taken)
            taken.append(place)
            canvas.rectangle(place, fill=color, outline="white")
            corner = (place[0] + self._margin, place[1] + self._margin)
            canvas.text(corner, text, fill=text_color(color), font=self._font, anchor="lt")
        return np.asarray(image)

    def _place(
        self, canvas: ImageDraw.ImageDraw, text: str, box: np.ndarray, size: tuple[int, int], taken: list[Place]
    ) -> Place:
        """Where to write a label: above its box, below it, or in it, where no other label is."""
        left, top, right, bottom = canvas.textbbox((0, 0), text, font=self._font, anchor="lt")
        width, height = right - left + 2 * self._margin, bottom - top + 2 * self._margin
        x = min(max(0, box[0]), max(0, size[0] - width))
        lowest = max(0, size[1] - height - 1)
        wanted = (box[1] - height, box[1] + box[3], box[1])
        rows = [min(max(0, y), lowest) for y in (*wanted, *np.arange(0, lowest + 1, height))]
        places = [(x, y, x + width, y + height) for y in rows]
        return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(first: Place, second: Place) -> bool:
    return first[0] <= second[2] and second[0] <= first[2] and first[1] <= second[3] and second[1] <= first[3]


def _best_sound(container: av.container.InputContainer) -> av.AudioStream | None:
    """The sound that players play; `None` if there is none that can be decoded."""
    decoded = [stream for stream in container.streams.audio if stream.codec_context is not None]
    best = container.streams.best("audio")
    return best if best in decoded else next(iter(decoded), None)


def _colors(source: av.VideoCodecContext) -> tuple[int, int, int]:
    """How the copy codes colours: as its source. What players take for granted where a file does not tell depends on
    the size of its frames, and may not be what the copy was made by."""
    if source.format is not None and source.format.is_rgb:
        return _BT709
    known = source.colorspace in _MATRICES
    return (source.colorspace, source.color_primaries, source.color_trc) if known else _UNKNOWN


class _Sound:
    """The sound of a video file, copied into an MP4, or encoded as AAC where MP4 cannot hold it."""

    def __init__(self, packets: Iterator[av.Packet | None], source: av.AudioStream, output: Any, shift: Fraction):
        self._shift, self._output = shift, output
        self._is_copy = source.codec_context.codec.canonical_name in _SOUNDS_OF_MP4  # not the name of a decoder
        if self._is_copy:
            self._stream = output.add_stream_from_template(source)
        else:
            rate = source.codec_context.sample_rate
            known = av.Codec("aac", "w").audio_rates
            self._stream = output.add_stream("aac", rate=rate if rate in known else _USUAL_RATE)
            self._kind, self._resampler = None, None
        self._packets = self._timed(packets, source)
        self._next = next(self._packets, None)

    def _timed(self, packets: Iterator[av.Packet | None], source: av.AudioStream) -> Iterator[tuple[Fraction, Any]]:
        """Start in seconds of each packet, or of each decoded frame, with it; those that step back are left out, and
        frames that start before half of the last one is over, as where files are joined."""
        last = None
        for packet in packets:
            if packet is None or packet.stream_index != source.index:
                continue
            try:
                parts = [packet] if self._is_copy else packet.decode()
            except av.FFmpegError:  # damaged: silence
                continue
            for each in parts:
                start = None if each.pts is None else each.pts * each.time_base
                if start is not None and (last is None or start > last):
                    last = start if self._is_copy else start + Fraction(each.samples, 2 * each.sample_rate)
                    yield start, each

    def write(self, until: Fraction | None) -> None:
        """Writes the sound up to a time; all that is left for `None`."""
        while self._next is not None and (until is None or self._next[0] <= until):
            start, each = self._next
            if self._is_copy:
                ticks = round(self._shift / each.time_base)
                each.dts = None if each.dts is None else each.dts - ticks
                each.pts -= ticks
                each.stream = self._stream
                self._output.mux(each)
            else:
                self._encode(start - self._shift, each)
            self._next = next(self._packets, None)
        if until is None and not self._is_copy:
            self._flush()
            self._output.mux(self._stream.encode())

    def _encode(self, start: Fraction, frame: av.AudioFrame) -> None:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # the first frame, or the sound changes midway
            self._flush()
            encoder = self._stream.codec_context
            self._resampler = av.AudioResampler(encoder.format, encoder.layout, encoder.sample_rate)
            self._kind = kind
        # The time base of a decoded frame may be coarser than the frames of AAC.
        frame.pts, frame.time_base = round(start * frame.sample_rate), Fraction(1, frame.sample_rate)
        for resampled in self._resampler.resample(frame):
            self._output.mux(self._stream.encode(resampled))

    def _flush(self) -> None:
        """Encodes what the resampler holds back."""
        for resampled in self._resampler.resample(None) if self._resampler else ():
            if resampled is not None:  # a resampler with nothing to do gives `None` back
                self._output.mux(self._stream.encode(resampled))


def annotate(timeline: Timeline, video: Any, path: Path, max_side: int | None = None) -> None:
    """
    Writes the video as MP4 with the timing of the source, its sound, and all people drawn in.

    Args:
        timeline: the timeline of the video.
        video: what the timeline was made of; it is read again.
        path: file to write, whole or not at all.
        max_side: the longer side of the frames in pixels, to which larger ones are scaled down; at most 16,384.

    Raises:
        OSError, ValueError: if the video can no longer be read, or the file not be written.
    """
    source = open_clip(video, timeline.video)
    longer = max(timeline.size)
    max_side = min(max_side or longer, longer, _LONGEST_SIDE)
    annotator = Annotator(timeline, max_side / longer)
    with whole_or_absent(path) as part, av.open(str(part), "w", format="mp4") as output:
        frames = with_starts(turned(source, timeline.quarter_turns).stream())
        if not isinstance(source, VideoFile):
            _encode(annotator, frames, output, max_side, Fraction(NOMINAL_FPS), _BT709)
            return
        with source.open() as (container, stream):
            track, sound = _best_sound(container), None
            if track is not None:
                sound = _Sound(source.packets(container, stream, track), track, output, source.clock_start)
            rate = stream.average_rate or Fraction(NOMINAL_FPS)
            colors = _colors(stream.codec_context)
            _encode(annotator, frames, output, max_side, rate, colors, sound, source.clock_start)


def _encode(
    annotator: Annotator,
    frames: Iterator,
    output: Any,
    max_side: int | None,
    mean_rate: Fraction,
    colors: tuple[int, int, int],
    sound: _Sound | None = None,
    shift: Fraction = Fraction(0),
) -> None:
    stream, packets, last = None, [], -1
    for frame, start in frames:
        picture = annotator.draw(frame.rgb(max_side), float(start))
        odd = [side % 2 for side in picture.shape[:2]]  # the encoder takes even sides
        pixels = np.pad(picture, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
        if stream is None:
            options = {"crf": str(_CRF), "preset": "veryfast", "tune": "zerolatency"}
            # From the rate x264 takes the length of a frame, which its quality and the declared level follow from.
            stream = output.add_stream("libx264", rate=mean_rate, options=options)
            stream.height, stream.width = pixels.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = stream.time_base = Fraction(1, _TICKS)
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = colors
        if sound is not None:
            sound.write(start)
        encoded = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        encoded = encoded.reformat(format="yuv420p", dst_colorspace=colors[0], threads=1)
        last = max(last + 1, round((start - shift) * _TICKS))
        encoded.pts, encoded.time_base = last, Fraction(1, _TICKS)
        packets += stream.encode(encoded)
        output.mux(packets[:-1])
        del packets[:-1]
    packets += stream.encode()
    # The others last until the next one starts.
    packets[-1].duration = max(1, round((Fraction(annotator.timeline.end) - shift) * _TICKS) - last)
    output.mux(packets)
    if sound is not None:
        sound.write(None)


__all__ = ["Annotator", "annotate"]
