"""Logit adjustment against numpy loops, in every form of the loss."""

import math

import numpy as np
import pytest
import torch
from hand_written_training import (
    DSM_OPTIONS,
    SCALINGS,
    assert_weights_close,
    build_model,
    build_rows,
    build_trainer,
    collate,
    largest_difference,
    smoothed_cross_entropy,
)

from modeling_hdf.training.dsm import adaptive_weights, information_bottleneck, robust_contrastive_loss
from modeling_hdf.training.logit_adjustment import class_log_priors
from modeling_hdf.training.trainer import HDFTrainingArguments

pytestmark = pytest.mark.usefixtures("short_garbage_collections")

COUNTS = (12, 3, 1)


class Rows(list):
    """Rows with their classes, 12, 3 and 1 clips of each."""

    @property
    def labels(self):
        return [row["labels"] for row in self]


def imbalanced_rows() -> Rows:
    rows = Rows(build_rows(sum(COUNTS)))
    for row, label in zip(rows, np.repeat([0, 1, 2], COUNTS)[::-1], strict=True):
        row["labels"] = int(label)
    return rows


def adjusted_cross_entropy(logits, targets, tau, smoothing=0.0):
    """Loops over samples and classes; `targets` are shares `(N, 3)`."""
    total = 0.0
    for scores, target in zip(logits, targets, strict=True):
        moved = [score + tau * math.log(count / sum(COUNTS)) for score, count in zip(scores, COUNTS, strict=True)]
        log_sum = torch.stack([score.exp() for score in moved]).sum().log()
        for share, score in zip(target, moved, strict=True):
            total = total - ((1 - smoothing) * share + smoothing / 3) * (score - log_sum)
    return total / len(logits)


def hard(labels):
    return torch.eye(3)[labels]


def mixed_targets(size):
    soft = torch.rand(size, 3)
    return soft / soft.sum(1, keepdim=True)


def test_priors_are_the_shares_of_the_training_clips():
    expected = [math.log(count / 16) for count in COUNTS]
    assert class_log_priors(imbalanced_rows().labels, 3).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_class_that_the_model_lacks_is_named(wrong):
    with pytest.raises(ValueError, match=rf"`labels` of the training dataset hold \[{wrong}\].* classes 0 to 2"):
        class_log_priors([0, 1, 2, wrong], 3)


def test_a_class_without_training_clips_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"classes \[1, 3\] have none.*`logit_adjustment=0`"):
        class_log_priors([0, 2, 2], 4)
    rows = Rows(row for row in imbalanced_rows() if row["labels"] != 1)
    with pytest.raises(ValueError, match=r"classes \[1\] have none"):
        build_trainer(tmp_path, rows, logit_adjustment=1.0)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tau", [1.0, 0.4])
