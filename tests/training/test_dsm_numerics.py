"""DSM on batches that break naive code, and in low precision."""

from functools import partial

import pytest
import torch
from dsm_references import (
    LABELS,
    SCALINGS,
    draw,
    head,
    value_and_gradient,
)

from modeling_hdf.training.dsm import DSM, information_bottleneck, robust_contrastive_loss

# Batches on which a division, a logarithm or a square root may fail: features of `(N, 6)` and labels.
DEGENERATE = {
    "one sample": (lambda draw: draw(1), [2]),
    "two of one class": (lambda draw: draw(2), [1, 1]),
    "one class": (lambda draw: draw(5), [1] * 5),
    "no positives": (lambda draw: draw(4), [0, 1, 2, 3]),
    "identical features": (lambda draw: draw(1).repeat(6, 1), [0, 0, 1, 1, 2, 2]),
    "opposite features of one class": (lambda draw: torch.cat([draw(1), -draw(1)]).repeat(2, 1), [0, 0, 1, 1]),
    "zero features": (lambda draw: torch.zeros(6, 6), [0, 0, 1, 1, 2, 2]),
    "one zero row": (lambda draw: torch.cat([draw(3), torch.zeros(1, 6)]), [0, 0, 1, 1]),
    "tiny features": (lambda draw: 1e-30 * draw(4), [0, 0, 1, 1]),
    "huge features": (lambda draw: 1e15 * draw(4), [0, 0, 1, 1]),
}


def within_autocast(function):
    """`function` in a bf16 autocast region; the backward pass belongs outside."""

    def call(features: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            assert (features @ features.T).dtype == torch.bfloat16  # the region is in force
            return function(features)

    return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_losses_and_gradients_are_finite_on_any_batch(case, dtype):
    make, labels = DEGENERATE[case]
    labels = torch.tensor(labels)
    features = make(draw).to(dtype)
    contrastive = partial(robust_contrastive_loss, labels=labels)
    # Also within the backward pass: a NaN that a later mask hides would stop anyone who looks for another one.
    with torch.autograd.detect_anomaly():
        for function in (contrastive, information_bottleneck):
            value, gradient = value_and_gradient(function, features)
            assert value.dtype == torch.float32 and gradient.dtype == dtype
            assert value.isfinite() and gradient.isfinite().all()
        for scaling in SCALINGS:
            classifier, leaf = head().to(dtype), features.clone().requires_grad_()
            dsm = DSM(scaling=scaling)
            result = dsm(classifier(leaf), leaf, labels)
            result.loss.backward()
            for tensor in (*vars(result).values(), leaf.grad, classifier.weight.grad, classifier.bias.grad):
                assert tensor.isfinite().all()


def test_bf16_features_give_the_loss_of_their_float32_copies():
    features, labels = draw(8).bfloat16(), torch.tensor(LABELS["uneven classes"])
    contrastive = partial(robust_contrastive_loss, labels=labels, temperature=0.5, eta=1.0)
    for function in (contrastive, information_bottleneck):
        torch.testing.assert_close(function(features), function(features.float()), rtol=1e-6, atol=1e-7)


def test_losses_inside_an_autocast_region_equal_those_outside():
    labels, classifier = torch.tensor(LABELS["uneven classes"]), head()
    features = draw(8)
    logits = classifier(features).detach()
    dsm = DSM(scaling="features", temperature=0.5, eta=1.0)
    functions = (
        partial(robust_contrastive_loss, labels=labels, temperature=0.5, eta=1.0),
        information_bottleneck,
        lambda points: dsm(logits, points, labels).loss,
    )
    for function in functions:
        value, gradient = value_and_gradient(function, features)
        cast_value, cast_gradient = value_and_gradient(within_autocast(function), features)
        # Rounding to bf16 anywhere would show in the third digit.
        torch.testing.assert_close(cast_value, value, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(cast_gradient, gradient, rtol=1e-5, atol=1e-7)
