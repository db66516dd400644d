"""HDFTrainer with mixed labels, samplers and a dataset that wants to know the epoch."""

import pytest
import torch
from hand_written_training import (
    DSM_OPTIONS,
    SCALINGS,
    build_model,
    build_rows,
    build_trainer,
    collate,
    hand_written_loss,
    largest_difference,
)
from torch.utils.data import Dataset, IterableDataset

from modeling_hdf.data import ClipMixing
from modeling_hdf.training.dsm import DSM, adaptive_weights, information_bottleneck, robust_contrastive_loss
from modeling_hdf.training.trainer import HDFTrainingArguments

pytestmark = pytest.mark.usefixtures("short_garbage_collections")


def soft_cross_entropy(logits, targets, smoothing):
    """Loops over samples and classes."""
    total = 0.0
    for scores, target in zip(logits, targets, strict=True):
        log_probability = scores - scores.exp().sum().log()
        for label, share in enumerate(target):
            total = total - ((1 - smoothing) * share + smoothing / len(target)) * log_probability[label]
    return total / len(logits)


def mixed_batch(size=8, share=0.5):
    batch = collate(build_rows(size))
    mixed = ClipMixing(3, mixup_alpha=0.8, cutmix_alpha=1.0, share=share)(batch["pixel_values"], batch["labels"], [4])
    return {**batch, **mixed}


# ---- Mixup and cutmix beside the contrastive loss ----


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_cross_entropy_sees_all_clips_and_the_feature_losses_the_unmixed_ones(tmp_path, scaling, smoothing):
    batch = mixed_batch()
    trainer = build_trainer(tmp_path, None, dsm_scaling=scaling, label_smoothing_factor=smoothing, **DSM_OPTIONS)
    trainer.dsm.update(2.0)
    model = trainer.model.train()
    outputs = model(batch["pixel_values"])
    loss_ce = soft_cross_entropy(outputs.logits, batch["soft_labels"], smoothing)
    clean = range(4)  # the first half
    features, labels = outputs.features[clean], batch["labels"][clean]
    loss_sc = robust_contrastive_loss(features, labels, temperature=0.5, eta=0.6)
    loss_sc = loss_sc - 0.4 * information_bottleneck(features)
    assert loss_sc.item() != 0
    g = 2.0
    if scaling == "features":
        g = torch.autograd.grad(loss_ce + loss_sc, outputs.features, retain_graph=True)[0].norm().item()
    weights = (3.0, 0.7) if scaling == "fixed" else adaptive_weights(g, alpha=3.0, beta=0.7)
    expected = weights[0] * loss_ce + weights[1] * loss_sc
    actual = trainer.compute_loss(model, batch)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(
        torch.autograd.grad(actual, list(model.parameters()), allow_unused=True),
        torch.autograd.grad(expected, list(model.parameters()), allow_unused=True),
        strict=True,
    ):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    assert set(batch) == {"pixel_values", "labels", "soft_labels", "is_mixed"}  # for the second pass of SAM


def test_a_mixed_clip_has_no_part_in_the_feature_losses(tmp_path):
    features, labels = torch.randn(6, 5, requires_grad=True), torch.tensor([0, 0, 1, 1, 0, 1])
    is_mixed = torch.tensor([False, False, False, True, True, False])
    dsm = DSM(scaling="fixed", alpha=0.0, beta=1.0)
    dsm(torch.zeros(6, 3), features, labels, torch.full((6, 3), 1 / 3), is_mixed).loss.backward()
    assert (features.grad[is_mixed] == 0).all() and (features.grad[~is_mixed].abs().sum(1) > 0).all()


def test_dsm_refuses_a_batch_without_an_unmixed_clip():
    with pytest.raises(ValueError, match="Every sample is mixed"):
        DSM(scaling="fixed")(
            torch.zeros(2, 3), torch.randn(2, 5), torch.tensor([0, 1]), torch.full((2, 3), 1 / 3), torch.ones(2) > 0
        )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_dsm_the_loss_is_soft_cross_entropy(tmp_path, smoothing):
    batch = mixed_batch(share=1.0)
    trainer = build_trainer(tmp_path, None, dsm=False, label_smoothing_factor=smoothing)
    model = trainer.model.train()
    expected = soft_cross_entropy(model(batch["pixel_values"]).logits, batch["soft_labels"], smoothing)
    assert trainer.compute_loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5) and outputs.logits.shape == (8, 3)


def test_unmixed_soft_labels_give_the_loss_of_hard_ones(tmp_path):
    batch = collate(build_rows(8))
    soft = {"soft_labels": torch.eye(3)[batch["labels"]], "is_mixed": torch.zeros(8, dtype=torch.bool)}
    trainer = build_trainer(tmp_path, None, label_smoothing_factor=0.1, **DSM_OPTIONS)
    model = trainer.model.train()
    expected, _ = hand_written_loss(model, batch, "features", None, smoothing=0.1)
    assert trainer.compute_loss(model, {**batch, **soft}).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_training_on_mixed_batches_differs_from_training_on_plain_ones(tmp_path, rho):
    def collate_mixed(rows):
        batch = collate(rows)
        mixing = ClipMixing(3, mixup_alpha=0.8)
        return {**batch, **mixing(batch["pixel_values"], batch["labels"], [1])}

    plain = build_trainer(tmp_path, build_rows(8), sam_rho=rho)
    mixed = build_trainer(tmp_path, build_rows(8), sam_rho=rho, trainer={"data_collator": collate_mixed})
    plain.train(), mixed.train()
    assert largest_difference(plain.model, mixed.model) > 1e-4


