"""The parts of DSM against loops in float64: contrastive loss, information bottleneck, adaptive weights."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from dsm_references import (
    LABELS,
    assert_close,
    bottleneck,
    class_bottleneck,
    cosines,
    draw,
    figure_loss,
    numerical_gradient,
    value_and_gradient,
)

from modeling_hdf.training.dsm import adaptive_weights, information_bottleneck, robust_contrastive_loss


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize(("temperature", "eta"), [(0.07, 0.2), (0.5, 0.7)])
def test_contrastive_loss_and_its_gradient_equal_the_loops(temperature, eta, labels):
    features = draw(len(labels))
    exact = features.double().numpy()
    reference = partial(figure_loss, labels=labels, temperature=temperature, eta=eta)
    held = numerical_gradient(lambda points: reference(points, weights_at=exact), exact)
    through_weights = numerical_gradient(lambda points: reference(points, weights_at=points), exact)
    # The comparison below could not tell a gradient through the weights if the two were alike.
    assert np.abs(held - through_weights).max() > 1e-2 * np.abs(held).max()

    value, gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(points, torch.tensor(labels), temperature=temperature, eta=eta),
        features,
    )
    assert value.dtype == torch.float32
    assert_close(value, reference(exact, weights_at=exact), 2e-5)
    assert_close(gradient, held, 1e-4)


def test_contrastive_loss_defaults_are_the_figure_at_temperature_007_and_eta_02():
    labels = LABELS["uneven classes"]
    features = draw(len(labels))
    expected = figure_loss(features.double().numpy(), labels, 0.07, 0.2, weights_at=features.double().numpy())
    assert_close(robust_contrastive_loss(features, torch.tensor(labels)), expected, 2e-5)


@pytest.mark.parametrize(("temperature", "eta"), [(0.07, 0.02), (0.005, 0.2)])
def test_figure_keeps_full_precision_where_exponentials_run_out(temperature, eta):
    # All near one line: every cosine is close to 1 or -1, far from eta.
    features = torch.tensor([[1.0, 0.1, 0.0], [-1.0, 0.05, 0.1], [-0.9, -0.2, 0.05], [2.0, 0.0, 0.1]])
    labels = [0, 0, 1, 1]
    exact = features.double().numpy()

    cosine = torch.tensor(cosines(exact), dtype=torch.float32)
    weighted = torch.exp(-((cosine - eta) ** 2) / (2 * eta**2)) * torch.exp(cosine / temperature)
    naive = torch.log(torch.exp(cosine / temperature) / weighted.fill_diagonal_(0).sum(1, keepdim=True))
    assert not naive[[0, 1, 2, 3], [1, 0, 3, 2]].isfinite().any()

    reference = partial(figure_loss, labels=labels, temperature=temperature, eta=eta, weights_at=exact)
    value, gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(points, torch.tensor(labels), temperature=temperature, eta=eta),
        features,
    )
    assert_close(value, reference(exact), 1e-5)
    assert_close(gradient, numerical_gradient(reference, exact), 1e-4)


@pytest.mark.parametrize("cosine", [-1.0, -0.5, 0.2, 0.9])
def test_one_pair_costs_the_logarithm_of_its_weight_which_is_not_clamped(cosine):
    # The pair is its own denominator: -log(exp(s) / (w exp(s))) = log w <= 0.
    features = torch.tensor([[2.0, 0.0], [3 * cosine, 3 * math.sqrt(1 - cosine**2)]])
    value, gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(points, torch.tensor([1, 1])), features
    )
    assert value.item() == pytest.approx(-((cosine - 0.2) ** 2) / 0.08, rel=1e-5, abs=1e-5)
    assert gradient.abs().max() < 1e-4


@pytest.mark.parametrize("labels", [[0], [0, 1, 2]])
def test_contrastive_loss_without_any_positive_is_zero(labels):
    value, gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(points, torch.tensor(labels)), draw(len(labels))
    )
    assert value == 0
    assert (gradient == 0).all()


def test_contrastive_loss_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\); expected \(N, C\)"):
        robust_contrastive_loss(torch.zeros(2, 3, 4), torch.tensor([0, 1]))


# ---- Information bottleneck ----


@pytest.mark.parametrize("num_samples", [2, 3, 8])
def test_bottleneck_and_its_gradient_equal_the_trace_of_the_covariance(num_samples):
    features = draw(num_samples)
    exact = features.double().numpy()
    value, gradient = value_and_gradient(information_bottleneck, features)
    assert value.dtype == torch.float32
    units = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    assert_close(value, np.trace(np.cov(units, rowvar=False, bias=True)), 1e-5)
    assert_close(value, bottleneck(exact), 1e-5)
    assert_close(gradient, numerical_gradient(bottleneck, exact), 1e-4)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_bottleneck_within_classes_and_its_gradient_equal_the_loops(labels):
    features = draw(len(labels))

    def expected(points):
        return class_bottleneck(points, labels)

    value, gradient = value_and_gradient(lambda f: information_bottleneck(f, torch.tensor(labels)), features)
    exact = features.double().numpy()
    assert_close(value, expected(exact), 1e-5)
    assert_close(gradient, numerical_gradient(expected, exact), 1e-4)


def test_bottleneck_runs_from_zero_to_one():
    assert information_bottleneck(draw(1)) == 0
    assert information_bottleneck(draw(1).repeat(5, 1)).item() == pytest.approx(0, abs=1e-12)
    assert information_bottleneck(torch.cat([draw(3), -draw(3)])).item() == pytest.approx(1, rel=1e-6)
    with pytest.raises(ValueError, match=r"expected \(N, C\)"):
        information_bottleneck(torch.zeros(4))


# ---- Adaptive weights ----


@pytest.mark.parametrize("grad_norm", [0.0, 1e-6, 0.5, 1.0, 7.0, 1e6, 1e38])
def test_adaptive_weights_equal_their_formula_for_numbers_and_tensors(grad_norm):
    expected = (10.0 * (grad_norm / (grad_norm + 1)), 0.3 / (grad_norm + 1))
    assert adaptive_weights(grad_norm, alpha=10.0, beta=0.3) == pytest.approx(expected, rel=1e-12)
    as_tensors = adaptive_weights(torch.tensor(grad_norm), alpha=10.0, beta=0.3)
    assert [weight.item() for weight in as_tensors] == pytest.approx(expected, rel=1e-6)
