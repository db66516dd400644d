"""Layer-wise learning-rate decay against BEiT's formula written out by name, and AdamW by hand."""

import math

import numpy as np
import pytest
import torch
from hand_written_training import (
    assert_weights_close,
    build_rows,
    build_trainer,
    collate,
    largest_difference,
    smoothed_cross_entropy,
    step_logs,
    weights,
)
from tiny_models import tiny_backbone_config
from transformers import TrainerCallback

from modeling_hdf import DAM, HDFConfig, HDFForVideoClassification
from modeling_hdf.training.optimization import learning_rate_scales, without_gains
from modeling_hdf.training.trainer import HDFTrainingArguments

pytestmark = pytest.mark.usefixtures("short_garbage_collections")

DECAY = 0.6
NUM_LAYERS = 3
PREFIXES = {
    "hdf.backbone.embeddings.": DECAY**4,
    "hdf.backbone.encoder.layer.0.": DECAY**3,
    "hdf.backbone.encoder.layer.1.": DECAY**2,
    "hdf.backbone.encoder.layer.2.": DECAY,
    "hdf.backbone.layernorm.": 1.0,  # after the last layer
    "hdf.dam.1.": 1.0,
    "hdf.dam.3.": 1.0,
    "fc_norm.": 1.0,
    "classifier.": 1.0,
}


def layered_model(seed=0, mean_pooling=True) -> HDFForVideoClassification:
    torch.manual_seed(seed)
    backbone = tiny_backbone_config(image_size=16, num_hidden_layers=NUM_LAYERS, use_mean_pooling=mean_pooling)
    return HDFForVideoClassification(
        HDFConfig(backbone_config=backbone.to_dict(), dam_layers=[1, 3], num_labels=3, dam_init="paper")
    )


def layered_trainer(folder, *, model=None, rows=None, **options):
    options = {"layer_decay": DECAY, "optim": "adamw_torch", "weight_decay": 0.05, "dsm": False, **options}
    return build_trainer(folder, rows or build_rows(4), model=model or layered_model(), **options)


def expected_scales(model) -> dict[str, float]:
    return {
        name: next(scale for prefix, scale in PREFIXES.items() if name.startswith(prefix))
        for name, _ in model.named_parameters()
    }