# ---- Samplers and epochs ----


class Rows(Dataset):
    """Rows that write down what is asked of them, and in which epoch."""

    def __init__(self, num_rows):
        self.rows = build_rows(num_rows)
        self.labels = [row["labels"] for row in self.rows]
        self.epoch = None
        self.asked = []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        self.asked.append((self.epoch, int(index)))
        return self.rows[index]

    def set_epoch(self, epoch):
        self.epoch = epoch


def asked_by_epoch(rows):
    return [[index for epoch, index in rows.asked if epoch == number] for number in range(2)]


@pytest.mark.parametrize("sampler", ["random", "balanced", "per_class"])
def test_each_epoch_has_an_order_of_its_own_and_a_dataset_hears_of_it(tmp_path, sampler):
    rows = Rows(24)
    build_trainer(
        tmp_path, rows, sampler=sampler, num_train_epochs=2, train_sampling_strategy="random", max_grad_norm=1.0
    ).train()
    first, second = asked_by_epoch(rows)
    assert len(first) == len(second) == 24 == len(rows.asked) / 2
    assert first != second
    if sampler == "random":
        assert sorted(first) == list(range(24))
    if sampler == "per_class":
        for start in range(0, 24, 4):
            assert len({rows.labels[index] for index in first[start : start + 4]}) == 1


@pytest.mark.parametrize("sampler", ["balanced", "per_class"])
def test_resuming_within_an_epoch_goes_on_with_its_clips(tmp_path, sampler):
    options = {
        "sampler": sampler,
        "num_train_epochs": 2,
        "train_sampling_strategy": "random",
        "save_strategy": "steps",
        "save_steps": 8,
        "seed": 11,
    }
    rows = Rows(24)  # six steps per epoch: step 8 lies within the second
    straight = build_trainer(tmp_path, rows, **options)
    straight.train()
    resumed_rows = Rows(24)
    resumed = build_trainer(tmp_path, resumed_rows, model=build_model(seed=3), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert asked_by_epoch(resumed_rows)[1] == asked_by_epoch(rows)[1][8:]
    assert largest_difference(straight.model, resumed.model) < 1e-6


def test_the_seed_of_the_run_decides_the_order(tmp_path):
    orders = []
    for options in ({"seed": 0}, {"seed": 1}, {"seed": 0, "data_seed": 1}):
        rows = Rows(16)
        build_trainer(tmp_path, rows, sampler="balanced", train_sampling_strategy="random", **options).train()
        orders.append(asked_by_epoch(rows)[0])
    assert orders[0] != orders[1] == orders[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "weighted"}, "`sampler` is 'weighted'"),
        ({"sampler": "per_class", "clips_per_class": 1}, "`clips_per_class` is 1"),
        ({"sampler": "per_class", "clips_per_class": 3}, "batches of 8 clips.*`clips_per_class`=3"),
        ({"sampler": "per_class", "auto_find_batch_size": True}, "`auto_find_batch_size`.*cuts the groups"),
        ({"sampler": "balanced", "train_sampling_strategy": "sequential"}, "`train_sampling_strategy` 'sequential'"),
    ],
)
def test_sampler_arguments_that_cannot_work_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        HDFTrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=8, **options)


def test_groups_must_fit_the_piece_of_a_batch_that_a_process_gets(tmp_path, monkeypatch):
    monkeypatch.setattr(HDFTrainingArguments, "world_size", property(lambda arguments: 2))
    options = {"sampler": "per_class", "per_device_train_batch_size": 8, "use_cpu": True}
    split = {"accelerator_config": {"split_batches": True}}
    HDFTrainingArguments(str(tmp_path), clips_per_class=8, **options)
    HDFTrainingArguments(str(tmp_path), clips_per_class=4, **options, **split)
    with pytest.raises(ValueError, match="batches of 4 clips.*`clips_per_class`=8"):
        HDFTrainingArguments(str(tmp_path), clips_per_class=8, **options, **split)


class StreamedRows(IterableDataset):
    """Rows without a length, which no sampler can order."""

    def __init__(self, rows):
        self.rows, self.labels = rows, [row["labels"] for row in rows]

    def __iter__(self):
        return iter(self.rows)


@pytest.mark.parametrize("sampler", ["balanced", "per_class"])
def test_a_sampler_is_refused_for_a_stream_which_would_not_follow_it(tmp_path, sampler):
    rows = StreamedRows(build_rows(8))
    with pytest.raises(ValueError, match=f"`sampler` is '{sampler}', but a streamed"):
        build_trainer(
            tmp_path, rows, sampler=sampler, clips_per_class=2, train_sampling_strategy="random", max_steps=1
        )
    build_trainer(tmp_path, rows, max_steps=1).train()


@pytest.mark.parametrize("options", [{}, {"sam_rho": 0.05}])
def test_batches_without_labels_are_named(tmp_path, options):
    rows = [{"pixel_values": row["pixel_values"]} for row in build_rows(8)]
    trainer = build_trainer(tmp_path, rows, trainer={"data_collator": None}, **options)
    with pytest.raises(ValueError, match=r"A batch holds \['pixel_values'\], but no `labels`"):
        trainer.train()


def test_a_dataset_without_labels_is_refused(tmp_path):
    trainer = build_trainer(tmp_path, build_rows(8), sampler="balanced", train_sampling_strategy="random")
    with pytest.raises(ValueError, match="`labels`"):
        trainer.train()
