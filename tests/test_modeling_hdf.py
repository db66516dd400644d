"""The HDF models: equal to the backbone with DAM in between, complete after every load, at home in PyTorch."""

import copy
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import BACKBONE_LABELS, move_dam_weights, randomize, tiny_backbone_config, tiny_config
from torch import nn
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel, ViTConfig

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFModel
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.dam_hdf import dct_bank


def backbone_with_hooks(model: HDFForVideoClassification) -> VideoMAEForVideoClassification:
    """The same model built the other way round: VideoMAE's own forward, with each DAM hooked behind its layer."""
    backbone_config = copy.deepcopy(model.config.backbone_config)
    backbone_config.num_labels = model.config.num_labels
    reference = VideoMAEForVideoClassification(backbone_config).eval()
    reference.videomae.load_state_dict(model.hdf.backbone.state_dict())
    reference.classifier.load_state_dict(model.classifier.state_dict())
    if model.fc_norm is not None:
        reference.fc_norm.load_state_dict(model.fc_norm.state_dict())
    reference.dam = model.hdf.dam

    def behind(dam):
        def hook(layer, args, output):
            steps, height, width = model.config.feature_map_size
            return dam(output.reshape(len(output), steps, height, width, -1)).reshape(output.shape)

        return hook

    for number, dam in model.hdf.dam.items():
        reference.videomae.encoder.layer[int(number) - 1].register_forward_hook(behind(dam))
    return reference


