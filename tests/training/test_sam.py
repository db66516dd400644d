"""The perturbation of SAM against its formula."""

import pytest
import torch
from torch import nn

from modeling_hdf.training.sam import SAMPerturbation

RHO = 0.05


def parameters(dtype: torch.dtype = torch.float32, scale: float = 1.0) -> list[nn.Parameter]:
    """Three parameters of different shapes, the last one without a gradient."""
    generator = torch.Generator().manual_seed(0)
    result = []
    for shape in ((4, 3), (5,), (2, 2)):
        parameter = nn.Parameter(torch.randn(shape, generator=generator).to(dtype))
        parameter.grad = scale * torch.randn(shape, generator=generator).to(dtype)
        result.append(parameter)
    result[-1].grad = None
    return result


def copies(tensors: list[nn.Parameter]) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def expected_points(before: list[nn.Parameter], rho: float) -> tuple[list[torch.Tensor], float]:
    """`w + rho * g / ||g||`, g over all parameters together, and `||g||`, in float64."""
    norm = sum(p.grad.double().square().sum().item() for p in before if p.grad is not None) ** 0.5
    points = [p.detach().double() + (0 if p.grad is None else rho * p.grad.double() / norm) for p in before]
    return points, norm


def test_moves_along_the_gradient_by_rho_in_all():
    moved = parameters()
    expected, expected_norm = expected_points(parameters(), RHO)
    norm = SAMPerturbation(moved, RHO).apply()
    assert norm.item() == pytest.approx(expected_norm, rel=1e-6)
    for parameter, point in zip(moved, expected, strict=True):
        torch.testing.assert_close(parameter.detach().double(), point, rtol=0, atol=1e-7)
    distance = sum((p - o).square().sum() for p, o in zip(moved, parameters(), strict=True)).sqrt()
    assert distance.item() == pytest.approx(RHO, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_undo_restores_every_bit_also_after_the_gradients_are_gone(dtype):
    moved = parameters(dtype)
    before = copies(moved)
    perturbation = SAMPerturbation(iter(moved), 10.0)
    perturbation.apply()
    assert not torch.equal(moved[0], before[0])
    for parameter in moved:
        parameter.grad = None
    perturbation.undo()
    assert all(torch.equal(parameter, original) for parameter, original in zip(moved, before, strict=True))


def test_gradients_scaled_by_a_loss_scaler_give_the_same_point():
    plain, scaled = parameters(), parameters(scale=2.0**16)
    norm = SAMPerturbation(plain, RHO).apply()
    scaled_norm = SAMPerturbation(scaled, RHO).apply()
    assert scaled_norm.item() == pytest.approx(norm.item() * 2**16, rel=1e-6)
    for parameter, other in zip(plain, scaled, strict=True):
        torch.testing.assert_close(parameter, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(value):
    moved = parameters()
    moved[0].grad[1, 2] = value
    assert not SAMPerturbation(moved, RHO).apply().isfinite()
    assert all(torch.equal(parameter, other) for parameter, other in zip(moved, parameters(), strict=True))


def test_a_gradient_of_zero_moves_nothing():
    moved = parameters(scale=0.0)
    perturbation = SAMPerturbation(moved, RHO)
    assert perturbation.apply() == 0
    assert all(torch.equal(parameter, other) for parameter, other in zip(moved, parameters(), strict=True))
    perturbation.undo()


def test_without_any_gradient_nothing_moves():
    moved = [nn.Parameter(torch.ones(3))]
    perturbation = SAMPerturbation(moved, RHO)
    assert perturbation.apply() == 0
    perturbation.undo()
    assert torch.equal(moved[0], torch.ones(3))


def test_step_on_a_quadratic_equals_its_closed_form():
    # L = w'Aw / 2: the gradient at the perturbed point is A (w + rho Aw / ||Aw||).
    curvature = torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64))
    start = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    weight = nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([weight], lr=0.1)

    (weight @ curvature @ weight / 2).backward()
    perturbation = SAMPerturbation([weight], RHO)
    perturbation.apply()
    optimizer.zero_grad()
    (weight @ curvature @ weight / 2).backward()
    perturbation.undo()
    optimizer.step()

    gradient = curvature @ start
    expected = start - 0.1 * curvature @ (start + RHO * gradient / gradient.norm())
    torch.testing.assert_close(weight.detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rho", [0.0, -0.05])
def test_refuses_a_radius_that_is_not_positive(rho):
    with pytest.raises(ValueError, match="`rho` is .*above 0"):
        SAMPerturbation(parameters(), rho)
