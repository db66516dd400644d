"""SAM in HDFTrainer against hand-written steps, and where it must not step."""

import gc
import weakref

import numpy as np
import pytest
import torch
from hand_written_training import (
    DSM_OPTIONS,
    MICRO_BATCH,
    assert_logs_close,
    assert_weights_close,
    build_model,
    build_rows,
    build_trainer,
    collate,
    hand_written_training,
    largest_difference,
    split,
    step_logs,
    weights,
)
from transformers import TrainerCallback

pytestmark = pytest.mark.usefixtures("short_garbage_collections")


class CountForwards:
    """Counts the forward passes of a model, and calls `action` with their number."""

    def __init__(self, model: torch.nn.Module, action=lambda count: None):
        self.count = 0
        self.action = action
        model.register_forward_hook(self)

    def __call__(self, *_):
        self.count += 1
        self.action(self.count)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_sam_with_adamw_equals_a_hand_written_full_batch_step(tmp_path, accumulation):
    # An epsilon that keeps AdamW from turning rounding noise into whole steps where the gradient is zero in theory.
    rows = build_rows(24)
    trainer = build_trainer(
        tmp_path,
        rows,
        dsm=False,
        sam_rho=0.05,
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
        optim="adamw_torch",
        adam_epsilon=1e-3,
        weight_decay=0.0,
        learning_rate=1e-2,
    )
    trainer.train()
    steps = split(rows, 8, 1)
    model, plain = build_model(), build_model()
    for reference, rho in ((model, 0.05), (plain, 0.0)):
        optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-2, eps=1e-3, weight_decay=0.0)
        hand_written_training(reference, steps, rho=rho, optimizer=optimizer)
    assert_weights_close(trainer.model, model)
    assert largest_difference(plain, model) > 1e-4


@pytest.mark.parametrize("scaling", [None, "parameters", "features"])
def test_sam_skips_a_step_whose_gradient_is_not_finite(tmp_path, scaling):
    rows = build_rows(24)
    steps = split(rows, MICRO_BATCH, 2)
    rows[9]["pixel_values"][:] = float("nan")  # in the first micro-batch of the second of three steps
    options = {"dsm": False} if scaling is None else {"dsm_scaling": scaling, **DSM_OPTIONS}
    model = build_model()
    forwards = CountForwards(model)
    trainer = build_trainer(tmp_path, rows, model=model, sam_rho=0.05, gradient_accumulation_steps=2, **options)
    trainer.train()

    assert forwards.count == 4 + 2 + 4  # the second step has no second pass
    reference = build_model()
    expected, g = hand_written_training(reference, [steps[0], steps[2]], scaling=scaling, rho=0.05)
    assert_weights_close(trainer.model, reference)
    first, broken, third = step_logs(trainer)
    assert np.isnan(broken["grad_norm"])
    assert_logs_close([{**first, "loss": expected[0]["loss"]}], expected[:1])
    assert third["grad_norm"] == pytest.approx(expected[1]["grad_norm"], rel=1e-5)
    if scaling == "parameters":
        assert (first["g"], broken["g"]) == pytest.approx((1.0, first["grad_norm"]), rel=1e-6)
        assert third["g"] == pytest.approx(broken["g"], rel=1e-6)
        assert trainer.dsm.grad_norm.item() == pytest.approx(g, rel=1e-5)


def test_an_interrupt_in_the_second_pass_leaves_the_weights_where_they_were(tmp_path):
    model, perturbed = build_model(), {}

    def interrupt(count):
        if count == 4:
            perturbed.update(weights(model))
            raise KeyboardInterrupt

    CountForwards(model, interrupt)
    trainer = build_trainer(tmp_path, build_rows(8), model=model, sam_rho=0.05, gradient_accumulation_steps=2)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    initial = weights(build_model())
    assert any(not torch.equal(perturbed[name], initial[name]) for name in initial)
    assert all(torch.equal(value, initial[name]) for name, value in weights(model).items())


@pytest.mark.parametrize("broken", [False, True])
def test_the_micro_batches_of_a_step_do_not_outlive_it(tmp_path, broken):
    rows = build_rows(16)
    if broken:  # the last step is skipped
        rows[-1]["pixel_values"] = torch.full((4, 3, 16, 16), float("nan"))
    seen = []

    def collate_and_watch(batch):
        collated = collate(batch)
        seen.append(weakref.ref(collated["pixel_values"]))
        return collated

    class Held(TrainerCallback):
        def on_step_end(self, *_, **__):
            assert trainer._micro_batches == []

    trainer = build_trainer(
        tmp_path,
        rows,
        sam_rho=0.05,
        gradient_accumulation_steps=2,
        trainer={"data_collator": collate_and_watch, "callbacks": [Held()]},
    )
    trainer.train()
    gc.collect()
    assert len(seen) == 4 and not any(reference() is not None for reference in seen)


class FakeLossScaling(TrainerCallback):
    """Switches on, at the start of training, what accelerate does with a loss scaler on a GPU."""

    def __init__(self):
        self.scales = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.accelerator.native_amp = True
        self.accelerator.state._mixed_precision = "fp16"

    def on_step_end(self, args, state, control, **kwargs):
        self.scales.append(self.accelerator.scaler.get_scale())


@pytest.mark.parametrize("broken", [False, True])
def test_sam_and_g_do_not_depend_on_a_loss_scaler(tmp_path, broken):
    rows = build_rows(12)
    steps = split(rows, MICRO_BATCH, 1)
    if broken:
        rows[5]["pixel_values"][:] = float("inf")
        del steps[1]
    callback = FakeLossScaling()
    trainer = build_trainer(
        tmp_path, rows, trainer={"callbacks": [callback]}, sam_rho=0.05, dsm_scaling="parameters", **DSM_OPTIONS
    )
    callback.accelerator = trainer.accelerator
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    try:
        trainer.train()
    finally:
        trainer.accelerator.state._mixed_precision = "no"
    model = build_model()
    _, g = hand_written_training(model, steps, scaling="parameters", rho=0.05)
    assert_weights_close(trainer.model, model)
    assert trainer.dsm.grad_norm.item() == pytest.approx(g, rel=1e-5)
    assert callback.scales == ([1024.0, 512.0, 512.0] if broken else [1024.0] * 3)
