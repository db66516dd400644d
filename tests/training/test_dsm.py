"""DSM against loops in float64 numpy written from its equations, and on batches that break naive code."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from modeling_hdf.training.dsm import DSM, adaptive_weights, information_bottleneck, robust_contrastive_loss

LABELS = {
    "pairs and a class of one": [0, 0, 1, 1, 2],
    "uneven classes": [0, 1, 0, 0, 2, 1, 0, 2],
    "one class": [3, 3, 3, 3],
}
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


def draw(num_samples: int, num_channels: int = 6, seed: int = 0) -> torch.Tensor:
    """Features that are not normalised: rows of different lengths around a common mean."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(0.3, 1.0, (num_samples, num_channels)) * generator.uniform(0.5, 4.0, (num_samples, 1))
    return torch.tensor(rows, dtype=torch.float32)


def cosines(features: np.ndarray) -> np.ndarray:
    units = [row / math.sqrt(sum(value**2 for value in row)) for row in features]
    return np.array([[sum(a * b for a, b in zip(first, second, strict=True)) for second in units] for first in units])


def log_sum_exp(values: list[float]) -> float:
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))


def figure_loss(features, labels, temperature, eta, weights_at) -> float:
    """The figure's loss; its weights are those of the features `weights_at`."""
    cosine, frozen = cosines(features), cosines(weights_at)
    anchors = []
    for i in range(len(labels)):
        positives = [p for p in range(len(labels)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        denominator = log_sum_exp(
            [
                cosine[i, a] / temperature - (frozen[i, a] - eta) ** 2 / (2 * eta**2)
                for a in range(len(labels))
                if a != i
            ]
        )
        anchors.append(-sum(cosine[i, p] / temperature - denominator for p in positives) / len(positives))
    return sum(anchors) / len(anchors) if anchors else 0.0


def release_loss(features, labels, temperature, eta, weights_at) -> float:
    """The release's loss; its weights are those of the features `weights_at`."""
    similarity, frozen = cosines(features) / temperature, cosines(weights_at) / temperature
    anchors = []
    for i in range(len(labels)):
        positives = [p for p in range(len(labels)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        weights = [math.exp(-((s - max(frozen[i]) - eta) ** 2) / (2 * eta**2)) for s in frozen[i]]
        denominator = log_sum_exp(list(similarity[i]))
        terms = [weights[p] / sum(weights) * (similarity[i, p] - denominator) for p in positives]
        anchors.append(-sum(terms) / len(positives))
    return sum(anchors) / len(anchors) if anchors else 0.0


def bottleneck(features) -> float:
    """Trace of the covariance (1/N) of the normalised features."""
    units = np.array([row / math.sqrt(sum(value**2 for value in row)) for row in features])
    return sum(((units[:, c] - units[:, c].mean()) ** 2).mean() for c in range(units.shape[1]))


REFERENCES = {"figure": figure_loss, "release": release_loss}


def numerical_gradient(function, features: np.ndarray, step: float = 1e-6) -> np.ndarray:
    gradient = np.zeros_like(features)
    for index in np.ndindex(features.shape):
        shift = np.zeros_like(features)
        shift[index] = step
        gradient[index] = (function(features + shift) - function(features - shift)) / (2 * step)
    return gradient


def value_and_gradient(function, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    features = features.clone().requires_grad_()
    value = function(features)
    value.backward()
    return value.detach(), features.grad


def within_autocast(function):
    """`function` in a bf16 autocast region; the backward pass belongs outside."""

    def call(features: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            assert (features @ features.T).dtype == torch.bfloat16  # the region is in force
            return function(features)

    return call


def assert_close(actual: torch.Tensor, expected, tolerance: float) -> None:
    """Equal to `tolerance` of the largest expected value."""
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual.double().numpy() - expected).max() <= tolerance * np.abs(expected).max()


# ---- Robust contrastive loss ----


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize(
    ("variant", "temperature", "eta"),
    [("figure", 0.07, 0.2), ("figure", 0.5, 0.7), ("release", 1.0, 0.2), ("release", 0.5, 1.5)],
)
def test_contrastive_loss_and_its_gradient_equal_the_loops(variant, temperature, eta, labels):
    features = draw(len(labels))
    exact = features.double().numpy()
    reference = partial(REFERENCES[variant], labels=labels, temperature=temperature, eta=eta)
    held = numerical_gradient(lambda points: reference(points, weights_at=exact), exact)
    through_weights = numerical_gradient(lambda points: reference(points, weights_at=points), exact)
    # The comparison below could not tell a gradient through the weights if the two were alike.
    assert np.abs(held - through_weights).max() > 1e-2 * np.abs(held).max()

    value, gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(
            points, torch.tensor(labels), temperature=temperature, eta=eta, variant=variant
        ),
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


def test_release_is_numerically_dead_at_its_own_temperature_and_the_figure_is_not():
    labels = torch.tensor(LABELS["uneven classes"])
    release, release_gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(points, labels, variant="release"), draw(8)
    )
    figure, figure_gradient = value_and_gradient(lambda points: robust_contrastive_loss(points, labels), draw(8))
    assert abs(release) < 1e-6 and release_gradient.abs().max() < 1e-6
    assert abs(figure) > 1e-2 and figure_gradient.abs().max() > 1e-2


@pytest.mark.parametrize("variant", ["figure", "release"])
@pytest.mark.parametrize("labels", [[0], [0, 1, 2]])
def test_contrastive_loss_without_any_positive_is_zero(variant, labels):
    value, gradient = value_and_gradient(
        lambda points: robust_contrastive_loss(points, torch.tensor(labels), variant=variant), draw(len(labels))
    )
    assert value == 0
    assert (gradient == 0).all()


def test_contrastive_loss_refuses_other_shapes_and_variants():
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\); expected \(N, C\)"):
        robust_contrastive_loss(torch.zeros(2, 3, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="`variant` is 'paper'"):
        robust_contrastive_loss(draw(2), torch.tensor([0, 1]), variant="paper")


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


# ---- DSM ----

SCALINGS = ("parameters", "features", "fixed")


def head(num_channels: int = 6, num_labels: int = 7) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(num_channels, num_labels)


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("variant", ["figure", "release"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_dsm_equals_float64_loops_in_value_weights_and_gradient(scaling, variant, smoothing):
    labels, classifier = LABELS["uneven classes"], head()
    options = {"temperature": 0.6, "eta": 0.9}
    dsm = DSM(
        scaling=scaling, variant=variant, alpha=3.0, beta=0.4, ib_weight=-0.7, label_smoothing=smoothing, **options
    )
    dsm.update(2.5)
    features = draw(8).requires_grad_()
    result = dsm(classifier(features), features, torch.tensor(labels))
    assert classifier.weight.grad is None and features.grad is None  # measuring g leaves no gradient behind

    exact = features.detach().double().numpy()
    loss_ce, gradient_ce = cross_entropy_gradient(exact, labels, classifier, smoothing)

    def structure(points):
        contrastive = REFERENCES[variant](points, labels, **options, weights_at=exact)
        return contrastive - 0.7 * bottleneck(points)

    loss_sc, gradient_sc = structure(exact), numerical_gradient(structure, exact)
    grad_norm = np.linalg.norm(gradient_ce + gradient_sc) if scaling == "features" else 2.5
    weights = (3.0, 0.4) if scaling == "fixed" else (3.0 * grad_norm / (grad_norm + 1), 0.4 / (grad_norm + 1))

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


def test_dsm_state_survives_its_state_dict():
    dsm, restored = DSM(scaling="parameters"), DSM(scaling="parameters")
    dsm.update(4.25)
    restored.load_state_dict(dsm.state_dict())
    assert restored.grad_norm == 4.25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", ["figure", "release"])
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_losses_and_gradients_are_finite_on_any_batch(case, variant, dtype):
    make, labels = DEGENERATE[case]
    labels = torch.tensor(labels)
    features = make(draw).to(dtype)
    contrastive = partial(robust_contrastive_loss, labels=labels, variant=variant)
    # Also within the backward pass: a NaN that a later mask hides would stop anyone who looks for another one.
    with torch.autograd.detect_anomaly():
        for function in (contrastive, information_bottleneck):
            value, gradient = value_and_gradient(function, features)
            assert value.dtype == torch.float32 and gradient.dtype == dtype
            assert value.isfinite() and gradient.isfinite().all()
        for scaling in SCALINGS:
            classifier, leaf = head().to(dtype), features.clone().requires_grad_()
            dsm = DSM(variant=variant, scaling=scaling)
            result = dsm(classifier(leaf), leaf, labels)
            result.loss.backward()
            for tensor in (*vars(result).values(), leaf.grad, classifier.weight.grad, classifier.bias.grad):
                assert tensor.isfinite().all()


@pytest.mark.parametrize("variant", ["figure", "release"])
def test_bf16_features_give_the_loss_of_their_float32_copies(variant):
    features, labels = draw(8).bfloat16(), torch.tensor(LABELS["uneven classes"])
    contrastive = partial(robust_contrastive_loss, labels=labels, variant=variant, temperature=0.5, eta=1.0)
    for function in (contrastive, information_bottleneck):
        torch.testing.assert_close(function(features), function(features.float()), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("variant", ["figure", "release"])
def test_losses_inside_an_autocast_region_equal_those_outside(variant):
    labels, classifier = torch.tensor(LABELS["uneven classes"]), head()
    features = draw(8)
    logits = classifier(features).detach()
    dsm = DSM(scaling="features", variant=variant, temperature=0.5, eta=1.0)
    functions = (
        partial(robust_contrastive_loss, labels=labels, variant=variant, temperature=0.5, eta=1.0),
        information_bottleneck,
        lambda points: dsm(logits, points, labels).loss,
    )
    for function in functions:
        value, gradient = value_and_gradient(function, features)
        cast_value, cast_gradient = value_and_gradient(within_autocast(function), features)
        # Rounding to bf16 anywhere would show in the third digit.
        torch.testing.assert_close(cast_value, value, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(cast_gradient, gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variant", "paper"),
        ("scaling", "adaptive"),
        ("temperature", 0.0),
        ("temperature", -0.07),
        ("eta", 0.0),
        ("alpha", -1.0),
        ("beta", -0.1),
    ],
)
def test_dsm_refuses_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"`{name}` is "):
        DSM(**{name: value})


def test_dsm_says_what_to_do_when_frozen_features_have_no_gradient_to_measure():
    features, labels = draw(4), torch.tensor([0, 0, 1, 1])
    logits = head()(features)
    with pytest.raises(ValueError, match='with a frozen backbone use "fixed"'):
        DSM(scaling="features")(logits, features, labels)
    assert DSM(scaling="fixed")(logits, features, labels).loss.requires_grad