@pytest.mark.parametrize("mean_pooling", [True, False])
@pytest.mark.parametrize("dam_layers", [[], [1], [2], [1, 2]])
def test_equals_the_backbone_with_dam_behind_its_layers(clips, dam_layers, mean_pooling):
    backbone_config = tiny_backbone_config(use_mean_pooling=mean_pooling)
    model = HDFForVideoClassification(HDFConfig(backbone_config=backbone_config, dam_layers=dam_layers))
    model = randomize(model, std=0.2).eval()
    reference = backbone_with_hooks(model)
    labels = torch.tensor([0, 6, 3])

    outputs = model(clips, labels=labels)
    expected = reference(clips, labels=labels)
    torch.testing.assert_close(outputs.logits, expected.logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(outputs.loss, expected.loss, rtol=1e-5, atol=1e-6)

    outputs.loss.backward()
    dam_gradients = [parameter.grad.clone() for parameter in model.hdf.dam.parameters()]
    model.zero_grad()  # the DAM modules are the same objects in both models
    expected.loss.backward()
    for gradient, parameter in zip(dam_gradients, reference.dam.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_backbone_weights_keep_their_own_names(model):
    assert model.hdf.backbone.state_dict().keys() == VideoMAEModel(tiny_backbone_config()).state_dict().keys()


def test_output_holds_logits_and_features(model, clips):
    outputs = model(clips)
    assert outputs.logits.shape == (3, 7) and outputs.features.shape == (3, 12)
    assert (outputs.loss, outputs.hidden_states, outputs.attentions) == (None, None, None)
    torch.testing.assert_close(model.classifier(outputs.features), outputs.logits)
    tokens = model.hdf(clips).last_hidden_state
    torch.testing.assert_close(model.fc_norm(tokens.mean(1)), outputs.features)
    assert model(clips, return_dict=False)[0].equal(outputs.logits)


def test_features_come_before_dropout(clips):
    model = HDFForVideoClassification(tiny_config(classifier_dropout=0.5)).train()
    outputs = model(clips)
    assert outputs.features.count_nonzero() == outputs.features.numel()
    assert not torch.allclose(model.classifier(outputs.features), outputs.logits)


def test_loss_is_plain_cross_entropy(model, clips):
    labels = torch.tensor([6, 0, 2])
    outputs = model(clips, labels=labels)
    logits = outputs.logits.double()
    expected = sum(logits[i].exp().sum().log() - logits[i, label] for i, label in enumerate(labels)) / 3
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_hidden_states_are_those_behind_each_dam(model, clips):
    outputs = model(clips, output_hidden_states=True)
    assert [tuple(state.shape) for state in outputs.hidden_states] == [(3, 12, 12)] * 3
    tokens = model.hdf.backbone.embeddings(clips, None)
    torch.testing.assert_close(outputs.hidden_states[0], tokens)
    for layer, dam, state in zip(
        model.hdf.backbone.encoder.layer, model.hdf.dam.values(), outputs.hidden_states[1:], strict=True
    ):
        tokens = dam(layer(tokens).view(3, 2, 2, 3, 12)).view(3, 12, 12)
        torch.testing.assert_close(state, tokens)
    torch.testing.assert_close(model.hdf(clips).last_hidden_state, tokens)


@pytest.mark.parametrize(("selection", "kept"), [([0, -1], {0, 2}), (1, {1}), ([], set()), (False, None)])
def test_hidden_states_can_be_selected(model, clips, selection, kept):
    everything = model(clips, output_hidden_states=True).hidden_states
    states = model(clips, output_hidden_states=selection).hidden_states
    if not kept:
        assert states is None or states == ()
        return
    assert {index for index, state in enumerate(states) if state is not None} == kept
    for index in kept:
        assert states[index].equal(everything[index])


def test_hidden_states_can_be_asked_for_in_the_configuration(clips):
    model = HDFForVideoClassification(tiny_config(output_hidden_states=True)).eval()
    assert len(model(clips).hidden_states) == 3


def test_attentions_are_returned_by_eager_attention(clips):
    model = HDFForVideoClassification._from_config(tiny_config(), attn_implementation="eager").eval()
    attentions = model(clips, output_attentions=True).attentions
    assert [tuple(attention.shape) for attention in attentions] == [(3, 3, 12, 12)] * 2
    for attention in attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones(3, 3, 12))


# From backbone checkpoints


def test_backbone_checkpoint_gives_its_weights(backbone_checkpoint, clips):
    kind, folder = backbone_checkpoint
    model = HDFForVideoClassification.from_backbone_pretrained(folder)
    stock = VideoMAEModel.from_pretrained(folder)
    for name, value in stock.state_dict().items():
        assert model.hdf.backbone.get_parameter(name).equal(value), name
    expected = BACKBONE_LABELS if kind == "classification" else dict(enumerate(EMOTIONS))
    assert model.config.id2label == expected
    assert model.config.label2id == {name: index for index, name in expected.items()}
    assert model.classifier.weight.shape == (len(expected), 12)
    assert not model.training
    assert model(clips).logits.isfinite().all()


def test_classification_checkpoint_keeps_its_predictions(classification_checkpoint, clips):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint)
    stock = VideoMAEForVideoClassification.from_pretrained(classification_checkpoint)
    assert model.config.dam_init == "identity" and len(model.hdf.dam) == 2
    torch.testing.assert_close(model(clips).logits, stock(clips).logits, rtol=0, atol=1e-5)


def test_paper_start_changes_the_predictions(classification_checkpoint, clips):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, dam_init="paper")
    stock = VideoMAEForVideoClassification.from_pretrained(classification_checkpoint)
    assert (model(clips).logits - stock(clips).logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"id2label": {0: "calm", 1: "tense"}}, {0: "calm", 1: "tense"}),
        ({"num_labels": 3}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
        ({"num_labels": 7}, dict(enumerate(EMOTIONS))),
        ({"id2label": {i: f"class {i}" for i in range(5)}}, {i: f"class {i}" for i in range(5)}),
    ],
)
def test_labels_given_replace_the_head_of_the_checkpoint(classification_checkpoint, labels, expected):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, **labels)
    stock = VideoMAEForVideoClassification.from_pretrained(classification_checkpoint)
    assert model.config.id2label == expected
    assert model.config.label2id == {name: index for index, name in expected.items()}
    assert model.classifier.weight.shape == (len(expected), 12)
    if len(expected) == 5:
        assert not model.classifier.weight.equal(stock.classifier.weight)
    assert not model.classifier.bias.any()
    assert model.fc_norm.weight.equal(stock.fc_norm.weight)  # belongs to the features, not to the labels


