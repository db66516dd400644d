"""DAM whose gates may only suppress: a loop, its bounds, the identity start, and stills."""

import pytest
import torch
from dam_references import reference_dam
from huggingface_hub.errors import StrictDataclassError
from tiny_models import randomize, tiny_x3d_hdf_config

from modeling_hdf import DAM, HDFConfig, HDFModel

BRANCHES = [{}, {"temporal": False}, {"frequency": False}]


def suppressing(shape: tuple[int, ...], **options) -> DAM:
    """A DAM for maps of shape (B, T, h, w, C) whose gates may only suppress."""
    return DAM(shape[1], num_channels=shape[4], variant="normalized", gate="suppress", **options)


def by_loops(dam: DAM, x: torch.Tensor) -> torch.Tensor:
    parameters = {name: value.detach().numpy() for name, value in dam.named_parameters()}
    return torch.from_numpy(reference_dam(x.numpy(), parameters, "normalized", suppress=True))


@pytest.mark.parametrize("options", BRANCHES, ids=str)
def test_equals_the_loops(options):
    x = 3 * torch.randn(2, 4, 5, 6, 7, dtype=torch.float64) + 2
    dam = randomize(suppressing(x.shape, init="paper", **options)).double()
    torch.testing.assert_close(dam(x), by_loops(dam, x), rtol=0, atol=5e-6)


@pytest.mark.parametrize("options", BRANCHES, ids=str)
def test_it_starts_as_the_identity_and_its_gates_can_learn(options):
    x = torch.randn(2, 4, 6, 5, 16)
    dam = suppressing(x.shape, **options)
    y = dam(x)
    torch.testing.assert_close(y, x, rtol=3e-7, atol=0)
    # Frames and places of unequal weight: a change that is equal everywhere leaves the factors as they are.
    (y**2 * torch.arange(1, 5)[:, None, None, None] * torch.arange(1, 6)[:, None]).sum().backward()
    for branch, name in (("temporal", "output_weight"), ("frequency", "attend_weight")):
        if options.get(branch, True):
            assert dam.get_parameter(f"{branch}.{name}").grad.abs().max() > 1e-3, branch


@pytest.mark.parametrize("options", BRANCHES, ids=str)
def test_a_factor_is_between_one_half_and_1_and_exactly_1_for_the_most_trusted(options):
    x = torch.ones(3, 4, 5, 6, 7) + 0.1 * torch.randn(3, 4, 5, 6, 7)
    dam = randomize(suppressing(x.shape, **options), std=1.0)
    factor = (dam(x) / x)[..., 0]
    assert factor.min() >= 0.5 - 1e-6 and factor.max() <= 1 + 1e-6
    assert factor.min() < 0.9
    torch.testing.assert_close(factor.amax((1, 2, 3)), torch.ones(3))


def test_a_still_is_a_clip_of_equal_frames_or_one_of_them():
    dam = randomize(suppressing((5, 5, 4, 3, 7)), std=1.0).double()
    still = torch.randn(5, 1, 4, 3, 7, dtype=torch.float64)
    repeated = by_loops(dam, still.expand(-1, 5, -1, -1, -1))
    steps = torch.tensor([4, 0, 2, 1, 3])
    expected = repeated[torch.arange(5), steps]
    assert (repeated - expected[:, None]).abs().amax((0, 2, 3, 4)).min() > 1e-3  # the steps differ
    torch.testing.assert_close(dam(still, steps)[:, 0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(dam(still), repeated.mean(1, keepdim=True), rtol=0, atol=1e-5)


def test_it_is_an_option_of_normalized_alone():
    with pytest.raises(ValueError, match="`gate` is 'half'; choose one of"):
        DAM(4, num_channels=8, variant="normalized", gate="half")
    with pytest.raises(ValueError, match="'temporal'"):
        DAM(4, gate="suppress")
    with pytest.raises(StrictDataclassError, match='"static"; leave it at "free"'):
        HDFConfig(dam_variant="static", dam_gate="suppress")


def test_the_configuration_reaches_every_dam_which_has_no_scalars():
    model = HDFModel(tiny_x3d_hdf_config(dam_variant="normalized", dam_gate="suppress"))
    assert [dam.gate for dam in model.dam.values()] == ["suppress"] * len(model.dam)
    names = [name for name, _ in model.named_parameters()]
    assert len(model.dam) > 0 and not [n for n in names if n.endswith((".temporal_weight", ".frequency_weight"))]
