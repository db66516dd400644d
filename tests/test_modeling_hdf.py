"""The HDF models: equal to the backbone with DAM in between, complete after every load, at home in PyTorch."""

import copy

import pytest
import torch
from tiny_models import randomize, tiny_backbone_config, tiny_config
from transformers import VideoMAEForVideoClassification, VideoMAEModel

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFModel


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
    torch.testing.assert_close(model(clips, return_dict=False)[0], outputs.logits)


def test_tuples_can_be_asked_for_in_the_configuration(model, clips):
    expected = model(clips).to_tuple()
    model.config.return_dict = False
    outputs = model(clips)
    assert isinstance(outputs, tuple) and len(outputs) == 2
    torch.testing.assert_close(outputs, expected)


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


def test_hidden_states_are_kept_on_request_alone(model, clips):
    assert model(clips).hidden_states is None
    assert model(clips, output_hidden_states=False).hidden_states is None


def test_hidden_states_can_be_asked_for_in_the_configuration(clips):
    model = HDFForVideoClassification(tiny_config(output_hidden_states=True)).eval()
    assert len(model(clips).hidden_states) == 3


def test_attentions_are_returned_by_eager_attention(clips):
    model = HDFForVideoClassification._from_config(tiny_config(), attn_implementation="eager").eval()
    attentions = model(clips, output_attentions=True).attentions
    assert [tuple(attention.shape) for attention in attentions] == [(3, 3, 12, 12)] * 2
    for attention in attentions:
        torch.testing.assert_close(attention.sum(-1), torch.ones(3, 3, 12))


# At home in PyTorch


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
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
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


@pytest.mark.parametrize("model_class", [HDFModel, HDFForVideoClassification])
def test_pictures_that_were_not_normalised_raise(model_class):
    with pytest.raises(ValueError, match="`pixel_values` is of type torch.uint8.*video processor"):
        model_class(tiny_config())(torch.zeros(2, 4, 3, 16, 24, dtype=torch.uint8))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (2,)])
def test_labels_of_another_shape_or_type_raise(model, clips, shape, dtype):
    labels = torch.zeros(shape, dtype=dtype if shape == (3,) else torch.int64)
    with pytest.raises(ValueError, match=r"`labels` has shape .*: shape \(3,\) and type torch.int64"):
        model(clips, labels=labels)


@pytest.mark.parametrize("wrong", [7, -1, -100, 99])
def test_labels_out_of_range_raise(model, clips, wrong):
    with pytest.raises(ValueError, match=rf"`labels` holds \[{wrong}\], but the model has classes 0 to 6"):
        model(clips, labels=torch.tensor([0, wrong, 6]))
