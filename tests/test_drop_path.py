"""Drop path against each sample's residual sums computed by hand."""

import pytest
import torch
from hand_written_training import assert_weights_close, build_rows, build_trainer, largest_difference
from tiny_models import move_dam_weights, save_backbone, tiny_backbone_config, tiny_config

from modeling_hdf import HDFConfig, HDFForVideoClassification

RATE = 0.6


def drop_path_config(rate=RATE, **backbone) -> HDFConfig:
    """Four layers, of which the rates are 0, 1/3, 2/3 and 1 times `rate`."""
    backbone = {"num_hidden_layers": 4, **backbone}
    return tiny_config(backbone_config=tiny_backbone_config(**backbone).to_dict(), drop_path_rate=rate)


def drop_path_model(rate=RATE, **backbone) -> HDFForVideoClassification:
    return move_dam_weights(HDFForVideoClassification(drop_path_config(rate, **backbone)))


def layers_of(model):
    return model.hdf.backbone.encoder.layer


def possible_outputs(layer, tokens, rate):
    """What a layer gives where attention and MLP are (kept, kept), (kept, dropped), (dropped, kept), (dropped,
    dropped), stacked."""
    layer.eval()

    def mlp(states):
        hidden = layer.intermediate(layer.layernorm_after(states))
        return layer.output.dense(hidden) / (1 - rate)

    with_attention = tokens + layer.attention(layer.layernorm_before(tokens)) / (1 - rate)
    return torch.stack([with_attention + mlp(with_attention), with_attention, tokens + mlp(tokens), tokens])


@pytest.mark.parametrize("number", range(4))
def test_each_sample_skips_attention_and_mlp_on_its_own(number):
    rate = RATE * number / 3
    layer = layers_of(drop_path_model())[number]
    tokens = torch.randn(3000, 3, 12)
    with torch.no_grad():
        expected = possible_outputs(layer, tokens, rate)  # (4, B, N, C)
        outputs = layer.train()(tokens)
    distance = (expected - outputs).abs().amax((2, 3))  # (4, B)
    smallest, which = distance.min(0)
    assert smallest.max() < 1e-4
    frequencies = torch.bincount(which, minlength=4) / len(tokens)
    kept = 1 - rate
    wanted = torch.tensor([kept * kept, kept * rate, rate * kept, rate * rate])
    assert (frequencies - wanted).abs().max() < 0.03  # three standard deviations


def test_the_expectation_of_a_branch_stays():
    torch.manual_seed(0)
    layer = layers_of(drop_path_model())[3]
    tokens = torch.randn(1, 3, 12)
    branch = layer.attention.eval()(tokens)
    mean = layer.attention.train()(tokens.expand(40_000, 3, 12)).mean(0)
    torch.testing.assert_close(mean, branch[0], rtol=0.05, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evaluation_is_that_of_the_model_without(clips, dtype):
    model, plain = drop_path_model().to(dtype).eval(), drop_path_model(0.0).to(dtype).eval()
    plain.load_state_dict(model.state_dict())  # the same names
    torch.testing.assert_close(model(clips.to(dtype)).logits, plain(clips.to(dtype)).logits)
    model.train()
    logits = model(clips.to(dtype)).logits
    assert logits.dtype == dtype and not torch.equal(logits, plain(clips.to(dtype)).logits)


def test_a_dropout_of_the_backbone_stays():
    layer = layers_of(drop_path_model(hidden_dropout_prob=1.0))[0].train()  # this layer drops no path
    tokens = torch.randn(5, 3, 12)
    assert torch.equal(layer(tokens), tokens)


def test_a_single_layer_is_never_skipped(clips):
    model = drop_path_model(num_hidden_layers=1)
    torch.testing.assert_close(model.train()(clips).logits, model.eval()(clips).logits)


def gradients(model, clips, seed=3):
    torch.manual_seed(seed)
    model.zero_grad()
    model(clips).logits.square().sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_gradient_checkpointing_draws_the_same_samples_again(clips):
    model = drop_path_model().train()
    plain, other = gradients(model, clips), gradients(model, clips, seed=4)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for one, again in zip(plain, gradients(model, clips), strict=True):
        torch.testing.assert_close(one, again)
    assert any(not torch.equal(one, another) for one, another in zip(plain, other, strict=True))


def test_it_compiles_to_one_graph(clips):
    model = drop_path_model().train()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.manual_seed(5)
    expected = model(clips).logits
    torch.manual_seed(5)
    torch.testing.assert_close(compiled(clips).logits, expected)


def test_a_saved_model_keeps_its_rate_and_loads_with_another(tmp_path, clips):
    model = drop_path_model().eval()
    model.save_pretrained(tmp_path)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path)
    assert loaded.config.drop_path_rate == RATE
    torch.testing.assert_close(loaded(clips).logits, model(clips).logits)
    torch.manual_seed(6)
    expected = model.train()(clips).logits
    torch.manual_seed(6)
    torch.testing.assert_close(loaded.train()(clips).logits, expected)
    without = HDFForVideoClassification.from_pretrained(tmp_path, drop_path_rate=0.0)
    torch.testing.assert_close(without.train()(clips).logits, model.eval()(clips).logits)


def test_a_backbone_checkpoint_takes_a_rate(tmp_path, clips):
    folder = save_backbone("base", tmp_path)
    model = HDFForVideoClassification.from_backbone_pretrained(folder, drop_path_rate=0.9)
    assert not torch.equal(model.train()(clips).logits, model.eval()(clips).logits)


def test_a_resumed_training_drops_what_the_straight_run_drops(tmp_path):
    def build(name, seed, **fields):
        torch.manual_seed(seed)
        backbone = tiny_backbone_config(image_size=16, num_hidden_layers=3).to_dict()
        model = HDFForVideoClassification(HDFConfig(backbone_config=backbone, num_labels=3, **fields))
        return build_trainer(tmp_path / name, build_rows(16), model=model, save_strategy="steps", save_steps=2)

    straight, resumed, without = build("a", 0, drop_path_rate=0.5), build("b", 1, drop_path_rate=0.5), build("c", 0)
    straight.train(), without.train()
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-2"))
    assert_weights_close(resumed.model, straight.model)
    assert largest_difference(straight.model, without.model) > 1e-4
