"""After loading, every parameter and buffer is loaded or at its start value, never left as memory was."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import move_dam_weights, tiny_config
from torch import nn

from modeling_hdf import HDFForVideoClassification, HDFModel
from modeling_hdf.dam_frequency_hdf import dct_bank

# Parameters of a DAM of each variant.
NUM_PARAMETERS = {"temporal": 22, "release": 22, "normalized": 25, "static": 4}


def start_value_problem(
    name: str, value: torch.Tensor, init: str, steps: int = 2, variant: str = "temporal"
) -> str | None:
    """What is wrong with `value` as a start value of the DAM parameter `name`, from section 2 of the method."""
    identity = init == "identity"
    constants = {
        "temporal_weight": 2 / 3 if identity else 0.8,
        "frequency_weight": 2 / 3 if identity else 0.3,
        "average_weight": 0.5,
        "max_weight": 0.5,
        "pooled_gain": 1.0,
        "wasserstein_gain": 0.0,
        "noise_gain": 1.0,
        "radius_gain": 0.0,
        "clean_weight": 0.5,
        "perturbed_weight": 0.5,
        "tanh_slope": 0.5,
        "tanh_gain": 1.0,
        "tanh_bias": 0.0,
        "gate_logits": 0.0,
    }
    if identity:
        constants |= {"attend_weight": 0.0, "output_weight": 0.0, "output_bias": 0.0}
    if identity and variant != "normalized":
        constants |= {"value_weight": 0.0, "value_bias": 0.0}
    leaf = name.rsplit(".", 1)[-1]
    if leaf in constants:
        return None if value.eq(constants[leaf]).all() else f"{name} is not {constants[leaf]}"
    bound = {"attend_weight": 1 / math.sqrt(49 * 49), "noise": 1.0, "weight": 4 / math.sqrt(12)}.get(
        leaf, 1 / math.sqrt(steps)
    )
    if not value.isfinite().all() or value.abs().max() > bound or value.unique().numel() < 0.9 * value.numel():
        return f"{name} is not random within {bound}: {value}"
    return None


def assert_banks_are_filled(model: nn.Module) -> None:
    buffers = dict(model.named_buffers())
    assert len(buffers) == len(model.base_model.dam) * (model.config.dam_variant != "static")
    for name, buffer in buffers.items():
        assert buffer.equal(dct_bank()), name


@pytest.mark.parametrize("variant", NUM_PARAMETERS)
def test_saved_model_comes_back_whole(clips, tmp_path, poisoned_memory, variant):
    model = move_dam_weights(HDFForVideoClassification(tiny_config(dam_variant=variant))).eval()
    model.save_pretrained(tmp_path)
    loaded, info = HDFForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].equal(value), name
    assert_banks_are_filled(loaded)
    torch.testing.assert_close(loaded(clips).logits, model(clips).logits)
    gate = loaded.hdf.dam["1"].gates(torch.randn(1, 2, 2, 3, 12))
    assert (gate[0] - 0.5).abs().max() > 1e-3 and (gate[1] - 0.5).abs().max() > 1e-3


@pytest.mark.parametrize("variant", NUM_PARAMETERS)
@pytest.mark.parametrize("init", ["identity", "paper"])
def test_checkpoint_without_dam_weights_gets_start_values(clips, tmp_path, poisoned_memory, init, variant):
    without = HDFForVideoClassification(tiny_config(dam_layers=[])).eval()
    without.save_pretrained(tmp_path)
    model = HDFForVideoClassification.from_pretrained(tmp_path, dam_layers=[1, 2], dam_init=init, dam_variant=variant)
    dam = dict(model.hdf.dam.named_parameters())
    problems = [start_value_problem(name, value, init, variant=variant) for name, value in dam.items()]
    assert not any(problems), [problem for problem in problems if problem]
    assert len(problems) == 2 * NUM_PARAMETERS[variant]
    assert_banks_are_filled(model)
    for name, value in without.state_dict().items():
        assert model.state_dict()[name].equal(value), name
    unchanged = torch.allclose(model(clips).logits, without(clips).logits, rtol=0, atol=1e-5)
    assert unchanged == (init == "identity")


@pytest.mark.parametrize(
    ("init", "variant"),
    [("identity", "temporal"), ("paper", "temporal"), ("identity", "normalized"), ("identity", "static")],
)
def test_single_missing_dam_parameters_get_start_values(tmp_path, poisoned_memory, init, variant):
    model = move_dam_weights(HDFForVideoClassification(tiny_config(dam_init=init, dam_variant=variant)))
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    complete = load_file(file)
    names = [name for name in complete if name.startswith("hdf.dam.2.")]
    assert len(names) == NUM_PARAMETERS[variant]
    for missing in names:
        others = {name: value for name, value in complete.items() if name != missing}
        save_file(others, file, metadata={"format": "pt"})
        loaded = HDFForVideoClassification.from_pretrained(tmp_path)
        state = loaded.state_dict()
        assert start_value_problem(missing, state[missing], init, variant=variant) is None
        assert not state[missing].equal(complete[missing])
        for name, value in others.items():
            assert state[name].equal(value), f"{name} changed as {missing} was missing"
        assert_banks_are_filled(loaded)


def test_head_missing_from_a_checkpoint_is_initialised(model, tmp_path, poisoned_memory):
    model.hdf.save_pretrained(tmp_path)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path)
    assert 0 < loaded.classifier.weight.std() < 0.4 and not loaded.classifier.bias.any()
    assert loaded.fc_norm.weight.eq(1).all() and not loaded.fc_norm.bias.any()
    for name, value in model.hdf.state_dict().items():
        assert loaded.hdf.state_dict()[name].equal(value), name
    assert_banks_are_filled(loaded)


def test_model_without_head_loads_a_classifier_checkpoint(model, clips, tmp_path, poisoned_memory):
    model.save_pretrained(tmp_path)
    loaded = HDFModel.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(clips).last_hidden_state, model.hdf(clips).last_hidden_state)


def test_filter_bank_follows_the_dtype_of_the_checkpoint(model, clips, tmp_path, poisoned_memory):
    model.save_pretrained(tmp_path)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    bank = loaded.hdf.dam["1"].frequency.dct_bank
    assert bank.dtype == torch.bfloat16 and bank.equal(dct_bank().bfloat16())
    logits = loaded(clips.bfloat16()).logits
    torch.testing.assert_close(logits.float(), model(clips).logits, rtol=0.1, atol=0.1)
    torch.testing.assert_close(loaded(clips).logits, logits)  # a video processor gives float32


@pytest.mark.parametrize("labels", [{"num_labels": 3}, {"id2label": {0: "calm", 1: "tense", 2: "other"}}])
def test_other_label_set_replaces_the_head_alone(model, clips, tmp_path, labels, poisoned_memory):
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        HDFForVideoClassification.from_pretrained(tmp_path, **labels)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path, **labels, ignore_mismatched_sizes=True)
    outputs = loaded(clips)
    assert outputs.logits.shape == (3, 3) and outputs.logits.isfinite().all()
    torch.testing.assert_close(outputs.features, model(clips).features)


def test_dam_layers_out_of_range_raise_while_loading(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(Exception, match=r"`dam_layers` holds \[9\], but the backbone has layers 1 to 2"):
        HDFForVideoClassification.from_pretrained(tmp_path, dam_layers=[9])


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_map(model, clips, tmp_path, device_map, poisoned_memory):
    model.save_pretrained(tmp_path)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path, device_map=device_map)
    assert {parameter.device.type for parameter in loaded.parameters()} == {"cpu"}
    assert_banks_are_filled(loaded)
    torch.testing.assert_close(loaded(clips).logits, model(clips).logits)


def test_device_map_with_parts_on_disk(model, clips, tmp_path, poisoned_memory):
    model.save_pretrained(tmp_path)
    device_map = {
        "hdf.backbone": "cpu",
        "hdf.dam.1": "cpu",
        "hdf.dam.2": "disk",
        "fc_norm": "cpu",
        "classifier": "disk",
    }
    loaded = HDFForVideoClassification.from_pretrained(
        tmp_path, device_map=device_map, offload_folder=tmp_path / "offload"
    )
    assert loaded.classifier.weight.device.type == "meta"
    torch.testing.assert_close(loaded(clips).logits, model(clips).logits)
