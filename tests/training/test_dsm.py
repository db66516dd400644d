"""DSM as a whole against loops in float64 numpy written from its equations."""

import numpy as np
import pytest
import torch
from dsm_references import (
    LABELS,
    SCALINGS,
    assert_close,
    bottleneck,
    class_bottleneck,
    draw,
    figure_loss,
    head,
    log_sum_exp,
    numerical_gradient,
)
from torch import nn

from modeling_hdf.training.arguments import HDFTrainingArguments
from modeling_hdf.training.dsm import DSM


def cross_entropy_gradient(features: np.ndarray, labels: list[int], classifier: nn.Linear, smoothing: float):
    """Smoothed cross-entropy of a linear head and its gradient with respect to the features, in float64."""
    weight, bias = (p.detach().double().numpy() for p in (classifier.weight, classifier.bias))
    num_samples, num_labels = len(labels), len(bias)
    loss, gradient = 0.0, np.zeros_like(features)
    for i, label in enumerate(labels):
        logits = weight @ features[i] + bias
        log_probability = logits - log_sum_exp(list(logits))
        target = np.full(num_labels, smoothing / num_labels)
        target[label] += 1 - smoothing
        loss -= (target * log_probability).sum() / num_samples
        gradient[i] = (np.exp(log_probability) - target) @ weight / num_samples
    return loss, gradient


@pytest.mark.parametrize(("smoothing", "within_classes"), [(0.0, False), (0.1, False), (0.0, True)])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_dsm_equals_float64_loops_in_value_weights_and_gradient(scaling, smoothing, within_classes):
    labels, classifier = LABELS["uneven classes"], head()
    options = {"temperature": 0.6, "eta": 0.9}
    others = {"ib_weight": -0.7, "ib_within_classes": within_classes, "label_smoothing": smoothing}
    dsm = DSM(ratio=0.3, scaling=scaling, alpha=3.0, beta=0.4, **others, **options)
    dsm.update(2.5)
    features = draw(8).requires_grad_()
    result = dsm(classifier(features), features, torch.tensor(labels))
    assert classifier.weight.grad is None and features.grad is None  # measuring g leaves no gradient behind

    exact = features.detach().double().numpy()
    loss_ce, gradient_ce = cross_entropy_gradient(exact, labels, classifier, smoothing)

    def structure(points):
        contrastive = figure_loss(points, labels, **options, weights_at=exact)
        return contrastive - 0.7 * (class_bottleneck(points, labels) if within_classes else bottleneck(points))

    loss_sc, gradient_sc = structure(exact), numerical_gradient(structure, exact)
    measured = {"features": np.linalg.norm(gradient_ce + gradient_sc), "ratio": np.linalg.norm(gradient_ce)}
    grad_norm = measured.get(scaling, 2.5)
    weights = {"fixed": (3.0, 0.4), "ratio": (1.0, 0.3 * grad_norm / np.linalg.norm(gradient_sc))}.get(
        scaling, (3.0 * grad_norm / (grad_norm + 1), 0.4 / (grad_norm + 1))
    )

    assert_close(result.loss_ce, loss_ce, 1e-5)
    assert_close(result.loss_sc, loss_sc, 2e-5)
    assert_close(result.grad_norm, grad_norm, 1e-4)
    assert_close(result.lambda_ce, weights[0], 1e-4)
    assert_close(result.lambda_sc, weights[1], 1e-4)
    assert_close(result.loss.detach(), weights[0] * loss_ce + weights[1] * loss_sc, 1e-4)
    # The weights count as constants: g is detached.
    result.loss.backward()
    assert_close(features.grad, weights[0] * gradient_ce + weights[1] * gradient_sc, 1e-4)
    for name in ("loss_ce", "loss_sc", "lambda_ce", "lambda_sc", "grad_norm"):
        scalar = getattr(result, name)
        assert scalar.dtype == torch.float32 and scalar.shape == () and not scalar.requires_grad


def test_g_is_measured_at_the_tensors_that_features_and_logits_come_from():
    labels, classifier = torch.tensor(LABELS["uneven classes"]), head()
    features = draw(8).requires_grad_()
    expected = DSM()(classifier(features), features, labels).grad_norm
    parts = [part.detach().requires_grad_() for part in features.split(5)]
    joined = torch.cat(parts)
    # Copies, as wrappers of a model return them: neither depends on the other.
    logits, copies = classifier(joined).clone(), joined.clone()
    assert_close(DSM()(logits, copies, labels, sources=parts).grad_norm, expected.item(), 1e-6)


