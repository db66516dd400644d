"""DAM against an independent reference, the records of the released arithmetic, and its promises on cost."""

from pathlib import Path

import pytest
import torch
from dam_references import reference_dam
from full_size_allocations import FullSizeAllocations
from released_dam import convert_release_state_dict
from safetensors import safe_open
from tiny_models import randomize

from modeling_hdf.dam_frequency_hdf import dct_bank
from modeling_hdf.dam_hdf import DAM

RECORDS = Path(__file__).parent / "records"


@pytest.mark.parametrize("variant", ["temporal", "release"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        pytest.param((2, 4, 5, 5, 12), {}, id="even-bins"),
        pytest.param((3, 4, 9, 6, 10), {}, id="channels-not-divisible"),
        pytest.param((2, 6, 4, 3, 4), {}, id="fewer-channels-than-steps"),
        pytest.param((1, 5, 2, 8, 1), {}, id="one-channel"),
        pytest.param((2, 1, 3, 4, 6), {}, id="one-step"),
        pytest.param((2, 4, 1, 1, 6), {}, id="one-place"),
        pytest.param((2, 3, 4, 5, 7), {"frequency": False}, id="temporal-only"),
        pytest.param((2, 3, 4, 5, 7), {"temporal": False}, id="frequency-only"),
        pytest.param((2, 3, 4, 5, 7), {"reduction": 4}, id="reduction"),
        pytest.param((2, 3, 4, 5, 7), {"reduction": 49}, id="largest-reduction"),
    ],
)
def test_equals_the_loops_of_the_paper(shape, options, variant):
    dam = randomize(DAM(shape[1], variant=variant, init="paper", **options)).double()
    x = torch.randn(shape, dtype=torch.float64)
    parameters = {name: value.detach().numpy() for name, value in dam.named_parameters()}
    expected = reference_dam(x.numpy(), parameters, variant)
    # The filter bank is held in float32, all else is exact.
    torch.testing.assert_close(dam(x), torch.from_numpy(expected), rtol=0, atol=2e-6)


