"""Several datasets in one training: classes united by name, clips one after the other, and weights."""

from collections import Counter

import datasets
import numpy as np
import pytest
import torch
from trees import CREMAD_OURS, OURS, fer2013_stills, write_cremad, write_fer2013

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import ClipDataset, DataArguments, MixedClips, TemporalSampling, encode_mp4, united_classes
from modeling_hdf.data.clip_samplers import Draw, MixtureSampler
from modeling_hdf.data.mixtures import with_classes


@pytest.fixture
def processor():
    return HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def rows_of(count: int, labels, frames: int = 8) -> list[dict]:
    rows = []
    for number in range(count):
        clip = np.full((frames, 16, 16, 3), 10 * number, dtype=np.uint8)
        clip[:, :, :8] += (4 * np.arange(frames, dtype=np.uint8))[:, None, None, None]
        rows.append({"clip": {"bytes": encode_mp4(clip, fps=8, crf=1), "path": "a.mp4"}, "label": labels[number]})
    return rows


# ---- Classes ----


def test_classes_are_united_by_meaning_in_our_order_and_others_follow():
    names = {"a": ["fear", "calm", "Happy"], "b": ["happiness", "sadness", "neutral", "Calm "], "c": ["anger", "sad"]}
    assert united_classes(names) == ["happiness", "sadness", "neutral", "anger", "fear", "calm"]
    assert united_classes({"a": ["x", "y"]}) == ["x", "y"]
    assert united_classes({"ravdess": OURS, "cremad": CREMAD_OURS}) == list(OURS)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"a": ["0", "1"], "b": OURS}, r"classes of a \(0, 1\) cannot be united"),
        ({"a": ["happy", "joy", "sad"], "b": OURS}, "a has the classes 'happy', 'joy', which are one class"),
        ({"a": ["x", "y"], "b": ["y"], "c": ["z"]}, r"classes of c \(z\) cannot be united"),
    ],
)
def test_classes_that_cannot_be_united_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        united_classes(names)


def test_labels_and_votes_move_to_the_classes_of_the_mixture():
    features = datasets.Features(
        {
            "label": datasets.ClassLabel(names=["Sad", "happy"]),
            "votes": datasets.List(datasets.Value("int32")),
            "clip_id": datasets.Value("string"),
        }
    )
    rows = datasets.Dataset.from_dict(
        {"label": [0, 1, 1], "votes": [[3, 1], None, [0, 2]], "clip_id": ["a", "b", "c"]}, features=features
    )
    changed = with_classes({"train": rows}, OURS)["train"]
    assert changed.features["label"].names == list(OURS)
    assert [OURS[label] for label in changed["label"]] == ["sadness", "happiness", "happiness"]
    assert changed["votes"][:] == [[1, 3, 0, 0, 0, 0, 0], None, [2, 0, 0, 0, 0, 0, 0]]
    assert changed["clip_id"][:] == ["a", "b", "c"]
    same = datasets.Dataset.from_dict({"label": [0]}, features=datasets.Features({"label": changed.features["label"]}))
    assert with_classes({"train": same}, OURS)["train"] is same


# ---- Clips ----


def test_clips_follow_each_other_each_with_its_own_sampling(processor):
    segments = TemporalSampling("segments", num_frames=4)
    parts = [
        ClipDataset(rows_of(2, [0, 1]), processor, training=True, sampling=segments),
        ClipDataset(rows_of(3, [2, 2, 1]), processor, training=True),
    ]
    mixed = MixedClips(parts)
    assert len(mixed) == 5 and mixed.labels == [0, 1, 2, 2, 1] and not mixed.is_weighted and mixed.cache is None
    seen = {0: set(), 2: set()}
    for epoch in range(8):
        mixed.set_epoch(epoch)
        for number, (part, index) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]):
            item, own = mixed[number], parts[part][index]
            assert torch.equal(item["clip"], own["clip"]) and item["label"] == own["label"]
            assert item["seed"] == own["seed"]
            if number in seen:
                seen[number].add(item["clip"].numpy().tobytes())
    assert len(seen[0]) > 1 and len(seen[2]) == 1  # random segments, and uniform frames
    draw = Draw(3)
    draw.occurrence = 2
    again = Draw(1)
    again.occurrence = 2
    assert mixed[draw]["seed"] == parts[1][again]["seed"] != mixed[3]["seed"]


def test_datasets_that_skip_unreadable_clips_are_not_mixed(processor):
    skipping = ClipDataset(rows_of(1, [0]), processor, skip_unreadable=True)
    with pytest.raises(ValueError, match="`skip_unreadable`"):
        MixedClips([ClipDataset(rows_of(1, [0]), processor), skipping])


def test_classes_become_soft_labels_beside_votes(processor):
    votes = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    parts = [
        ClipDataset(rows_of(2, [0, 1]), processor, training=True, soft_labels=votes),
        ClipDataset(rows_of(1, [2]), processor, training=True),
    ]
    mixed = MixedClips(parts)
    assert [mixed[index]["soft_label"].tolist() for index in range(3)] == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]


