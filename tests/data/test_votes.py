"""Soft labels from DFEW's votes: the shares, clips without votes, and the way into a batch and its loss."""

import datasets
import openpyxl
import pytest
import torch
from hand_written_training import build_rows, build_trainer, collate
from transformers.utils import logging
from trees import OURS, write_dfew, write_votes

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import DataArguments, vote_targets
from modeling_hdf.data.clip_samplers import Draw
from modeling_hdf.training.dsm import robust_contrastive_loss

NAMES = ("calm", "glad", "cross")


@pytest.fixture(autouse=True)
def own_dataset_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


@pytest.fixture
def warnings(monkeypatch):
    """What the module warns of."""
    found = []
    monkeypatch.setattr(logging.get_logger("modeling_hdf.data.votes"), "warning", found.append)
    return found


def test_targets_are_the_shares_of_the_votes(warnings):
    votes = [[6, 3, 1], [0, 10, 0], [2, 2, 1]]
    targets = vote_targets(votes, [0, 1, 1], ["a", "b", "c"], NAMES)
    assert targets.dtype == torch.float32
    for row, counts in zip(targets.tolist(), votes, strict=True):
        assert row == pytest.approx([count / sum(counts) for count in counts])
    assert warnings == []


BAD_VOTES = {
    "none": (None, "bad (none)"),
    "all 0": ([0, 0, 0], "bad ([0, 0, 0])"),
    "negative": ([5, -1, 1], "bad ([5, -1, 1])"),
    "another class": ([1, 3, 7], "bad (7 for cross, 1 for calm)"),
}


@pytest.mark.parametrize("kind", BAD_VOTES)
def test_a_clip_without_usable_votes_keeps_its_class_and_is_reported(warnings, kind):
    votes, message = BAD_VOTES[kind]
    targets = vote_targets([[3, 1, 0]] * 24 + [votes], [0] * 25, [*"abcdefghijklmnopqrstuvwx", "bad"], NAMES)
    assert targets[24].tolist() == [1, 0, 0]
    assert targets[:24].tolist() == [[0.75, 0.25, 0]] * 24
    assert len(warnings) == 1
    assert "1 of 25 training clips" in warnings[0] and message in warnings[0]


def test_votes_of_other_clips_are_refused():
    votes = [[3, 1, 0]] * 18 + [[1, 3, 0]] * 2
    with pytest.raises(ValueError, match=r"2 of 20 training clips.*18 \(3 for glad, 1 for calm\).*correct their file"):
        vote_targets(votes, [0] * 20, list(map(str, range(20))), NAMES)


# ---- DFEW ----


def dfew(root, **options) -> DataArguments:
    return DataArguments(dataset="dfew", data_dir=str(root), fold=1, vote_labels=True, **options)


def splits_of(arguments) -> dict:
    builder = arguments.builder({})
    builder.download_and_prepare()
    return builder.as_dataset()


@pytest.fixture
def processor():
    return HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})


def expected_shares(row):
    votes = [6 * (index == row["label"]) for index in range(7)]
    votes[0] += int(row["clip_id"]) % 4
    return [count / sum(votes) for count in votes]


def test_training_clips_carry_their_votes_and_no_others_do(tmp_path, processor):
    write_votes(tmp_path, write_dfew(tmp_path))
    arguments = dfew(tmp_path)
    splits = splits_of(arguments)
    clips = arguments.clips(splits, processor, seed=0)
    train = clips["train"]
    shares = [train[Draw(index)]["soft_label"].tolist() for index in range(len(train))]
    for row, share in zip(splits["train"], shares, strict=True):
        assert share == pytest.approx(expected_shares(row))
    assert len({tuple(share) for share in shares}) > 7
    assert all("soft_label" not in clips[split][0] for split in ("validation", "test"))

    collator = arguments.collator(processor, 7, dsm=True)
    batch = collator([train[index] for index in range(5)])
    assert batch["soft_labels"].tolist() == shares[:5] and "is_mixed" not in batch
    assert batch["labels"].tolist() == splits["train"]["label"][:5]
    assert set(collator([clips["validation"][0]])) == {"pixel_values", "labels"}


def test_votes_are_mixed_with_the_clips(tmp_path, processor):
    write_votes(tmp_path, write_dfew(tmp_path))
    arguments = dfew(tmp_path, mixup_alpha=0.8)
    train = arguments.clips(splits_of(arguments), processor, seed=0)["train"]
    items = [train[index] for index in range(6)]
    mixed = arguments.collator(processor, 7, dsm=True)(items)
    plain = DataArguments().collator(processor, 7, dsm=True)(items)
    mixing = arguments.collator(processor, 7, dsm=True).mixing
    seeds = [item["seed"] for item in items]
    expected = mixing(plain["pixel_values"], plain["labels"], seeds, plain["soft_labels"])
    torch.testing.assert_close(mixed["soft_labels"], expected["soft_labels"])
    assert torch.equal(mixed["soft_labels"][:3], plain["soft_labels"][:3])
    assert not torch.equal(mixed["soft_labels"][3:], plain["soft_labels"][3:])


def test_without_the_argument_the_classes_stay(tmp_path, processor):
    write_votes(tmp_path, write_dfew(tmp_path))
    arguments = DataArguments(dataset="dfew", data_dir=str(tmp_path), fold=1)
    assert "soft_label" not in arguments.clips(splits_of(arguments), processor, seed=0)["train"][0]


def test_a_missing_workbook_is_named(tmp_path):
    write_dfew(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no Annotation/annotation.xlsx.*`vote_labels=False`"):
        dfew(tmp_path).builder({})


def test_a_workbook_whose_columns_are_shifted_is_refused(tmp_path, processor):
    path = write_votes(tmp_path, write_dfew(tmp_path))
    workbook = openpyxl.load_workbook(path)
    for row in workbook.active.iter_rows(min_row=2, min_col=2, max_col=8):
        values = [cell.value for cell in row]
        for cell, value in zip(row, values[-1:] + values[:-1], strict=True):
            cell.value = value
    workbook.save(path)
    arguments = dfew(tmp_path)
    with pytest.raises(ValueError, match=f"training clips have no votes that agree.* 0 for {OURS[0]}"):
        arguments.clips(splits_of(arguments), processor, seed=0)


@pytest.mark.parametrize("dataset", ["ferv39k", "mafw", "folder", "synthetic"])
def test_a_dataset_without_votes_is_refused(dataset):
    with pytest.raises(ValueError, match=f"`vote_labels` needs the votes of annotators, which {dataset} does not"):
        DataArguments(dataset=dataset, data_dir=".", vote_labels=True)


# ---- The loss ----


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dsm", [True, False])
def test_cross_entropy_takes_the_shares_and_the_contrastive_loss_the_classes(tmp_path, dsm, smoothing):
    batch = collate(build_rows(8))
    soft = torch.rand(8, 3)
    soft = soft / soft.sum(1, keepdim=True)
    options = {"dsm_scaling": "fixed", "dsm_alpha": 2.0, "dsm_beta": 0.5, "dsm_ib_weight": 0.0}
    trainer = build_trainer(tmp_path, None, dsm=dsm, label_smoothing_factor=smoothing, **options)
    model = trainer.model.train()
    outputs = model(batch["pixel_values"])
    log_probability = outputs.logits - outputs.logits.exp().sum(1, keepdim=True).log()
    expected = -(((1 - smoothing) * soft + smoothing / 3) * log_probability).sum(1).mean()
    if dsm:
        expected = 2 * expected + 0.5 * robust_contrastive_loss(outputs.features, batch["labels"])
    loss = trainer.compute_loss(model, {**batch, "soft_labels": soft})
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