def groups_by_name(trainer) -> dict[str, dict]:
    """The group of each parameter; each must be in exactly one."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    found = [(names[id(p)], group) for group in trainer.optimizer.param_groups for p in group["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


def test_a_model_in_a_wrapper_keeps_its_rates_and_what_the_wrapper_adds_takes_the_full_one():
    class Adapter(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.base_model = torch.nn.ModuleDict({"model": model})  # another thing than in transformers
            self.added = torch.nn.Linear(2, 2)

    model = layered_model()
    adapter = Adapter(model)
    scales = learning_rate_scales(adapter, DECAY)
    for name, scale in expected_scales(model).items():
        assert scales[model.get_parameter(name)] == pytest.approx(scale, rel=1e-12), name
    assert scales[adapter.added.weight] == scales[adapter.added.bias] == 1


@pytest.mark.parametrize("mean_pooling", [True, False])
def test_each_parameter_is_in_one_group_at_the_rate_of_its_layer(tmp_path, mean_pooling):
    trainer = layered_trainer(tmp_path, model=layered_model(mean_pooling=mean_pooling), learning_rate=0.01)
    trainer.create_optimizer()
    trainer.create_optimizer()  # as a second `train()` does: it keeps the optimizer
    groups, scales = groups_by_name(trainer), expected_scales(trainer.model)
    assert set(groups) == set(scales)
    for name, scale in scales.items():
        assert groups[name]["lr"] == pytest.approx(0.01 * scale, rel=1e-12), name
    with_norm = [prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in scales)]
    assert len(with_norm) == len(PREFIXES) - 1  # one of the two norms

    stock = layered_trainer(tmp_path, layer_decay=1.0, model=layered_model(mean_pooling=mean_pooling))
    stock.create_optimizer()
    assert len(stock.optimizer.param_groups) == 2
    for name, group in groups_by_name(stock).items():
        assert {**groups[name], "params": None, "lr": None} == {**group, "params": None, "lr": None}, name
    assert groups["classifier.weight"]["weight_decay"] == 0.05 and groups["classifier.bias"]["weight_decay"] == 0


def test_frozen_parameters_are_in_no_group(tmp_path):
    model = layered_model()
    model.hdf.backbone.embeddings.requires_grad_(False)
    trainer = layered_trainer(tmp_path, model=model)
    trainer.create_optimizer()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(groups_by_name(trainer)) == trained
    assert all(group["params"] for group in trainer.optimizer.param_groups)


def test_a_headless_model_has_the_same_scales():
    model = layered_model()
    whole, headless = learning_rate_scales(model, DECAY), learning_rate_scales(model.hdf, DECAY)
    assert headless == {parameter: whole[parameter] for parameter in model.hdf.parameters()}


def test_the_first_step_is_adamw_at_the_rate_of_each_layer(tmp_path):
    rows, epsilon = build_rows(4), 1e-3
    trainer = layered_trainer(
        tmp_path, rows=rows, learning_rate=0.01, adam_epsilon=epsilon, weight_decay=0.5, max_grad_norm=0.0
    )
    model = layered_model().train()
    start = {name: parameter.double().numpy() for name, parameter in weights(model).items()}
    batch = collate(rows)
    smoothed_cross_entropy(model(batch["pixel_values"]).logits, batch["labels"], 0.0).backward()
    trainer.train()

    moved, scales, groups = weights(trainer.model), expected_scales(model), groups_by_name(trainer)
    for name, parameter in model.named_parameters():
        gradient, rate = parameter.grad.double().numpy(), 0.01 * scales[name]
        # Bias correction makes the first moments the gradient and its square.
        expected = start[name] * (1 - rate * groups[name]["weight_decay"])
        expected -= rate * gradient / (np.abs(gradient) + epsilon)
        np.testing.assert_allclose(moved[name].double().numpy(), expected, atol=2e-6, err_msg=name)


class GroupRates(TrainerCallback):
    """Writes down the learning rate of each group at each step."""

    def __init__(self):
        self.rates = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.rates.append([group["lr"] for group in optimizer.param_groups])


def test_warm_up_and_cosine_move_all_groups_and_the_log_says_the_rate_of_the_head(tmp_path):
    recorder = GroupRates()
    trainer = layered_trainer(
        tmp_path,
        rows=build_rows(40),
        learning_rate=0.01,
        lr_scheduler_type="cosine",
        warmup_steps=0.2,  # 2 of 10
        trainer={"callbacks": [recorder]},
    )
    trainer.train()
    shape = [step / 2 if step < 2 else 0.5 + 0.5 * math.cos(math.pi * (step - 2) / 8) for step in range(10)]
    assert [entry["learning_rate"] for entry in step_logs(trainer)] == pytest.approx([0.01 * s for s in shape])
    scales = [group["initial_lr"] / 0.01 for group in trainer.optimizer.param_groups]
    assert sorted(set(scales)) == pytest.approx([DECAY**4, DECAY**3, DECAY**2, DECAY, 1.0])
    for share, rates in zip(shape, recorder.rates, strict=True):
        assert rates == pytest.approx([0.01 * share * scale for scale in scales])


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_resuming_gives_the_straight_run(tmp_path, rho):
    rows = build_rows(24)
    options = {
        "lr_scheduler_type": "cosine",
        "learning_rate": 0.01,
        "save_strategy": "steps",
        "save_steps": 3,
        "sam_rho": rho,
        "dsm": True,
    }
    straight = layered_trainer(tmp_path / "straight", rows=rows, **options)
    straight.train()
    resumed = layered_trainer(tmp_path / "resumed", rows=rows, model=layered_model(seed=5), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "checkpoint-3"))
    assert_weights_close(resumed.model, straight.model)
    plain = layered_trainer(tmp_path / "plain", rows=rows, **{**options, "layer_decay": 1.0})
    plain.train()
    assert largest_difference(plain.model, straight.model) > 1e-4


@pytest.mark.parametrize("decay", [0.0, -0.5, 1.1, math.nan])
def test_a_decay_out_of_range_is_refused(tmp_path, decay):
    with pytest.raises(ValueError, match="`layer_decay` is .*above 0 and at most 1"):
        HDFTrainingArguments(output_dir=str(tmp_path), layer_decay=decay)


def test_an_optimizer_of_the_users_own_beside_a_decay_is_refused(tmp_path):
    model = layered_model()
    optimizers = (torch.optim.SGD(model.parameters(), lr=0.1), None)
    with pytest.raises(ValueError, match="`layer_decay` is for the optimizer that the trainer builds"):
        layered_trainer(tmp_path, model=model, trainer={"optimizers": optimizers})
    layered_trainer(tmp_path, model=model, layer_decay=1.0, trainer={"optimizers": optimizers}).train()


def test_weight_decay_is_for_matrices_and_kernels_alone(tmp_path):
    model = layered_model()
    trainer = layered_trainer(tmp_path, model=model, layer_decay=1.0)
    trainer.create_optimizer()
    decayed = {name for name, group in groups_by_name(trainer).items() if group["weight_decay"] > 0}
    dam = {f"temporal.{name}_weight" for name in ("mix", "query", "key", "value")} | {"frequency.attend_weight"}
    expected = {f"hdf.dam.{number}.{name}" for number in (1, 3) for name in dam}
    backbone = [name for name, _ in model.named_parameters() if name.startswith("hdf.backbone.")]
    expected |= {name for name in backbone if name.endswith("weight") and "layernorm" not in name}
    expected.add("classifier.weight")
    assert decayed == expected
    assert len([name for name in groups_by_name(trainer) if ".dam." in name]) == 2 * 22
    reduced = DAM(4, reduction=7)  # alone, as a part of another model
    names = without_gains(reduced, [name for name, _ in reduced.named_parameters()])
    biases = {f"temporal.{name}_bias" for name in ("query", "key", "value")}
    assert set(names) == dam | {"frequency.reduce_weight"} and not biases & set(names)
    normalized = DAM(4, variant="normalized", num_channels=6)
    names = without_gains(normalized, [name for name, _ in normalized.named_parameters()])
    assert set(names) == dam | {"projection.weight"}
    static = DAM(4, variant="static", map_size=(5, 6))
    assert without_gains(static, [name for name, _ in static.named_parameters()]) == []
