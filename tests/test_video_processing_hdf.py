"""The video processor: kinds of input, batches, options, saving, remote code, pipeline, bad frames."""

import json
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEVideoProcessor, pipeline
from transformers.video_utils import VideoMetadata
from video_files import HEIGHT, WIDTH, numbered_frame, read_numbers, write_video

from modeling_hdf import HDFVideoProcessor

# Leaves pixels as they are, so that frame numbers can be read back from `pixel_values`.
RAW = {"do_resize": False, "do_center_crop": False, "do_rescale": False, "do_normalize": False, "return_tensors": "pt"}

# One level of 256 after normalisation: an interpolation may round otherwise on another path.
GREY_LEVEL = 1.01 / 255 / 0.224


def numbers_of(pixel_values: torch.Tensor) -> list[int]:
    return read_numbers(pixel_values.movedim(-3, -1).numpy())


@pytest.fixture
def processor() -> HDFVideoProcessor:
    return HDFVideoProcessor(num_frames=4)


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "clip.mp4", 20)


@pytest.fixture
def frames() -> np.ndarray:
    """Array of shape `(20, HEIGHT, WIDTH, 3)`."""
    return np.stack([numbered_frame(number) for number in range(20)])


def test_every_kind_of_frames_gives_the_same_clip(processor, frames):
    first = frames.transpose(0, 3, 1, 2)
    kinds = [
        frames,
        first,
        torch.from_numpy(frames),
        torch.from_numpy(first),
        list(frames),
        tuple(torch.from_numpy(frame) for frame in first),
        [Image.fromarray(frame) for frame in frames],
        frames.astype(np.int64),
        frames.astype(np.float64),
        frames[::-1][::-1],
        frames[None],
        [frames],
        [list(frames)],
    ]
    for kind in kinds:
        pixel_values = processor(kind, **RAW).pixel_values
        assert pixel_values.shape == (1, 4, 3, HEIGHT, WIDTH)
        assert numbers_of(pixel_values) == [2, 7, 12, 17]


def test_grey_and_transparent_pil_images_become_rgb(processor, frames):
    for mode in ("L", "RGBA", "P"):
        images = [Image.fromarray(frame).convert(mode) for frame in frames]
        assert numbers_of(processor(images, **RAW).pixel_values) == [2, 7, 12, 17]


def test_batch_mixes_kinds_layouts_sizes_and_lengths(processor, clip, frames):
    videos = [
        clip,
        str(clip),
        clip.read_bytes(),
        BytesIO(clip.read_bytes()),
        frames.transpose(0, 3, 1, 2),
        list(frames),
        np.zeros((3, 50, 40, 3), dtype=np.uint8),
        [clip, [frames]],
    ]
    batch = processor(videos, return_tensors="pt")
    assert list(batch) == ["pixel_values"]
    assert batch.pixel_values.shape == (9, 4, 3, 224, 224)
    for row in (1, 2, 3, 7):
        torch.testing.assert_close(batch.pixel_values[row], batch.pixel_values[0], rtol=0, atol=GREY_LEVEL)
    assert (batch.pixel_values[4] - batch.pixel_values[0]).abs().mean() < 0.05  # the file is compressed


def test_short_clips_repeat_frames(processor, frames):
    assert numbers_of(processor(frames[:1], **RAW).pixel_values) == [0, 0, 0, 0]
    assert numbers_of(processor(frames[:3], **RAW).pixel_values) == [0, 1, 1, 2]
    assert numbers_of(processor(frames[:3], num_frames=6, **RAW).pixel_values) == [0, 0, 1, 1, 2, 2]


def test_without_sampling_frames_go_in_unchanged(processor, clip, frames):
    for video in (frames, clip):
        pixel_values = processor(video, do_sample_frames=False, **RAW).pixel_values
        assert numbers_of(pixel_values) == list(range(20))


def test_pixels_equal_those_of_videomae_on_the_same_frames(processor, frames):
    options = {"image_mean": processor.image_mean, "image_std": processor.image_std}
    expected = VideoMAEVideoProcessor(**options)(frames[[2, 7, 12, 17]], return_tensors="pt").pixel_values
    actual = processor(frames, return_tensors="pt").pixel_values
    torch.testing.assert_close(actual, expected, rtol=0, atol=GREY_LEVEL)


