"""The gradients that DAM computes by its own formulas, against those of PyTorch, and what they cost."""

import pytest
import torch
from full_size_allocations import FullSizeAllocations
from tiny_models import randomize

from modeling_hdf import DAM
from modeling_hdf.dam_normalized_hdf import channel_moments
from modeling_hdf.dam_temporal_hdf import mean_and_max


def plain_mean_and_max(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return x.mean((2, 3), dtype=dtype), x.amax((2, 3)).to(dtype)


def plain_moments(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return x.to(dtype).mean(-1, keepdim=True), x.to(dtype).square().mean(-1, keepdim=True)


PAIRS = {"places": (mean_and_max, plain_mean_and_max), "channels": (channel_moments, plain_moments)}


def maps(kind: str, dtype: torch.dtype) -> torch.Tensor:
    """A map (B, T, h, w, C)."""
    if kind == "frames of a CNN":  # after a ReLU: many places share the maximum 0
        return torch.randn(2, 3, 6, 4, 5).sub(1.5).relu().permute(0, 1, 3, 4, 2).to(dtype)
    return torch.randn(2, 3, 4, 5, 6).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["tokens", "frames of a CNN"])
@pytest.mark.parametrize("pair", PAIRS)
def test_gradients_are_those_of_plain_operations(pair, kind, dtype):
    x = maps(kind, dtype).requires_grad_()
    wide = torch.promote_types(dtype, torch.float32)
    results, expected = (function(x, wide) for function in PAIRS[pair])
    gradients = [torch.randn_like(each) for each in expected]
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if wide == dtype else {"rtol": 2e-2, "atol": 2e-2}
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == wide
        torch.testing.assert_close(result, value, **tolerance)
    actual, plain = (torch.autograd.grad(each, x, gradients)[0] for each in (results, expected))
    assert actual.dtype == dtype and plain.abs().max() > 0.1
    torch.testing.assert_close(actual, plain, **tolerance)
    # One result alone: the other has no gradient.
    for index in range(2):
        actual, plain = (torch.autograd.grad(PAIRS[pair][i](x, wide)[index].sum(), x)[0] for i in range(2))
        torch.testing.assert_close(actual, plain, **tolerance)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 6), (torch.bfloat16, 7)])
@pytest.mark.parametrize("variant", ["temporal", "normalized"])
def test_the_backward_pass_makes_few_maps(variant, dtype, most):
    dam = randomize(DAM(4, num_channels=96, variant=variant))
    start = torch.randn(2, 4, 8, 8, 96).to(dtype).requires_grad_()
    x = start * 1  # no leaf, whose gradient would be copied
    y = dam(x)
    gradient = torch.randn_like(y)
    with FullSizeAllocations(x.numel(), start, x, gradient, y) as allocations:
        torch.autograd.grad(y, x, gradient)
    assert len(allocations.operations) <= most, allocations.operations
