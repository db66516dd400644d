import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import (
    ClipCollator,
    ClipDataset,
    ClipMixing,
    TemporalSampling,
    build_augmentation,
    clips,
    encode_mp4,
)
from modeling_hdf.data.clip_io import load_clip
from modeling_hdf.data.clip_samplers import Draw

# One level of 256 after normalisation: an interpolation may round otherwise on another path.
GREY_LEVEL = 1.01 / 255 / 0.224


@pytest.fixture
def processor():
    return HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


@pytest.fixture
def rows():
    """Three clips of 10 frames, each frame with a grey level of its own, darker on the left."""
    made = []
    for start in (20, 60, 100):
        frames = (
            np.broadcast_to(start + 10 * np.arange(10)[:, None, None, None], (10, 32, 32, 3)).astype(np.uint8).copy()
        )
        frames[:, :, :16] -= 20
        made.append(
            {"clip": {"bytes": encode_mp4(frames, fps=10, crf=1), "path": f"{start}.mp4"}, "label": start // 40}
        )
    return made


def brightness(clip):
    """Mean level of each frame `(F,)` of a clip `(F, 3, H, W)`."""
    return clip.float().mean((1, 2, 3)).numpy()


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_that_cannot_be_read_are_marked_by_whoever_reads_them(rows, processor, workers):
    expected = [item["clip"] for item in ClipDataset(rows, processor)]
    rows[1]["clip"]["bytes"] = rows[1]["clip"]["bytes"][:100]
    dataset = ClipDataset(rows, processor, skip_unreadable=True)
    view = dataset.with_view(0, 2)
    assert dataset.unreadable == []
    items = list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert dataset.unreadable == view.unreadable == [1]
    assert "60.mp4" in dataset.why_unreadable(1)
    assert items[1]["clip"].shape == expected[1].shape and items[1]["clip"].dtype == expected[1].dtype
    assert items[1]["label"] == 1 and not items[1]["clip"].any()
    for index in (0, 2):
        torch.testing.assert_close(items[index]["clip"], expected[index])
    with pytest.raises(ValueError, match="60.mp4"):
        ClipDataset(rows, processor)[1]
    with pytest.raises(ValueError, match="training must see every clip"):
        ClipDataset(rows, processor, training=True, skip_unreadable=True)


def test_clips_that_cannot_be_read_are_found_and_left_out(rows, processor):
    rows[1]["clip"]["bytes"] = rows[1]["clip"]["bytes"][:100]
    dataset = ClipDataset(rows, processor, cache=True)
    found = dataset.find_unreadable()
    assert list(found) == [1] and "60.mp4" in found[1]
    rest = dataset.without(found)
    assert len(rest) == 2 and rest.labels == [rows[0]["label"], rows[2]["label"]] and rest.find_unreadable() == {}
    for index, old in enumerate((0, 2)):
        torch.testing.assert_close(rest[index]["clip"], dataset[old]["clip"])
    assert len(dataset) == 3
    with pytest.raises(ValueError, match="for training"):
        ClipDataset(rows, processor, training=True).without([0])


def test_a_clip_that_can_be_read_again_was_still_not_measured(rows, processor):
    dataset, whole = ClipDataset(rows, processor, skip_unreadable=True), rows[0]["clip"]["bytes"]
    rows[0]["clip"]["bytes"] = b""
    dataset[0]
    rows[0]["clip"]["bytes"] = whole
    dataset[0]
    assert dataset.unreadable == [0] and "when it was tried again" in dataset.why_unreadable(0)


def test_items_hold_the_frames_at_the_centres_of_equal_intervals(rows, processor):
    dataset = ClipDataset(rows, processor)
    shown = np.array([1, 3, 6, 8])  # ten frames in four intervals: centres at 1.25, 3.75, 6.25 and 8.75
    for index, start in enumerate((20, 60, 100)):
        item = dataset[index]
        assert item["clip"].shape == (4, 3, 16, 16) and item["clip"].dtype == torch.uint8
        np.testing.assert_allclose(brightness(item["clip"]), start - 10 + 10 * shown, atol=3)
        assert item["label"] == index


def test_flip_mirrors_all_frames_of_a_clip_alike_and_about_half_the_clips(rows, processor):
    flip = build_augmentation("flip", processor)
    dataset = ClipDataset(rows, processor, training=True, augmentation=flip, cache=True)
    flipped = []
    for epoch in range(60):
        dataset.set_epoch(epoch)
        clip = dataset[0]["clip"].float()
        left_is_darker = clip[..., :8].mean((1, 2, 3)) < clip[..., 8:].mean((1, 2, 3))
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


@pytest.fixture
def still():
    """A row of a still of 32 x 32 pixels: a smooth picture without symmetry, as PNG."""
    levels = np.add.outer(np.arange(32) * 4, np.arange(32) * 3).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(np.stack([levels, levels // 2, 255 - levels], axis=-1)).save(content, "PNG")
    return {"clip": {"bytes": content.getvalue(), "path": "still.png", "frames": None}, "label": 0}


def test_a_still_is_shown_unmoved_in_evaluation(rows, still, processor):
    dataset = ClipDataset([rows[0], still], processor)
    clip = dataset[1]["clip"]
    expected = processor(still["clip"], do_normalize=False, do_rescale=False, return_tensors="pt").pixel_values[0]
    assert clip.shape == (4, 3, 16, 16) and clip.dtype == torch.uint8
    torch.testing.assert_close(clip.float(), expected.float(), rtol=0, atol=1)
    batch = ClipCollator(processor, num_labels=3)([dataset[0], dataset[1]])
    assert batch["pixel_values"].shape == (2, 4, 3, 16, 16)
    assert ClipDataset([still], processor, frame_order="first")[0]["clip"].shape == (4, 3, 16, 16)


@pytest.mark.parametrize("sampling", ["uniform", "segments", "dense"])
@pytest.mark.parametrize("augmentation", [None, "flip", "strong"])
def test_training_moves_a_still_smoothly_and_anew_in_each_epoch(still, processor, sampling, augmentation):
    augmentation = augmentation and build_augmentation(augmentation, processor)
    options = {"sampling": TemporalSampling(sampling, num_frames=4), "training": True, "augmentation": augmentation}
    dataset, same = ClipDataset([still], processor, **options), ClipDataset([still], processor, **options)
    shown = []
    for epoch in range(20):
        dataset.set_epoch(epoch)
        same.set_epoch(epoch)
        clip = dataset[0]["clip"]
        assert clip.shape == (4, 3, 16, 16) and clip.dtype == torch.uint8
        assert torch.equal(clip, same[0]["clip"])
        shown.append(clip.float())
    steps = torch.stack([clip.diff(dim=0).abs().mean() for clip in shown])
    assert (steps > 0.2).float().mean() > 0.7 and steps.max() < 20  # grey levels from frame to frame
    assert len({clip.numpy().tobytes() for clip in shown}) == 20


def test_the_frames_of_a_video_are_not_moved(rows, processor):
    dataset = ClipDataset(rows, processor, training=True)
    torch.testing.assert_close(dataset[1]["clip"], ClipDataset(rows, processor)[1]["clip"])


def test_training_may_show_a_still_as_its_one_frame(rows, still, processor):
    dataset = ClipDataset([still, still], processor, training=True, stills="single")
    expected = processor(still["clip"], do_normalize=False, do_rescale=False, return_tensors="pt").pixel_values[0]
    clip = dataset[0]["clip"]
    assert clip.shape == (1, 3, 16, 16) and clip.dtype == torch.uint8
    torch.testing.assert_close(clip.float(), expected[:1].float(), rtol=0, atol=1)
    batch = ClipCollator(processor, 3, ClipMixing(3, mixup_alpha=0.8))([dataset[0], dataset[1]])
    assert batch["pixel_values"].shape == (2, 1, 3, 16, 16)
    places = []
    for epoch in range(100):
        dataset.set_epoch(epoch)
        places.append(dataset[0]["place"])
    assert min(places.count(place) for place in range(4)) > 10 and places[-1] == dataset[0]["place"]
    assert ClipCollator(processor, 3)([dataset[0], dataset[1]])["place"].tolist() == [
        dataset[0]["place"],
        dataset[1]["place"],
    ]
    with pytest.raises(ValueError, match="the training data hold videos.*--stills motion"):
        ClipDataset(rows, processor, training=True, stills="single")[0]


def test_cached_stills_move_too(still, processor):
    dataset = ClipDataset([still], processor, training=True, cache=True)
    first = dataset[0]["clip"]
    dataset.set_epoch(1)
    assert not torch.equal(first, dataset[0]["clip"])


def test_frame_order_must_be_known(rows, processor):
    with pytest.raises(ValueError, match="frame_order.*backwards"):
        ClipDataset(rows, processor, frame_order="backwards")


def test_cached_clips_are_decoded_once(rows, processor, monkeypatch):
    calls = []
    monkeypatch.setattr(clips, "load_clip", lambda *args, **kwargs: calls.append(args) or load_clip(*args, **kwargs))
    dataset = ClipDataset(rows, processor, cache=True)
    first, second = dataset[1], dataset[1]
    assert len(calls) == 1 and torch.equal(first["clip"], second["clip"])


def test_a_batch_equals_what_inference_makes_of_the_files(rows, processor):
    batch = ClipCollator(processor, num_labels=3)([ClipDataset(rows, processor)[index] for index in range(3)])
    files = processor([row["clip"]["bytes"] for row in rows], return_tensors="pt").pixel_values
    assert batch["pixel_values"].shape == (3, 4, 3, 16, 16)
    torch.testing.assert_close(batch["pixel_values"], files, rtol=0, atol=GREY_LEVEL)
    assert batch["labels"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_out_of_range_is_named(rows, processor, label):
    with pytest.raises(ValueError, match=rf"`label` holds \[{label}\].*0 to 1"):
        ClipCollator(processor, num_labels=2)([ClipDataset(rows, processor)[0] | {"label": label}])


def test_an_unreadable_clip_is_named(rows, processor):
    rows[0]["clip"]["bytes"] = b"no video"
    with pytest.raises(ValueError, match="20.mp4"):
        ClipDataset(rows, processor)[0]


# ---- Training: what is random ----


@pytest.fixture
def training_clips(rows, processor):
    """Training clips with random frames and a random flip."""
    return ClipDataset(
        rows,
        processor,
        sampling=TemporalSampling("segments", 4),
        training=True,
        augmentation=build_augmentation("flip", processor),
        seed=5,
    )


def test_a_training_item_leaves_all_random_generators_as_they_were(training_clips, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)  # also of accelerators that are not here
    before = torch.get_rng_state()
    training_clips[0]
    assert torch.equal(torch.get_rng_state(), before) and not seeded


# Epoch, occurrence and seed, one of them away from (0, 0, 5) at a time.
KEYS = [
    *((epoch, 0, 5) for epoch in range(1, 11)),
    *((0, occurrence, 5) for occurrence in range(1, 11)),
    *((0, 0, seed) for seed in range(6, 16)),
]


def test_a_training_item_is_a_function_of_seed_epoch_index_and_occurrence(training_clips, rows, processor):
    def item(epoch=0, index=0, occurrence=0, seed=5):
        training_clips.seed = seed
        training_clips.set_epoch(epoch)
        draw = Draw(index)
        draw.occurrence = occurrence
        return training_clips[draw]

    torch.manual_seed(1)
    reference = [item(epoch, occurrence=occurrence, seed=seed) for epoch, occurrence, seed in KEYS]
    torch.manual_seed(2)
    for (epoch, occurrence, seed), expected in zip(KEYS[::-1], reference[::-1], strict=True):
        again = item(epoch, occurrence=occurrence, seed=seed)
        assert torch.equal(again["clip"], expected["clip"]) and again["seed"] == expected["seed"]
    assert len({one["seed"] for one in reference}) == len(KEYS)
    for varied in (slice(0, 10), slice(10, 20), slice(20, 30)):  # each key alone changes the frames
        assert len({one["clip"].numpy().tobytes() for one in reference[varied]}) > 5
    assert item()["seed"] == training_clips[0]["seed"]  # a plain index is its first draw


def test_making_items_leaves_the_global_random_state_alone(training_clips):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    training_clips[0], training_clips[1]
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_make_the_same_items_and_hear_of_a_new_epoch(training_clips, context):
    loader = torch.utils.data.DataLoader(
        training_clips,
        batch_size=1,
        num_workers=1,
        persistent_workers=True,
        collate_fn=list,
        multiprocessing_context=context,
    )
    seeds = []
    for epoch in range(2):
        training_clips.set_epoch(epoch)
        from_workers = [items[0] for items in loader]
        for item, index in zip(from_workers, range(3), strict=True):
            difference = item["clip"].int() - training_clips[index]["clip"].int()
            assert difference.abs().max() <= 1  # a resize may round otherwise with another number of threads
            assert item["seed"] == training_clips[index]["seed"]
        seeds += [item["seed"] for item in from_workers]
    assert len(set(seeds)) == 6


def test_evaluation_is_not_random_and_carries_no_seed(rows, processor):
    dataset = ClipDataset(rows, processor, sampling=TemporalSampling("segments", 4))
    first = dataset[1]
    dataset.set_epoch(3)
    assert torch.equal(dataset[1]["clip"], first["clip"]) and "seed" not in first
    assert torch.equal(first["clip"], ClipDataset(rows, processor)[1]["clip"])


def test_labels_are_known_without_decoding(rows, processor):
    for row in rows:
        row["clip"]["bytes"] = b"no video"
    assert ClipDataset(rows, processor).labels == [0, 1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmentation": lambda clip: clip}, "training=True"),
        ({"soft_labels": torch.eye(3)}, "`soft_labels` are for training"),
        ({"training": True, "cache": True, "sampling": TemporalSampling("segments", 4)}, "`cache`.*'segments'"),
        ({"stills": "frozen"}, "`stills` is 'frozen'.*'motion', 'single'"),
        ({"sampling": TemporalSampling("uniform", 6)}, "`sampling` takes 6 frames, `processor` 4"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(rows, processor, options, message):
    with pytest.raises(ValueError, match=message):
        ClipDataset(rows, processor, **options)