def test_cross_entropy_takes_adjusted_logits(tmp_path, tau, smoothing, soft):
    rows = imbalanced_rows()
    batch = collate(rows[8:])
    targets = mixed_targets(8) if soft else hard(batch["labels"])
    if soft:
        batch["soft_labels"] = targets
    trainer = build_trainer(tmp_path, rows, dsm=False, logit_adjustment=tau, label_smoothing_factor=smoothing)
    model = trainer.model.train()
    logits = model(batch["pixel_values"]).logits
    expected = adjusted_cross_entropy(logits, targets, tau, smoothing)
    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(outputs.logits, logits)  # those of the outputs stay as they are


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_dsm_takes_adjusted_logits_for_its_cross_entropy_alone(tmp_path, scaling, soft):
    rows = imbalanced_rows()
    batch = collate(rows[4:])
    trainer = build_trainer(tmp_path, rows, logit_adjustment=0.7, dsm_scaling=scaling, **DSM_OPTIONS)
    trainer.dsm.update(2.0)
    model = trainer.model.train()
    outputs = model(batch["pixel_values"])
    targets, clean = hard(batch["labels"]), range(12)
    if soft:
        targets, clean = mixed_targets(12), range(9)
        batch |= {"soft_labels": targets, "is_mixed": torch.arange(12) >= 9}
    loss_ce = adjusted_cross_entropy(outputs.logits, targets, 0.7)
    features, labels = outputs.features[clean], batch["labels"][clean]
    loss_sc = robust_contrastive_loss(features, labels, temperature=0.5, eta=0.6)
    loss_sc = loss_sc - 0.4 * information_bottleneck(features)
    g = 2.0
    if scaling == "features":
        g = torch.autograd.grad(loss_ce + loss_sc, outputs.features, retain_graph=True)[0].norm().item()
    lambda_ce, lambda_sc = (3.0, 0.7) if scaling == "fixed" else adaptive_weights(g, alpha=3.0, beta=0.7)
    expected = lambda_ce * loss_ce + lambda_sc * loss_sc
    assert trainer.compute_loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_training_takes_the_gradients_of_the_adjusted_loss(tmp_path, rho):
    rows = imbalanced_rows()
    trainer = build_trainer(tmp_path, rows, dsm=False, logit_adjustment=1.0, sam_rho=rho, max_grad_norm=0.0)
    trainer.train()
    model = build_model().train()
    for start in range(0, 16, 4):
        batch = collate(rows[start : start + 4])

        def gradients(model=model, batch=batch):
            loss = adjusted_cross_entropy(model(batch["pixel_values"]).logits, hard(batch["labels"]), 1.0)
            return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)

        before = [parameter.detach().clone() for parameter in model.parameters()]
        found = gradients()
        with torch.no_grad():
            if rho > 0:
                norm = torch.sqrt(sum(gradient.square().sum() for gradient in found))
                for parameter, gradient in zip(model.parameters(), found, strict=True):
                    parameter += rho * gradient / norm
        found = gradients()
        with torch.no_grad():
            for parameter, value, gradient in zip(model.parameters(), before, found, strict=True):
                parameter.copy_(value - 0.05 * gradient)
    assert_weights_close(trainer.model, model)
    plain = build_trainer(tmp_path, rows, dsm=False, sam_rho=rho, max_grad_norm=0.0)
    plain.train()
    assert largest_difference(plain.model, model) > 1e-3


@pytest.mark.parametrize("dsm", [True, False])
def test_evaluation_and_prediction_take_the_logits_as_they_are(tmp_path, dsm):
    rows = imbalanced_rows()
    trainer = build_trainer(tmp_path, rows, logit_adjustment=1.0, dsm=dsm, trainer={"eval_dataset": rows})
    batch = collate(rows)
    logits = trainer.model.eval()(**batch).logits.detach()
    expected = smoothed_cross_entropy(logits, batch["labels"], 0.0).item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(trainer.predict(rows).predictions, logits, atol=1e-5)
    build_trainer(tmp_path, None, logit_adjustment=1.0, dsm=dsm).predict(rows)  # without training clips


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"logit_adjustment": -0.5}, "`logit_adjustment` is -0.5; it must be 0"),
        ({"logit_adjustment": math.nan}, "`logit_adjustment` is nan"),
        ({"logit_adjustment": 1.0, "sampler": "balanced"}, "`sampler` 'balanced': both correct for the sizes"),
        ({"logit_adjustment": 1.0, "sampler": "per_class"}, "`sampler` 'per_class': both correct for the sizes"),
    ],
)
def test_arguments_that_cannot_work_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        HDFTrainingArguments(output_dir=str(tmp_path), **options)


def test_a_dataset_without_labels_and_a_loss_of_the_users_own_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`logit_adjustment=1.0` needs the class of each clip.*`labels`"):
        build_trainer(tmp_path, build_rows(4), logit_adjustment=1.0)
    with pytest.raises(ValueError, match="`compute_loss_func`"):
        build_trainer(
            tmp_path,
            imbalanced_rows(),
            logit_adjustment=1.0,
            dsm=False,
            trainer={"compute_loss_func": lambda outputs, labels, num_items_in_batch=None: outputs.logits.sum()},
        )