@pytest.mark.parametrize("num_samples", [8, 64])
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_the_share_of_the_contrastive_gradient_is_the_ratio(num_samples, scale):
    features = (scale * draw(num_samples)).requires_grad_()
    labels = torch.arange(num_samples) % 4
    result = DSM(scaling="ratio", ratio=0.3)(head()(features), features, labels)
    (whole,) = torch.autograd.grad(result.loss, features, retain_graph=True)
    ce = torch.nn.functional.cross_entropy(head()(features), labels)
    (gradient_ce,) = torch.autograd.grad(ce, features)
    assert ((whole - gradient_ce).norm() / gradient_ce.norm()).item() == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize("within_classes", [False, True])
@pytest.mark.parametrize("is_mixed", [None, torch.tensor([False, False, False, True])])
def test_a_batch_without_positives_leaves_the_cross_entropy_alone(within_classes, is_mixed):
    labels = torch.tensor([0, 1, 2] if is_mixed is None else [0, 1, 2, 2])
    features = draw(len(labels)).requires_grad_()
    dsm = DSM(scaling="ratio", ib_within_classes=within_classes)
    result = dsm(head()(features), features, labels, is_mixed=is_mixed)
    assert result.lambda_sc == 0 and result.loss.item() == pytest.approx(result.loss_ce.item())
    result.loss.backward()
    (alone,) = torch.autograd.grad(torch.nn.functional.cross_entropy(head()(features), labels), features)
    torch.testing.assert_close(features.grad, alone)


def test_dsm_starts_at_the_neutral_norm_and_follows_update():
    features, labels = draw(4), torch.tensor([0, 0, 1, 1])
    dsm = DSM(scaling="parameters", alpha=10.0, beta=0.1)
    logits = head()(features)
    first = dsm(logits, features, labels)
    assert (first.grad_norm, first.lambda_ce.item()) == (1, 5.0)
    assert first.lambda_sc.item() == pytest.approx(0.05)

    dsm.update(torch.tensor(3.0, dtype=torch.float64, requires_grad=True))
    second = dsm(logits, features, labels)
    assert (second.grad_norm.item(), second.lambda_ce.item()) == (3.0, 7.5)
    assert first.grad_norm == 1  # a result is a record, not a view of the state
    for broken in (float("nan"), float("inf"), torch.tensor(float("nan"))):
        dsm.update(broken)
        assert dsm.grad_norm == 3


def test_every_argument_of_a_training_reaches_the_loss(tmp_path):
    told = {"scaling": "fixed", "alpha": 3.0, "beta": 0.5, "temperature": 0.2, "eta": 0.3, "ratio": 0.7}
    told |= {"ib_weight": -0.2, "ib_within_classes": True}
    fields = {name.removeprefix("dsm_") for name in HDFTrainingArguments.__dataclass_fields__ if "dsm_" in name}
    assert fields == set(told)
    arguments = {f"dsm_{name}": value for name, value in told.items()}
    dsm = HDFTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **arguments).build_dsm()
    assert {name: getattr(dsm, name) for name in told} == told


def test_dsm_state_survives_its_state_dict():
    dsm, restored = DSM(scaling="parameters"), DSM(scaling="parameters")
    dsm.update(4.25)
    restored.load_state_dict(dsm.state_dict())
    assert restored.grad_norm == 4.25


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scaling", "adaptive"),
        ("temperature", 0.0),
        ("temperature", -0.07),
        ("eta", 0.0),
        ("alpha", -1.0),
        ("beta", -0.1),
        ("ratio", -0.1),
    ],
)
def test_dsm_refuses_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` \(`dsm_{name}`\) is "):
        DSM(**{name: value})


def test_dsm_says_what_to_do_when_frozen_features_have_no_gradient_to_measure():
    features, labels = draw(4), torch.tensor([0, 0, 1, 1])
    logits = head()(features)
    with pytest.raises(ValueError, match='`dsm_scaling`.*or use "fixed"'):
        DSM(scaling="features")(logits, features, labels)
    assert DSM(scaling="fixed")(logits, features, labels).loss.requires_grad
