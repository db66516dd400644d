"""One reader for training, prediction and face cropping: the kinds of clips, and one and the same picture for all."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, pipeline
from video_files import HEIGHT, WIDTH, numbered_frame, read_numbers, write_video

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.clip_reading_hdf import open_clip, read_clip
from modeling_hdf.data import load_clip
from modeling_hdf.video_reading_hdf import all_frames

QUARTER_TURN = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
FRAMES = [numbered_frame(number) for number in range(12)]


def write_animation(path: Path, durations: list[int] | int = 40, frames: list[np.ndarray] | None = None) -> Path:
    """GIF, WebP or PNG; `durations` in milliseconds."""
    first, *others = map(Image.fromarray, FRAMES if frames is None else frames)
    options = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, **options)
    return path


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.kron(small, np.ones((8, 8, 1), dtype=np.uint8))


def write_odd_clip(folder: Path, kind: str) -> Path:
    """A clip that is not shown as it is stored."""
    if kind == "video":
        frames = [noise(64, 96, seed) for seed in range(4)]
        return write_video(
            folder / "clip.mp4", frames, pixel_aspect=Fraction(3, 2), display_matrix=QUARTER_TURN, max_b_frames=0
        )
    if kind == "4:4:4 video":  # converted by another routine of FFmpeg
        return write_video(folder / "clip.mkv", [noise(64, 96)] * 3, codec="ffv1", pix_fmt="yuv444p", max_b_frames=0)
    if kind.startswith("animation"):
        return write_animation(folder / f"clip{kind.removeprefix('animation ')}")
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind == "picture":
        Image.fromarray(noise(40, 64)).save(folder / "photo.jpg", exif=exif)
        return folder / "photo.jpg"
    Image.fromarray(noise(40, 64)).save(folder / "1.jpg", exif=exif)
    Image.fromarray(noise(80, 80, 1)).save(folder / "2.png")
    Image.fromarray(np.arange(64 * 40, dtype=np.uint16).reshape(64, 40) * 25).save(folder / "10.png")
    return folder


@pytest.mark.parametrize(
    "kind",
    ["video", "4:4:4 video", "animation .gif", "animation .webp", "animation .png", "picture", "folder of frames"],
)
def test_training_prediction_and_face_cropping_see_the_same_pixels(tmp_path, kind):
    path = write_odd_clip(tmp_path, kind)
    for_prediction, metadata = HDFVideoProcessor().load_clip(path, do_sample_frames=False)
    for_training = load_clip({"clip": {"path": str(path), "frames": None}})
    for_cropping = [frame.rgb() for frame in open_clip(path).stream()]
    np.testing.assert_array_equal(for_training, for_cropping)
    np.testing.assert_array_equal(for_training, for_prediction.movedim(1, -1))
    sizes = {frame.size for frame in open_clip(path).stream()}
    assert sizes == {for_training.shape[1:3]} == {(metadata.height, metadata.width)}
    expected = {"video": (144, 64), "picture": (64, 40), "folder of frames": (64, 40), "4:4:4 video": (64, 96)}
    assert sizes == {expected.get(kind, (HEIGHT, WIDTH))}


def test_one_function_decides_what_a_clip_is(tmp_path):
    video = write_video(tmp_path / "clip.mp4", 12, codec="libx264rgb", pix_fmt="rgb24", max_b_frames=0)
    for name in ("clip.gif", "clip.webp"):
        write_animation(tmp_path / name)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    files = [video, tmp_path / "clip.gif", tmp_path / "clip.webp"]
    clips = [tmp_path / "frames", str(tmp_path / "frames"), np.stack(FRAMES), [Image.fromarray(f) for f in FRAMES]]
    for file in files:
        content = file.read_bytes()
        clips += [file, str(file), content, bytearray(content), BytesIO(content)]
        clips += [{"bytes": content, "path": "name only"}, {"bytes": None, "path": str(file)}]
    frames = [str(tmp_path / "frames" / f"{number}.png") for number in range(12)]
    clips.append({"path": None, "frames": frames})
    processor = HDFVideoProcessor(num_frames=4)
    for clip in clips:
        frames, _ = processor.load_clip(clip)
        assert read_numbers(frames.movedim(1, -1)) == [1, 4, 7, 10]
        assert len(list(open_clip(clip).stream())) == 12
        assert read_numbers(np.asarray(load_clip({"clip": clip}))) == list(range(12))


def test_a_single_picture_is_a_clip_of_one_frame(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(FRAMES[5]).save(path)
    content = path.read_bytes()
    path.rename(tmp_path / "photo")  # by its content, whatever its name
    processor = HDFVideoProcessor(num_frames=3)
    for clip in (tmp_path / "photo", content, BytesIO(content), Image.fromarray(FRAMES[5]), {"bytes": content}):
        frames, metadata = processor.load_clip(clip)
        assert read_numbers(frames.movedim(1, -1)) == [5, 5, 5] and metadata.total_num_frames == 1


def test_the_batch_and_the_pipeline_take_every_kind(tmp_path):
    write_video(tmp_path / "clip.mp4", 12)
    write_animation(tmp_path / "clip.gif")
    processor = HDFVideoProcessor(num_frames=4)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = VideoMAEForVideoClassification(
        VideoMAEConfig(image_size=224, patch_size=112, num_frames=4, num_labels=3, **sizes)
    ).eval()
    classify = pipeline("video-classification", model=model, video_processor=processor)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    for name in ("clip.gif", "frames"):
        answers = {answer["label"]: answer["score"] for answer in classify(str(tmp_path / name), top_k=3)}
        with torch.inference_mode():
            expected = model(**processor(np.stack(FRAMES), return_tensors="pt")).logits.softmax(-1)[0]
        assert [answers[f"LABEL_{index}"] for index in range(3)] == pytest.approx(expected.tolist(), abs=1e-5)
    row = {"bytes": (tmp_path / "clip.gif").read_bytes(), "path": "a"}
    assert processor([row, tmp_path / "frames"], return_tensors="pt").pixel_values.shape[0] == 2


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations_are_sampled_by_the_time_their_frames_are_shown(tmp_path, suffix):
    path = write_animation(tmp_path / f"clip{suffix}", [100] * 3 + [500] + [100] * 2, FRAMES[:6])
    frames, metadata = read_clip(path, HDFVideoProcessor(num_frames=5).sample_frames)
    assert metadata.duration == pytest.approx(1.0) and metadata.fps == pytest.approx(6.0)
    assert read_numbers(frames) == [1, 3, 3, 3, 5]  # at 0.1, 0.3, ... seconds; frame 3 is shown from 0.3 to 0.8


def test_hurried_animations_are_slowed_as_in_browsers(tmp_path):
    path = write_animation(tmp_path / "clip.gif", 0)
    _, metadata = read_clip(path, all_frames)
    assert metadata.duration == pytest.approx(1.2)


def test_a_truncated_animation_is_named(tmp_path):
    path = write_animation(tmp_path / "clip.webp")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="clip.webp: cannot be read as a picture"):
        read_clip(path, all_frames)


@pytest.mark.parametrize(
    "clip, error, message",
    [
        ({"bytes": None, "path": None}, ValueError, "the clip is empty"),
        ({"path": "a.mp4", "frames": ["1.jpg"]}, ValueError, "a.mp4: the clip sets both"),
        ({"path": None, "frames": []}, ValueError, "list of frames is empty"),
        ({"array": 1}, TypeError, "a row's clip holds"),
        (5, TypeError, "expected a path"),
    ],
)
def test_what_is_no_clip_is_named(clip, error, message):
    with pytest.raises(error, match=message):
        open_clip(clip)