def load_record(name: str) -> tuple[dict[str, torch.Tensor], int]:
    with safe_open(RECORDS / f"dam_record_{name}.safetensors", "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, int(file.metadata()["reduction"])


def group(record: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in record.items() if name.startswith(prefix)}


def map_of(record: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """A map of the record, (T, B, C, h, w), in our layout (B, T, h, w, C)."""
    return record[name].permute(1, 0, 3, 4, 2).contiguous()


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def run_record(name: str, variant: str):
    record, reduction = load_record(name)
    dam = DAM(len(record["input"]), variant=variant, reduction=reduction)
    dam.load_state_dict(convert_release_state_dict(group(record, "param.")))  # strict: every parameter is there
    x = map_of(record, "input").requires_grad_()
    output = dam(x)
    output.backward(map_of(record, "grad_output"))
    return record, dam, x, output


@pytest.mark.parametrize("name", ["a", "b"])
def test_release_variant_reproduces_the_record(name):
    record, dam, x, output = run_record(name, "release")
    assert relative_error(output, map_of(record, "output")) < 1e-5
    assert relative_error(x.grad, map_of(record, "grad_input")) < 1e-5

    expected = convert_release_state_dict(group(record, "grad."))
    actual = {name: parameter.grad for name, parameter in dam.named_parameters()}
    assert actual.keys() == expected.keys()
    for parameter in actual.keys() - {"temporal.key_bias"}:  # zero in theory, noise in the record
        assert relative_error(actual[parameter], expected[parameter]) < 1e-4, parameter
    largest = max(gradient.abs().max() for gradient in actual.values())
    assert actual["temporal.key_bias"].abs().max() < 1e-5 * largest


@pytest.mark.parametrize("name", ["a", "b"])
def test_temporal_variant_departs_from_the_record(name):
    record, _, _, output = run_record(name, "temporal")
    assert relative_error(output, map_of(record, "output")) > 1e-4


@pytest.mark.parametrize("name", ["a", "b"])
def test_filter_bank_is_that_of_the_record(name):
    record, _ = load_record(name)
    torch.testing.assert_close(dct_bank()[:, 0], record["dct_bank"], rtol=0, atol=1e-6)


def test_filter_bank_is_orthonormal():
    flat = dct_bank().reshape(49, 49)
    torch.testing.assert_close(flat @ flat.T, torch.eye(49), rtol=0, atol=1e-6)


def test_unknown_release_parameters_are_named():
    with pytest.raises(KeyError, match="fc_x.weight"):
        convert_release_state_dict({"fc_x.weight": torch.zeros(1)})


@pytest.mark.parametrize("variant", ["temporal", "release"])
@pytest.mark.parametrize("options", [{}, {"reduction": 7}, {"temporal": False}, {"frequency": False}])
def test_identity_start_changes_no_more_than_the_last_bits(variant, options):
    x = torch.randn(2, 4, 6, 5, 16)
    torch.testing.assert_close(DAM(4, variant=variant, **options)(x), x, rtol=3e-7, atol=0)


@pytest.mark.parametrize("reduction", [1, 7])
def test_identity_start_sends_gradients_into_both_branches(reduction):
    dam = DAM(4, reduction=reduction)
    (dam(torch.randn(2, 4, 6, 5, 16)) ** 2).sum().backward()
    for name in ("temporal.value_weight", "temporal.value_bias", "frequency.attend_weight"):
        assert dam.get_parameter(name).grad.abs().max() > 0, name


def test_paper_start_scales_down():
    x = torch.rand(2, 8, 7, 7, 32) + 1
    ratio = (DAM(8, init="paper")(x) / x).mean().item()
    assert ratio == pytest.approx(1.1 * 1.5 / 2, abs=0.05)


def test_start_values_are_those_of_the_paper():
    dam = DAM(3, init="paper")
    values = {name: parameter.detach() for name, parameter in dam.named_parameters()}
    expected = {
        "temporal_weight": 0.8,
        "frequency_weight": 0.3,
        "temporal.average_weight": 0.5,
        "temporal.max_weight": 0.5,
        "temporal.pooled_gain": 1.0,
        "temporal.wasserstein_gain": 0.0,
        "frequency.noise_gain": 1.0,
        "frequency.radius_gain": 0.0,
        "frequency.clean_weight": 0.5,
        "frequency.perturbed_weight": 0.5,
        "frequency.tanh_slope": 0.5,
        "frequency.tanh_gain": 1.0,
        "frequency.tanh_bias": 0.0,
    }
    for name, value in expected.items():
        assert torch.all(values[name] == torch.tensor(value)), name
    assert values["frequency.noise"].std().item() == pytest.approx(0.1, abs=0.04)
    identity = DAM(3)
    assert identity.temporal_weight.item() == identity.frequency_weight.item() == pytest.approx(2 / 3)
    assert not identity.temporal.value_weight.any() and not identity.frequency.attend_weight.any()


def test_one_branch_alone_is_not_averaged_with_nothing():
    x = torch.randn(2, 4, 6, 5, 8)
    both = randomize(DAM(4, init="paper"))
    temporal_gate, frequency_gate = both.gates(x)
    both.frequency = both.frequency_weight = None
    expected = x * (both.temporal_weight * (1 + temporal_gate))[:, :, None, None, None]
    torch.testing.assert_close(both(x), expected)
    assert frequency_gate.shape == (2, 6, 5)


@pytest.mark.parametrize("variant", ["temporal", "release"])
@pytest.mark.parametrize("permuted", [False, True])
def test_forward_allocates_nothing_full_size_but_its_result(variant, permuted):
    dam = randomize(DAM(4, variant=variant, init="paper"))
    x = torch.randn(2, 4, 8, 8, 64)  # 49 filter responses are a fifth of this
    x = x.transpose(2, 3) if permuted else x
    with torch.no_grad(), FullSizeAllocations(x.numel(), x) as allocations:
        dam(x)
    assert len(allocations.operations) == 1, allocations.operations


def test_training_keeps_nothing_full_size_but_its_input():
    dam = randomize(DAM(4, init="paper"))
    x = torch.randn(2, 4, 8, 8, 64, requires_grad=True)
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        # A broadcast view has the shape of the map and the storage of a gate.
        if tensor.untyped_storage().nbytes() >= x.untyped_storage().nbytes():
            kept.append(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        dam(x)
    assert set(kept) == {x.untyped_storage().data_ptr()}


def test_state_dict_carries_learned_values_only():
    assert not [name for name in DAM(4).state_dict() if "dct_bank" in name]
    assert "frequency.dct_bank" in dict(DAM(4).named_buffers())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "`num_steps` is 0"),
        ({"variant": "spatial"}, "`variant` is 'spatial'"),
        ({"init": "zero"}, "`init` is 'zero'"),
        ({"temporal": False, "frequency": False}, "`temporal` and `frequency` are both off"),
        ({"reduction": 0}, "`reduction` is 0"),
        ({"reduction": 50}, "`reduction` is 50"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DAM(**{"num_steps": 4, **options})


@pytest.mark.parametrize("shape", [(2, 3, 5, 5, 8), (4, 5, 5, 8), (2, 4, 25, 8)])
def test_maps_of_another_shape_raise(shape):
    with pytest.raises(ValueError, match=r"T = 4, or T = 1 for a still, but got \("):
        DAM(4)(torch.randn(shape))