def test_size_and_crop_size_mean_what_they_mean_in_videomae(frames):
    options = {"size": {"shortest_edge": 48}, "crop_size": {"height": 40, "width": 44}, "num_frames": 2}
    assert HDFVideoProcessor(**options)(frames, return_tensors="pt").pixel_values.shape == (1, 2, 3, 40, 44)
    assert HDFVideoProcessor().size == VideoMAEVideoProcessor().size
    assert HDFVideoProcessor().crop_size == VideoMAEVideoProcessor().crop_size


def test_load_clip_gives_sampled_but_unprocessed_frames(processor, clip, frames):
    for video in (clip, frames):
        loaded, metadata = processor.load_clip(video)
        assert loaded.shape == (4, 3, HEIGHT, WIDTH) and loaded.dtype == torch.uint8
        assert numbers_of(loaded) == metadata.frames_indices == [2, 7, 12, 17]
        assert processor.load_clip(video, num_frames=2)[0].shape[0] == 2


def test_metadata_is_returned_per_video(processor, clip, frames):
    of_file, of_frames = processor([clip, frames], return_metadata=True)["video_metadata"]
    assert of_file.fps == pytest.approx(30) and of_frames.fps is None
    for metadata in (of_file, of_frames):
        assert (metadata.total_num_frames, metadata.height, metadata.width) == (20, HEIGHT, WIDTH)
        assert metadata.frames_indices == [2, 7, 12, 17]


def test_fps_in_the_call_replaces_num_frames(processor, clip, frames):
    assert processor(clip, fps=15, **RAW).pixel_values.shape[1] == 10
    metadata = VideoMetadata(total_num_frames=20, fps=10)
    assert processor(frames, fps=3, video_metadata=[metadata], **RAW).pixel_values.shape[1] == 6
    with pytest.raises(ValueError, match="known duration"):
        processor(frames, fps=3)
    with pytest.raises(ValueError, match="mutually exclusive"):
        processor(clip, fps=3, num_frames=4)


def test_sampling_takes_the_frame_at_the_exact_centre(processor):
    metadata = VideoMetadata(total_num_frames=3)
    timestamps = np.array([0, 10, 30, 40])  # two intervals with centres at 10 and 30, where frames start
    assert processor.sample_frames(metadata, num_frames=2, timestamps=timestamps).tolist() == [1, 2]
    assert processor.sample_frames(metadata, num_frames=2, timestamps=timestamps * 10**12).tolist() == [1, 2]


@pytest.mark.parametrize("total", [1, 2, 7, 16, 31, 250])
@pytest.mark.parametrize("num_frames", [1, 3, 16])
def test_sampling_by_index_equals_constant_rate(processor, total, num_frames):
    metadata = VideoMetadata(total_num_frames=total)
    expected = [int((i + 0.5) * total / num_frames) for i in range(num_frames)]
    assert processor.sample_frames(metadata, num_frames).tolist() == expected
    timestamps = 7 + 512 * np.arange(total + 1)
    assert processor.sample_frames(metadata, num_frames, timestamps=timestamps).tolist() == expected


def test_options_survive_saving(tmp_path):
    options = {
        "num_frames": 8,
        "size": {"shortest_edge": 128},
        "crop_size": {"height": 112, "width": 96},
        "do_sample_frames": False,
        "image_mean": [0.1, 0.2, 0.3],
    }
    HDFVideoProcessor(**options).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    loaded = HDFVideoProcessor.from_pretrained(tmp_path)
    for name, value in options.items():
        assert stored[name] == value
        assert json.loads(loaded.to_json_string())[name] == value
    assert stored["video_processor_type"] == "HDFVideoProcessor"
    assert HDFVideoProcessor.from_pretrained(tmp_path, num_frames=5).num_frames == 5


def test_default_options_are_stored(tmp_path):
    HDFVideoProcessor().save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert (stored["num_frames"], stored["do_sample_frames"]) == (16, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": 5}, "Set `num_frames`"),
        *(({"num_frames": wrong}, f"`num_frames` .* at least 1, got {wrong!r}") for wrong in (0, 2.5, "8", None)),
    ],
)
def test_options_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HDFVideoProcessor(**options)


REMOTE_SCRIPT = """
import sys
sys.modules["modeling_hdf"] = None  # as where the package is not installed
from transformers import AutoVideoProcessor
processor = AutoVideoProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
batch = processor(sys.argv[2], return_tensors="pt")
assert type(processor).__module__.startswith("transformers_modules."), type(processor)
print(tuple(batch.pixel_values.shape))
"""


