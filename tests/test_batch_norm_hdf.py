"""The batch norm: equal to PyTorch's, and its statistics where they must not be taken."""

import pytest
import torch
from torch import nn

from modeling_hdf.batch_norm_hdf import GlobalBatchNorm, frozen_statistics


def norm_pair() -> tuple[GlobalBatchNorm, nn.BatchNorm2d]:
    """Ours and PyTorch's, with the same gains, shifts and statistics."""
    ours = GlobalBatchNorm(5)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 1.5)
        ours.bias.uniform_(-1, 1)
        ours.running_mean.uniform_(-1, 1)
        ours.running_var.uniform_(0.5, 1.5)
    stock = nn.BatchNorm2d(5)
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def assert_same_statistics(actual: nn.BatchNorm2d, expected: nn.BatchNorm2d) -> None:
    for name, value in expected.named_buffers():
        torch.testing.assert_close(actual.get_buffer(name), value, msg=name)


@pytest.mark.parametrize("training", [True, False])
def test_equals_the_batch_norm_of_pytorch(training):
    ours, stock = norm_pair()
    ours.train(training), stock.train(training)
    for _ in range(3):
        x = torch.randn(4, 5, 3, 2) * 2 + 1
        torch.testing.assert_close(ours(x), stock(x))
    assert_same_statistics(ours, stock)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inference_gives_the_same_and_may_overwrite_its_input(dtype):
    ours, stock = (norm.eval() for norm in norm_pair())
    x = (torch.randn(4, 5, 3, 2) * 2 + 1).to(dtype)
    for pixels in (x, x.to(memory_format=torch.channels_last)):
        with torch.no_grad():
            expected, actual = stock(pixels), ours(pixels.clone())
        torch.testing.assert_close(actual, expected)
        assert actual.stride() == pixels.stride()
    assert_same_statistics(ours, stock)


def test_frozen_statistics_normalise_by_the_batch_and_stay():
    ours, stock = norm_pair()
    start = nn.BatchNorm2d(5)
    start.load_state_dict(ours.state_dict())
    x = torch.randn(4, 5, 3, 2) * 2 + 1
    with frozen_statistics(nn.Sequential(ours)):
        torch.testing.assert_close(ours(x), stock(x))
        ours(torch.full_like(x, float("inf")))
    assert_same_statistics(ours, start)
    ours(x)
    assert_same_statistics(ours, stock)  # taken again behind the context


def test_an_error_within_the_context_ends_it():
    ours, _ = norm_pair()
    with pytest.raises(KeyboardInterrupt), frozen_statistics(ours):
        raise KeyboardInterrupt
    assert ours.momentum == 0.1


def test_a_norm_that_is_not_trained_is_frozen():
    ours, stock = norm_pair()
    x = torch.randn(4, 5, 3, 2) * 2 + 1
    ours.requires_grad_(False).train()
    torch.testing.assert_close(ours(x), stock.eval()(x))
    assert_same_statistics(ours, stock)