def test_weights_say_how_often_an_epoch_shows_each_clip():
    sampler = MixtureSampler([10, 7, 4], [1.0, 0.5, 2.25], seed=3)
    assert len(sampler) == 10 + 4 + 9  # 3.5 is rounded to the even 4
    totals, orders = Counter(), set()
    for epoch in range(400):
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert len(indices) == len(sampler)
        counts = Counter(map(int, indices))
        assert all(counts[index] == 1 for index in range(10))
        assert sum(counts[index] for index in range(10, 17)) == 4 and max(counts[i] for i in range(10, 17)) == 1
        assert {counts[index] for index in range(17, 21)} == {2, 3}
        assert sorted(draw.occurrence for draw in indices if draw == 17) == list(range(counts[17]))
        totals.update(counts)
        orders.add(tuple(map(int, indices)))
    assert len(orders) == 400
    np.testing.assert_allclose([totals[index] / 400 for index in range(10, 17)], 4 / 7, atol=0.1)
    np.testing.assert_allclose([totals[index] / 400 for index in range(17, 21)], 2.25, atol=0.1)
    sampler.set_epoch(0)
    assert list(sampler) == list(sampler)


@pytest.mark.parametrize("weights", [[1, 0], [1, -1], [1, 0.01]])
def test_weights_that_leave_no_clip_are_refused(weights):
    with pytest.raises(ValueError, match="Weights must be above 0"):
        MixtureSampler([10, 10], weights)


# ---- Arguments ----


@pytest.fixture
def data_dir(tmp_path):
    write_cremad(tmp_path / "data" / "CREMA-D", (1001, 1003, 1006))
    write_fer2013(tmp_path / "data" / "FER-2013" / "fer2013.csv", fer2013_stills())
    return tmp_path / "data"


def test_each_dataset_has_its_folder_fold_fields_and_sampling(data_dir, tmp_path):
    overrides = {
        "cremad": {"votes_on": "both", "temporal_sampling": "dense", "sampling_stride": 2, "max_missing": 3},
        "fer2013": {"leave_out_copies": True},
    }
    data = DataArguments(dataset="cremad, fer2013", data_dir=str(data_dir), fold=1, vote_labels=True)
    assert data.names == ("cremad", "fer2013") and data.weights is None
    (cremad, cremad_fields), (fer2013, fer2013_fields) = data.parts(overrides).values()
    assert (cremad.dataset, cremad.data_dir, cremad.fold) == ("cremad", str(data_dir / "CREMA-D"), 1)
    assert (cremad.temporal_sampling, cremad.sampling_stride, cremad.max_missing) == ("dense", 2, 3)
    assert cremad.vote_labels and not fer2013.vote_labels and cremad_fields == {"votes_on": "both"}
    assert (fer2013.data_dir, fer2013.fold, fer2013.temporal_sampling) == (str(data_dir / "FER-2013"), None, "uniform")
    assert fer2013.builder(fer2013_fields).config.leave_out_copies
    described = data.described(overrides | {"fer2013": {"data_dir": str(tmp_path)}})
    assert described["dataset_overrides"] == {"cremad": overrides["cremad"], "fer2013": {}}
    single = DataArguments(dataset="fer2013", data_dir=str(data_dir / "FER-2013"))
    assert single.parts({"seed": 1}) == {"fer2013": (single, {"seed": 1})}


@pytest.mark.parametrize(
    ("fields", "overrides", "error", "message"),
    [
        ({"dataset": "cremad,imagenet"}, {}, ValueError, "`dataset` is 'cremad,imagenet'; choose one of"),
        ({"dataset": "fer2013,fer2013"}, {}, ValueError, "names a dataset twice"),
        ({"dataset_weights": "1"}, {}, ValueError, "`dataset_weights` has 1 weights for 2 datasets"),
        ({"dataset_weights": "1,x"}, {}, ValueError, "must be numbers with commas"),
        ({"dataset": "fer2013", "dataset_weights": "1"}, {}, ValueError, "`dataset_weights` are for several"),
        ({"dataset": "fer2013,synthetic"}, {}, ValueError, "none of fer2013,synthetic has folds"),
        ({"dataset": "ravdess,fer2013", "vote_labels": True}, {}, ValueError, "`vote_labels` needs the votes"),
        ({"fold": None}, {}, ValueError, "`fold` is missing; cremad has folds 1 to 5"),
        ({}, {"seed": 3}, ValueError, "`dataset_overrides` has 'seed': 3; with several datasets"),
        ({"dataset": "ravdess,fer2013"}, {}, FileNotFoundError, "holds no folder ravdess"),
        ({"data_dir": None}, {}, ValueError, "`data_dir` is missing"),
    ],
)
def test_arguments_that_cannot_work_are_refused(data_dir, fields, overrides, error, message):
    fields = {"dataset": "cremad,fer2013", "data_dir": str(data_dir), "fold": 1} | fields
    with pytest.raises(error, match=message):
        DataArguments(**fields).parts(overrides)