def test_saved_folder_loads_as_remote_code_without_the_package(tmp_path, clip):
    folder = tmp_path / "saved"
    HDFVideoProcessor(num_frames=4).save_pretrained(folder)
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    result = subprocess.run(
        [sys.executable, "-c", REMOTE_SCRIPT, str(folder), str(clip)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[-2] == "(1, 4, 3, 224, 224)"


def test_pipeline_classifies_files_shorter_and_longer_than_the_clip(tmp_path, processor):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = VideoMAEConfig(image_size=224, patch_size=112, num_frames=8, num_labels=3, **sizes)
    torch.manual_seed(0)
    classify = pipeline(
        "video-classification", model=VideoMAEForVideoClassification(config).eval(), video_processor=processor
    )
    paths = [str(write_video(tmp_path / f"{length}.webm", length, codec="libvpx-vp9")) for length in (3, 40)]
    for answers in classify(paths, top_k=3):
        assert {answer["label"] for answer in answers} == {"LABEL_0", "LABEL_1", "LABEL_2"}
        assert sum(answer["score"] for answer in answers) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_nan_and_infinite_pixels_are_named(processor, frames, bad, as_tensor):
    broken = frames.astype(np.float32)
    broken[19, 0, 0, 0] = bad  # also where the frame would not be sampled
    with pytest.raises(ValueError, match=r"videos\[1\]: pixels hold NaN or infinite values"):
        processor([frames, torch.from_numpy(broken) if as_tensor else broken])


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_wrong_number_of_channels_is_named(processor, frames, channels):
    broken = np.zeros((5, HEIGHT, WIDTH, channels), dtype=np.uint8)
    for video in (broken, broken.transpose(0, 3, 1, 2), torch.from_numpy(broken), list(broken)):
        with pytest.raises(ValueError, match=r"videos\[1\].*expected 3 \(RGB\)"):
            processor([frames, video])


def test_input_data_format_settles_what_the_shape_leaves_open(processor):
    video = np.zeros((5, 3, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="ambiguous channels; pass `input_data_format`"):
        processor(video)
    assert processor(video, input_data_format="channels_last", **RAW).pixel_values.shape == (1, 4, 3, 3, 8)
    with pytest.raises(ValueError, match="wrong number of channels.*channels_first"):
        processor(np.zeros((5, 8, 8, 3), dtype=np.uint8), input_data_format="channels_first")


@pytest.mark.parametrize(
    "video, message",
    [
        ([], "zero frames"),
        ([[]], "zero frames"),
        (np.zeros((0, 8, 8, 3), dtype=np.uint8), "at least one frame"),
        (np.zeros((8, 8, 3), dtype=np.uint8), "expected frames of shape"),
        ([np.zeros((8, 8, 3)), np.zeros((8, 9, 3))], "all frames must have one shape"),
        (np.full((2, 8, 8, 3), 256), r"within 0\.\.255, got 256\.\.256"),
        (np.full((2, 8, 8, 3), -1), r"within 0\.\.255, got -1\.\.-1"),
    ],
)
def test_frames_that_are_no_video_are_named(processor, video, message):
    with pytest.raises(ValueError, match=message):
        processor(video)


@pytest.mark.parametrize("video", [None, 5, {"file": "clip.mp4"}, np.zeros((2, 8, 8, 3), dtype=bool)])
def test_unknown_kinds_are_named(processor, frames, video):
    with pytest.raises(TypeError, match=r"videos\[1\]: (expected a path|a row's clip|pixels must be)"):
        processor([frames, video])


def test_bad_file_in_a_batch_is_named(processor, clip):
    with pytest.raises(ValueError, match=r"videos\[1\] \(4 bytes\): cannot be read"):
        processor([clip, b"junk"])
    with pytest.raises(FileNotFoundError, match="none.mp4"):
        processor([clip, "none.mp4"])


def test_wrong_metadata_is_named(processor, frames):
    with pytest.raises(ValueError, match=r"videos\[0\]: `video_metadata` says total_num_frames=7, but has 20"):
        processor(frames, video_metadata={"total_num_frames": 7})


def test_floats_that_look_rescaled_are_reported(processor, frames, caplog):
    scaled = frames.astype(np.float32) / 255
    processor(scaled, do_rescale=False)
    assert not caplog.records
    processor(scaled)
    assert "videos[0]: float pixels within 0..1 are rescaled again" in caplog.text
