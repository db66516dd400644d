"""The queue of earlier features and the projection head of DSM."""

from collections import deque
from functools import partial

import numpy as np
import pytest
import torch
from dsm_references import assert_close, draw, numerical_gradient, queued_figure_loss, value_and_gradient
from hand_written_training import (
    DSM_OPTIONS,
    MICRO_BATCH,
    assert_weights_close,
    build_model,
    build_rows,
    build_trainer,
    split,
)
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.training.dsm import information_bottleneck, robust_contrastive_loss
from modeling_hdf.training.feature_queue import FeatureQueue

pytestmark = pytest.mark.usefixtures("short_garbage_collections")

OPTIONS = {**DSM_OPTIONS, "dsm_scaling": "fixed", "dsm_projection": 6, "dsm_queue": 10}


# The class of the third sample has its only positive in the queue; class 3 has none.
@pytest.mark.parametrize("queue_labels", [[], [1], [2, 0, 4, 2]])
def test_contrastive_loss_with_a_queue_and_its_gradient_equal_the_loops(queue_labels):
    labels = [0, 0, 2, 3, 1, 1]
    features, queue = draw(len(labels)), draw(len(queue_labels), seed=1)
    exact = features.double().numpy()
    reference = partial(
        queued_figure_loss, labels=labels, temperature=0.3, eta=0.4, queue=queue.double().numpy(),
        queue_labels=queue_labels, weights_at=exact,
    )  # fmt: skip
    given = (queue.requires_grad_(), torch.tensor(queue_labels, dtype=torch.long))
    value, gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(points, torch.tensor(labels), temperature=0.3, eta=0.4, queue=given),
        features,
    )
    assert_close(value, reference(exact), 2e-5)
    assert_close(gradient, numerical_gradient(reference, exact), 1e-4)
    assert queue.grad is None


def test_the_queue_holds_the_last_finite_features_in_their_order():
    queue, expected = FeatureQueue(5, 2), deque(maxlen=5)
    assert [len(part) for part in queue.entries()] == [0, 0]
    generator = torch.Generator().manual_seed(0)
    for number in (2, 0, 1, 4, 7, 3):
        features = torch.randn(number, 2, generator=generator)
        labels = torch.randint(3, (number,), generator=generator)
        if number == 4:
            features[1, 0] = float("nan")
        queue.push(features, labels)
        expected.extend(
            (feature.tolist(), label.item())
            for feature, label in zip(features, labels, strict=True)
            if feature.isfinite().all()
        )
        held = [(feature.tolist(), label.item()) for feature, label in zip(*queue.entries(), strict=True)]
        assert held == list(expected)
    queue.clear()
    assert len(queue.entries()[1]) == 0


def hand_written_training(model: HDFForVideoClassification, head: nn.Module, steps: list, rho: float) -> list[tuple]:
    """Trains with DSM through the head and a queue of whole steps; returns the queue, the oldest entry first."""
    queue: deque = deque(maxlen=OPTIONS["dsm_queue"])
    parameters = [*model.parameters(), *head.parameters()]
    options = {"temperature": OPTIONS["dsm_temperature"], "eta": OPTIONS["dsm_eta"]}

    def accumulate(batches: list[dict]) -> list[tuple]:
        for parameter in parameters:
            parameter.grad = None
        seen = []
        held = None
        if queue:
            held = torch.stack([feature for feature, _ in queue]), torch.tensor([label for _, label in queue])
        for batch in batches:
            outputs = model(batch["pixel_values"])
            projected = head(outputs.features)
            loss_sc = robust_contrastive_loss(projected, batch["labels"], **options, queue=held)
            loss_sc = loss_sc + OPTIONS["dsm_ib_weight"] * information_bottleneck(projected)
            loss = OPTIONS["dsm_alpha"] * F.cross_entropy(outputs.logits, batch["labels"])
            ((loss + OPTIONS["dsm_beta"] * loss_sc) / len(batches)).backward()
            seen += zip(projected.detach(), batch["labels"].tolist(), strict=True)
        return seen

    model.train()
    for batches in steps:
        seen = accumulate(batches)
        if rho:
            before = [parameter.detach().clone() for parameter in parameters]
            norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])
            with torch.no_grad():
                for parameter in parameters:
                    parameter += rho * parameter.grad / norm
            accumulate(batches)
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        with torch.no_grad():
            for parameter in parameters:
                parameter -= 0.05 * parameter.grad
        queue.extend(seen)
    return list(queue)


