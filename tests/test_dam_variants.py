"""The variants "normalized" and "static" of DAM: loops, identity start, live gates and memory."""

import copy

import numpy as np
import pytest
import torch
from dam_references import reference_dam
from full_size_allocations import FullSizeAllocations
from tiny_models import randomize

from modeling_hdf import DAM
from modeling_hdf.dam_hdf import DAM_MODULES
from modeling_hdf.dam_normalized_hdf import DAMNormalizedTemporalBranch, DAMProjection

NEW = ["normalized", "static"]


def dam_for(shape: tuple[int, ...], variant: str, **options) -> DAM:
    """A DAM for maps of shape (B, T, h, w, C)."""
    return DAM(shape[1], num_channels=shape[4], map_size=shape[2:4], variant=variant, **options)


@pytest.mark.parametrize("variant", NEW)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        pytest.param((2, 4, 5, 5, 12), {}, id="both-branches"),
        pytest.param((3, 6, 4, 3, 4), {}, id="fewer-channels-than-steps"),
        pytest.param((2, 1, 3, 4, 6), {}, id="one-step"),
        pytest.param((2, 2, 1, 1, 6), {}, id="one-place"),
        pytest.param((2, 3, 4, 5, 7), {"frequency": False}, id="temporal-only"),
        pytest.param((2, 3, 4, 5, 7), {"temporal": False}, id="frequency-only"),
    ],
)
def test_equals_the_loops(shape, options, variant):
    dam = randomize(dam_for(shape, variant, init="paper", **options)).double()
    x = 3 * torch.randn(shape, dtype=torch.float64) + 2
    parameters = {name: value.detach().numpy() for name, value in dam.named_parameters()}
    expected = reference_dam(x.numpy(), parameters, variant)
    torch.testing.assert_close(dam(x), torch.from_numpy(expected), rtol=0, atol=5e-6)


def test_the_attention_of_normalized_can_be_reduced():
    dam = randomize(dam_for((2, 3, 4, 5, 7), "normalized", init="paper", reduction=7)).double()
    x = torch.randn(2, 3, 4, 5, 7, dtype=torch.float64)
    parameters = {name: value.detach().numpy() for name, value in dam.named_parameters()}
    expected = reference_dam(x.numpy(), parameters, "normalized")
    torch.testing.assert_close(dam(x), torch.from_numpy(expected), rtol=0, atol=5e-6)


@pytest.mark.parametrize("variant", NEW)
@pytest.mark.parametrize("options", [{}, {"temporal": False}, {"frequency": False}], ids=str)
def test_identity_start_changes_no_more_than_the_last_bits_and_can_learn(variant, options):
    dam = dam_for((2, 4, 6, 5, 16), variant, **options)
    x = torch.randn(2, 4, 6, 5, 16)
    y = dam(x)
    torch.testing.assert_close(y, x, rtol=3e-7, atol=0)
    (y**2).sum().backward()
    last = {
        "normalized": {"temporal": ("output_weight", "output_bias"), "frequency": ("attend_weight",)},
        "static": {"temporal": ("gate_logits",), "frequency": ("gate_logits",)},
    }[variant]
    for branch, names in last.items():
        for name in names if options.get(branch, True) else ():
            assert dam.get_parameter(f"{branch}.{name}").grad.abs().max() > 0, (branch, name)


def test_after_one_step_every_parameter_of_normalized_learns():
    dam = dam_for((2, 4, 6, 5, 16), "normalized")
    x = torch.randn(2, 4, 6, 5, 16)
    optimizer = torch.optim.SGD(dam.parameters(), lr=0.01)
    (dam(x) ** 2 * torch.arange(1, 5)[:, None, None, None]).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    (dam(x) ** 2 * torch.arange(1, 5)[:, None, None, None]).sum().backward()
    still = [name for name, p in dam.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_a_projection_is_that_of_a_layer_norm():
    projection = DAMProjection(24, 1, 2)
    x = 100 + 40 * torch.randn(2, 3, 4, 5, 24)
    expected = torch.nn.functional.layer_norm(x, (24,), eps=1e-6) @ projection.weight.T
    torch.testing.assert_close(torch.cat(projection(x), dim=-1), expected, rtol=1e-4, atol=1e-4)
    constant = torch.full((1, 1, 1, 1, 24), 7.0)  # a variance of 0
    assert all(part.abs().max() < 1e-2 for part in projection(constant))


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_no_score_is_saturated_at_the_start(scale):
    """Raw maxima saturate the variant "temporal": 98 % of its scores are above 0.98 on a trained VideoMAE."""
    dam = dam_for((8, 8, 7, 7, 96), "normalized")
    channels = torch.randn(96) * torch.linspace(0, 8, 96)  # a few channels that dominate, as in a ViT
    x = scale * (channels + torch.randn(8, 8, 7, 7, 96))
    scores = []
    real = torch.sigmoid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "sigmoid", lambda value: scores.append(real(value)) or scores[-1])
        dam.gates(x)
    score = scores[0]
    assert score.shape == (8, 8, 8)
    assert ((score < 0.02) | (score > 0.98)).float().mean() < 0.02
    assert score.std(0).mean() > 1e-3  # the clips differ


def compensate(average: torch.Tensor) -> torch.Tensor:
    """D (T,) of one clip with the frame averages `average` (T, K)."""
    return DAMNormalizedTemporalBranch(len(average), "identity")._distribution_terms(average[None])[1][0, :, 0]


