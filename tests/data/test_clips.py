import numpy as np
import pytest
import torch

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import ClipCollator, ClipDataset, encode_mp4


@pytest.fixture
def processor():
    return HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


@pytest.fixture
def rows():
    """Three clips of 10 frames, each frame with a grey level of its own, darker on the left."""
    clips = []
    for start in (20, 60, 100):
        frames = (
            np.broadcast_to(start + 10 * np.arange(10)[:, None, None, None], (10, 32, 32, 3)).astype(np.uint8).copy()
        )
        frames[:, :, :16] -= 20
        clips.append(
            {"clip": {"bytes": encode_mp4(frames, fps=10, crf=1), "path": f"{start}.mp4"}, "label": start // 40}
        )
    return clips


def brightness(clip):
    """Mean level of each frame `(F,)` of a clip `(F, 3, H, W)`."""
    return clip.float().mean((1, 2, 3)).numpy()


def test_items_hold_the_frames_at_the_centres_of_equal_intervals(rows, processor):
    dataset = ClipDataset(rows, processor)
    shown = np.array([1, 3, 6, 8])  # ten frames in four intervals: centres at 1.25, 3.75, 6.25 and 8.75
    for index, start in enumerate((20, 60, 100)):
        item = dataset[index]
        assert item["clip"].shape == (4, 3, 32, 32) and item["clip"].dtype == torch.uint8
        np.testing.assert_allclose(brightness(item["clip"]), start - 10 + 10 * shown, atol=3)
        assert item["label"] == index


def test_flip_mirrors_all_frames_of_a_clip_alike_and_about_half_the_clips(rows, processor):
    dataset = ClipDataset(rows, processor, flip=True, cache=True)
    torch.manual_seed(0)
    flipped = []
    for _ in range(60):
        clip = dataset[0]["clip"].float()
        left_is_darker = clip[..., :16].mean((1, 2, 3)) < clip[..., 16:].mean((1, 2, 3))
        assert left_is_darker.all() or not left_is_darker.any()
        flipped.append(not left_is_darker[0])
    assert 15 <= sum(flipped) <= 45


def test_frame_controls_repeat_the_first_frame_or_permute_the_frames(rows, processor):
    shown = brightness(ClipDataset(rows, processor)[2]["clip"])
    first = brightness(ClipDataset(rows, processor, frame_order="first")[2]["clip"])
    np.testing.assert_allclose(first, shown[0])
    shuffled = [brightness(ClipDataset(rows, processor, frame_order="shuffled")[index]["clip"]) for index in (2, 2)]
    np.testing.assert_allclose(np.sort(shuffled[0]), shown)
    assert not np.array_equal(shuffled[0], shown)
    np.testing.assert_array_equal(*shuffled)


def test_frame_order_must_be_known(rows, processor):
    with pytest.raises(ValueError, match="frame_order.*backwards"):
        ClipDataset(rows, processor, frame_order="backwards")


def test_cached_clips_are_decoded_once(rows, processor, monkeypatch):
    calls = []
    load_clip = processor.load_clip
    monkeypatch.setattr(
        processor, "load_clip", lambda *args, **kwargs: calls.append(args) or load_clip(*args, **kwargs)
    )
    dataset = ClipDataset(rows, processor, cache=True)
    first, second = dataset[1], dataset[1]
    assert len(calls) == 1 and torch.equal(first["clip"], second["clip"])


def test_a_batch_equals_what_inference_makes_of_the_files(rows, processor):
    batch = ClipCollator(processor, num_labels=3)([ClipDataset(rows, processor)[index] for index in range(3)])
    files = processor([row["clip"]["bytes"] for row in rows], return_tensors="pt").pixel_values
    assert batch["pixel_values"].shape == (3, 4, 3, 16, 16)
    assert torch.equal(batch["pixel_values"], files)
    assert batch["labels"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_out_of_range_is_named(rows, processor, label):
    with pytest.raises(ValueError, match=rf"`label` holds \[{label}\].*0 to 1"):
        ClipCollator(processor, num_labels=2)([ClipDataset(rows, processor)[0] | {"label": label}])


def test_an_unreadable_clip_is_named(rows, processor):
    rows[0]["clip"]["bytes"] = b"no video"
    with pytest.raises(ValueError, match="20.mp4"):
        ClipDataset(rows, processor)[0]