@pytest.mark.parametrize("rho", [0.0, 0.05])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_training_with_head_and_queue_equals_a_hand_written_loop(tmp_path, accumulation, rho):
    rows = build_rows(5 * MICRO_BATCH)
    trainer = build_trainer(tmp_path, rows, gradient_accumulation_steps=accumulation, sam_rho=rho, **OPTIONS)
    model = build_model()
    head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 6))
    head.load_state_dict(trainer.model.dsm_projection.state_dict())
    before = head[0].weight.detach().clone()
    trainer.train()

    queue = hand_written_training(model, head, split(rows, MICRO_BATCH, accumulation), rho)
    assert (head[0].weight - before).abs().max() > 1e-3
    assert_weights_close(trainer.model.dsm_projection, head)
    del trainer.model.dsm_projection
    assert_weights_close(trainer.model, model)
    features, labels = trainer._queue.entries()
    assert labels.tolist() == [label for _, label in queue]
    torch.testing.assert_close(features, torch.stack([feature for feature, _ in queue]), atol=1e-5, rtol=0)


def test_resuming_with_head_and_queue_gives_the_straight_run(tmp_path):
    rows = build_rows(24)
    options = {**OPTIONS, "save_strategy": "steps", "save_steps": 3, "optim": "adamw_torch", "learning_rate": 1e-3}
    straight = build_trainer(tmp_path / "straight", rows, **options)
    straight.train()
    resumed = build_trainer(tmp_path / "resumed", rows, model=build_model(seed=7), seed=7, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "checkpoint-3"))
    assert_weights_close(resumed.model, straight.model)
    for held, expected in zip(resumed._queue.entries(), straight._queue.entries(), strict=True):
        torch.testing.assert_close(held, expected, atol=1e-5, rtol=0)


def test_a_second_training_starts_with_an_empty_queue(tmp_path):
    trainer = build_trainer(tmp_path, build_rows(MICRO_BATCH), **OPTIONS)
    for _ in range(2):
        trainer.train()
        assert len(trainer._queue.entries()[1]) == MICRO_BATCH


def test_the_saved_model_has_no_head(tmp_path):
    trainer = build_trainer(tmp_path, build_rows(MICRO_BATCH), **OPTIONS)
    trainer.train()
    trainer.save_model()
    names = load_file(tmp_path / "model.safetensors").keys()
    assert names == build_model().state_dict().keys()
    loaded, found = HDFForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    del trainer.model.dsm_projection
    assert_weights_close(loaded, trainer.model)


def test_the_head_leaves_all_other_randomness_as_it_is(tmp_path):
    """With `dsm_beta=0` the head trains nothing: the run is then the one without it, dropout and order included."""
    rows = build_rows(24)
    options = {**OPTIONS, "dsm_beta": 0.0, "train_sampling_strategy": "random"}
    models = []
    for others in ({}, {"dsm_projection": 0, "dsm_queue": 0}):
        trainer = build_trainer(tmp_path, rows, model=build_model(dropout=0.3), **{**options, **others})
        trainer.train()
        models.append(trainer.model)
    del models[0].dsm_projection
    assert_weights_close(*models)


def test_a_ready_optimizer_is_refused_because_it_lacks_the_head(tmp_path):
    model = build_model()
    optimizers = (torch.optim.SGD(model.parameters(), lr=0.1), None)
    with pytest.raises(ValueError, match="`dsm_projection`.*leave `optimizers` out"):
        build_trainer(tmp_path, None, model=model, trainer={"optimizers": optimizers}, **OPTIONS)


@pytest.mark.parametrize("name", ["dsm_projection", "dsm_queue"])
def test_sizes_out_of_range_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"`{name}` is -1"):
        build_trainer(tmp_path, None, **{name: -1})


def test_features_that_are_not_finite_do_not_reach_the_queue_of_the_next_steps(tmp_path):
    rows = build_rows(2 * MICRO_BATCH)
    rows[0]["pixel_values"] = torch.full_like(rows[0]["pixel_values"], float("nan"))
    trainer = build_trainer(tmp_path, rows, sam_rho=0.05, **OPTIONS)
    trainer.train()
    features, labels = trainer._queue.entries()
    assert len(labels) == 2 * MICRO_BATCH - 1
    assert np.isfinite(features.numpy()).all()