def test_compensate_is_large_for_an_outlier_and_zero_for_an_onset():
    onset, outlier = torch.zeros(6, 6), torch.zeros(6, 6)
    onset[3:] = 2.0
    outlier[3] = 2.0
    assert compensate(onset).tolist() == [0] * 6
    assert compensate(outlier).tolist() == pytest.approx([0, 0, 0, 2, 0, 0])


def test_the_gates_of_normalized_differ_between_clips_and_ignore_scale_and_shift():
    dam = randomize(dam_for((6, 4, 5, 5, 32), "normalized"))
    x = torch.randn(6, 4, 5, 5, 32)
    gates = dam.gates(x)
    for gate, moved in zip(gates, dam.gates(50 * x + 3), strict=True):
        assert gate.std(0).max() > 1e-2
        torch.testing.assert_close(moved, gate, rtol=0, atol=1e-3)


def test_static_gates_are_the_same_for_every_clip():
    dam = randomize(dam_for((3, 4, 5, 6, 8), "static"))
    temporal, frequency = dam.gates(torch.randn(3, 4, 5, 6, 8))
    other_temporal, other_frequency = dam.gates(100 * torch.randn(2, 4, 5, 6, 8))
    assert temporal.shape == (3, 4) and frequency.shape == (3, 5, 6)
    np.testing.assert_array_equal(other_temporal[0].detach(), temporal[2].detach())
    np.testing.assert_array_equal(other_frequency[1].detach(), frequency[0].detach())
    assert temporal[0].std() > 1e-2 and frequency[0].std() > 1e-2
    assert sum(p.numel() for p in dam.parameters()) == 4 + 5 * 6 + 2


@pytest.mark.parametrize("variant", NEW)
@pytest.mark.parametrize("layout", ["tokens", "frames of a CNN"])
def test_forward_allocates_nothing_full_size_but_its_result(variant, layout):
    x = torch.randn(2, 4, 8, 8, 96)  # 49 filter responses are an eighth of this
    if layout == "frames of a CNN":
        x = torch.randn(2, 4, 96, 8, 8).permute(0, 1, 3, 4, 2)
    dam = randomize(dam_for(x.shape, variant))
    with torch.no_grad(), FullSizeAllocations(x.numel(), x) as allocations:
        dam(x)
    assert len(allocations.operations) == 1, allocations.operations


def test_training_keeps_nothing_full_size_but_its_input():
    x = torch.randn(2, 4, 8, 8, 96, requires_grad=True)
    dam = randomize(dam_for(x.shape, "normalized"))
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().nbytes() >= x.untyped_storage().nbytes():
            kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        dam(x)
    assert set(kept) == {x.untyped_storage().data_ptr()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("variant", NEW)
def test_half_precision_is_close_to_float64(dtype, variant):
    x = (torch.tensor([100.0, 30.0, 5.0, 60.0])[:, None, None, None] * (torch.randn(2, 4, 6, 5, 768) + 0.6)).to(dtype)
    dam = randomize(dam_for(x.shape, variant), std=0.02)
    exact = copy.deepcopy(dam).double()
    output = dam.to(dtype)(x)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), exact(x.double()), rtol=3e-2, atol=1e-3)


@pytest.mark.parametrize("variant", NEW)
def test_a_still_is_gated_as_a_clip_of_equal_frames(variant):
    dam = randomize(dam_for((2, 4, 5, 6, 8), variant))
    still = torch.randn(2, 1, 5, 6, 8)
    moving = dam(still.expand(-1, 4, -1, -1, -1))
    torch.testing.assert_close(dam(still), moving.mean(1, keepdim=True))


@pytest.mark.parametrize("variant", ["temporal", *NEW])
def test_an_exported_dam_takes_any_batch(variant):
    dam = randomize(dam_for((2, 4, 5, 6, 8), variant)).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        exported = torch.export.export(dam, (torch.randn(2, 4, 5, 6, 8),), dynamic_shapes=({0: batch},)).module()
        x = torch.randn(5, 4, 5, 6, 8)
        torch.testing.assert_close(exported(x), dam(x))


def test_every_module_of_dam_has_start_values():
    for variant in ("temporal", "release", *NEW):
        for module in dam_for((2, 4, 5, 5, 8), variant).modules():
            assert isinstance(module, DAM_MODULES), (variant, type(module))


def test_what_a_variant_needs_is_named():
    with pytest.raises(ValueError, match="`num_channels`"):
        DAM(4, variant="normalized")
    with pytest.raises(ValueError, match="`map_size`"):
        DAM(4, variant="static")


@pytest.mark.parametrize(
    ("variant", "shape", "message"),
    [
        (
            "normalized",
            (2, 4, 5, 5, 9),
            r"\(B, T, h, w, 8\) with T = 4, .* but got \(2, 4, 5, 5, 9\)",
        ),
        ("static", (2, 4, 5, 6, 8), r"\(B, T, 5, 5, C\) with T = 4, or T = 1 for a still, but got \(2, 4, 5, 6, 8\)"),
        ("static", (2, 4, 5, 5), "but got"),
    ],
)
def test_maps_of_another_shape_raise(variant, shape, message):
    with pytest.raises(ValueError, match=message):
        dam_for((2, 4, 5, 5, 8), variant)(torch.randn(shape))