def test_backbone_checkpoint_takes_configuration_fields_and_loading_options(backbone_checkpoint):
    _, folder = backbone_checkpoint
    model = HDFForVideoClassification.from_backbone_pretrained(
        folder, num_frames=8, image_size=32, dam_layers=[2], dam_variant="release", classifier_dropout=0.1
    )
    assert model.config.feature_map_size == (4, 4, 4)
    assert list(model.hdf.dam) == ["2"] and model.hdf.dam["2"].temporal.variant == "release"
    assert model.dropout.p == 0.1
    assert model(torch.randn(1, 8, 3, 32, 32)).logits.isfinite().all()

    half = HDFModel.from_backbone_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.config._attn_implementation == half.backbone.config._attn_implementation == "eager"


def test_model_without_head_starts_from_a_backbone(backbone_checkpoint, clips):
    _, folder = backbone_checkpoint
    model = HDFModel.from_backbone_pretrained(folder, dam_layers=[])
    stock = VideoMAEModel.from_pretrained(folder)
    torch.testing.assert_close(model(clips).last_hidden_state, stock(clips).last_hidden_state)


def test_backbone_start_survives_saving(classification_checkpoint, clips, tmp_path):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint)
    move_dam_weights(model).save_pretrained(tmp_path)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path)
    assert loaded(clips).logits.equal(model(clips).logits)
    assert loaded.config.id2label == BACKBONE_LABELS


def test_checkpoint_of_another_model_raises_and_names_the_supported_ones(tmp_path):
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'vit' checkpoint; supported are \['videomae'\]"):
        HDFForVideoClassification.from_backbone_pretrained(str(tmp_path))


def test_backbone_start_refuses_a_device_map(classification_checkpoint):
    with pytest.raises(ValueError, match="leave `device_map` out"):
        HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, device_map="auto")


# Complete after every load


@pytest.fixture
def poisoned_memory():
    """Fills all uninitialised memory with NaN, so that nothing left uninitialised can pass by luck."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(4).isnan().all() and torch.empty_like(torch.ones(4)).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def start_value_problem(name: str, value: torch.Tensor, init: str, steps: int = 2) -> str | None:
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
    }
    if identity:
        constants |= {"value_weight": 0.0, "value_bias": 0.0, "attend_weight": 0.0}
    leaf = name.rsplit(".", 1)[-1]
    if leaf in constants:
        return None if value.eq(constants[leaf]).all() else f"{name} is not {constants[leaf]}"
    bound = {"attend_weight": 1 / math.sqrt(49 * 49), "noise": 1.0}.get(leaf, 1 / math.sqrt(steps))
    if not value.isfinite().all() or value.abs().max() > bound or value.unique().numel() < 0.9 * value.numel():
        return f"{name} is not random within {bound}: {value}"
    return None


def assert_banks_are_filled(model: nn.Module) -> None:
    buffers = dict(model.named_buffers())
    assert len(buffers) == len(model.base_model.dam)
    for name, buffer in buffers.items():
        assert buffer.equal(dct_bank()), name


def test_saved_model_comes_back_whole(model, clips, tmp_path, poisoned_memory):
    model.save_pretrained(tmp_path)
    loaded, info = HDFForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].equal(value), name
    assert_banks_are_filled(loaded)
    assert loaded(clips).logits.equal(model(clips).logits)
    gate = loaded.hdf.dam["1"].gates(torch.randn(1, 2, 2, 3, 12))
    assert (gate[0] - 0.5).abs().max() > 1e-3 and (gate[1] - 0.5).abs().max() > 1e-3


@pytest.mark.parametrize("init", ["identity", "paper"])
def test_checkpoint_without_dam_weights_gets_start_values(clips, tmp_path, poisoned_memory, init):
    without = HDFForVideoClassification(tiny_config(dam_layers=[])).eval()
    without.save_pretrained(tmp_path)
    model = HDFForVideoClassification.from_pretrained(tmp_path, dam_layers=[1, 2], dam_init=init)
    problems = [start_value_problem(name, value, init) for name, value in model.hdf.dam.named_parameters()]
    assert not any(problems), [problem for problem in problems if problem]
    assert len(problems) == 2 * 22
    assert_banks_are_filled(model)
    for name, value in without.state_dict().items():
        assert model.state_dict()[name].equal(value), name
    unchanged = torch.allclose(model(clips).logits, without(clips).logits, rtol=0, atol=1e-5)
    assert unchanged == (init == "identity")


@pytest.mark.parametrize("init", ["identity", "paper"])
def test_single_missing_dam_parameters_get_start_values(tmp_path, poisoned_memory, init):
    model = move_dam_weights(HDFForVideoClassification(tiny_config(dam_init=init)))
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    complete = load_file(file)
    names = [name for name in complete if name.startswith("hdf.dam.2.")]
    assert len(names) == 22
    for missing in names:
        others = {name: value for name, value in complete.items() if name != missing}
        save_file(others, file, metadata={"format": "pt"})
        loaded = HDFForVideoClassification.from_pretrained(tmp_path)
        state = loaded.state_dict()
        assert start_value_problem(missing, state[missing], init) is None
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
    assert loaded(clips).last_hidden_state.equal(model.hdf(clips).last_hidden_state)


def test_filter_bank_follows_the_dtype_of_the_checkpoint(model, clips, tmp_path, poisoned_memory):
    model.save_pretrained(tmp_path)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    bank = loaded.hdf.dam["1"].frequency.dct_bank
    assert bank.dtype == torch.bfloat16 and bank.equal(dct_bank().bfloat16())
    torch.testing.assert_close(loaded(clips.bfloat16()).logits.float(), model(clips).logits, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("labels", [{"num_labels": 3}, {"id2label": {0: "calm", 1: "tense", 2: "other"}}])
def test_other_label_set_replaces_the_head_alone(model, clips, tmp_path, labels, poisoned_memory):
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        HDFForVideoClassification.from_pretrained(tmp_path, **labels)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path, **labels, ignore_mismatched_sizes=True)
    outputs = loaded(clips)
    assert outputs.logits.shape == (3, 3) and outputs.logits.isfinite().all()
    assert outputs.features.equal(model(clips).features)


def test_dam_layers_out_of_range_raise_while_loading(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(Exception, match=r"`dam_layers` holds \[9\], but the backbone has layers 1 to 2"):
        HDFForVideoClassification.from_pretrained(tmp_path, dam_layers=[9])


# At home in PyTorch


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


def test_a_block_is_never_split_across_devices(model):
    classes = {type(module).__name__ for module in model.modules()}
    assert {"DAM", "VideoMAELayer", "VideoMAEEmbeddings"} <= set(model._no_split_modules) & classes


def test_eager_and_sdpa_attention_agree(model, clips, tmp_path):
    model.save_pretrained(tmp_path)
    logits = {}
    for implementation in ("eager", "sdpa"):
        loaded = HDFForVideoClassification.from_pretrained(tmp_path, attn_implementation=implementation)
        assert loaded.hdf.backbone.config._attn_implementation == implementation
        logits[implementation] = loaded(clips).logits
    torch.testing.assert_close(logits["eager"], logits["sdpa"], rtol=1e-5, atol=1e-5)


def test_bfloat16_autocast(model, clips):
    labels = torch.tensor([0, 1, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(clips, labels=labels)
    assert outputs.logits.dtype == torch.bfloat16 and outputs.loss.dtype == torch.float32
    torch.testing.assert_close(outputs.logits.float(), model(clips).logits, rtol=0.1, atol=0.1)
    outputs.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_recomputes_and_gives_the_same_gradients(model, clips, use_reentrant):
    model.train()
    labels = torch.tensor([0, 1, 2])
    calls = []
    for layer in model.hdf.backbone.encoder.layer:
        layer.attention.register_forward_hook(lambda *_: calls.append(1))

    def gradients() -> dict[str, torch.Tensor]:
        calls.clear()
        model.zero_grad()
        model(clips.requires_grad_(), labels=labels).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    expected = gradients()
    assert len(calls) == 2
    model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
    actual = gradients()
    assert len(calls) == 4
    assert all(gradient.any() for name, gradient in expected.items() if not name.endswith("key_bias"))
    for name, gradient in expected.items():
        torch.testing.assert_close(actual[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_compiles_to_one_graph(model, clips):
    expected = model(clips).logits
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(clips).logits, expected, rtol=1e-5, atol=1e-5)


def test_training_step_compiles_to_one_graph(model, clips):
    labels = torch.tensor([0, 1, 2])
    model(clips, labels=labels).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    torch.compiler.reset()
    torch.compile(model, fullgraph=True, backend="aot_eager")(clips, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("shape", [(2, 4, 3, 16, 24), (1, 4, 3, 16, 24)])
def test_clips_of_a_batch_do_not_meet(model, shape):
    clips = torch.randn(shape)
    separately = torch.cat([model(clip[None]).logits for clip in clips])
    torch.testing.assert_close(model(clips).logits, separately, rtol=1e-5, atol=1e-5)


# Bad input


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((2, 4, 1, 16, 24), id="channels"),
        pytest.param((2, 6, 3, 16, 24), id="frames"),
        pytest.param((2, 2, 3, 16, 24), id="too-few-frames"),
        pytest.param((2, 3, 4, 16, 24), id="channels-before-frames"),
        pytest.param((2, 4, 3, 24, 16), id="height-and-width-swapped"),
        pytest.param((4, 3, 16, 24), id="no-batch"),
    ],
)
@pytest.mark.parametrize("model_class", [HDFModel, HDFForVideoClassification])
def test_clips_of_another_shape_raise(model_class, shape):
    with pytest.raises(ValueError, match=r"`pixel_values` has shape \(.*\(batch, 4, 3, 16, 24\)"):
        model_class(tiny_config())(torch.randn(shape))


@pytest.mark.parametrize("wrong", [7, -1, -100, 99])
def test_labels_out_of_range_raise(model, clips, wrong):
    with pytest.raises(ValueError, match=rf"`labels` holds \[{wrong}\], but the model has classes 0 to 6"):
        model(clips, labels=torch.tensor([0, wrong, 6]))


def test_a_pretraining_checkpoint_that_pools_one_token_is_classified_by_the_mean_of_all(tmp_path, clips):
    VideoMAEForPreTraining(tiny_backbone_config(use_mean_pooling=False)).save_pretrained(tmp_path)
    model = HDFForVideoClassification.from_backbone_pretrained(tmp_path)
    outputs = model(clips, output_hidden_states=True)
    expected = nn.functional.layer_norm(outputs.hidden_states[-1].mean(1), (12,))
    torch.testing.assert_close(outputs.features, expected)


def test_backbone_start_takes_changes_to_the_backbone(tmp_path, classification_checkpoint):
    fields = {"hidden_dropout_prob": 0.25}
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, backbone_config=fields)
    assert model.hdf.backbone.encoder.layer[0].output.dropout.p == 0.25


def test_a_backbone_checkpoint_loaded_as_hdf_points_to_the_right_call(classification_checkpoint):
    with pytest.raises(ValueError, match="from_backbone_pretrained"):
        HDFForVideoClassification.from_pretrained(classification_checkpoint)
