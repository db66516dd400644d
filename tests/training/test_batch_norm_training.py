"""Training with batch norms: whose statistics are taken, when, and what resuming makes of them."""

import copy

import pytest
import torch
from hand_written_training import DSM_OPTIONS, X3D, build_model, build_rows, build_trainer, split

pytestmark = pytest.mark.usefixtures("short_garbage_collections")


def statistics(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers() if "norm" in name}


def assert_statistics(model: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    assert len(expected) == 3 * 12  # of the stem, of three blocks, of one shortcut, and of the finish
    for name, value in statistics(model).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "options", [{}, {"sam_rho": 0.5}, {"gradient_checkpointing": True}], ids=["plain", "SAM", "checkpointed"]
)
def test_the_statistics_are_those_of_each_micro_batch_once_under_the_weights_before_the_step(tmp_path, options):
    rows = build_rows(8)
    model = build_model(backbone=X3D)
    torch.nn.init.ones_(model.hdf.backbone.stages[0].blocks[0].project_norm.weight)
    expected = copy.deepcopy(model).train()
    for batch in split(rows, 4, 2)[0]:
        expected(batch["pixel_values"])
    build_trainer(tmp_path, rows, model=model, gradient_accumulation_steps=2, **DSM_OPTIONS, **options).train()
    assert_statistics(model, statistics(expected))
    assert all(count == 2 for name, count in statistics(model).items() if name.endswith("num_batches_tracked"))


def test_a_frozen_backbone_keeps_its_statistics_and_its_answers(tmp_path):
    model = build_model(backbone=X3D)
    model.hdf.backbone.requires_grad_(False)
    before, features = statistics(model), copy.deepcopy(model.hdf.backbone).eval()
    build_trainer(tmp_path, build_rows(8), model=model, **DSM_OPTIONS).train()
    assert_statistics(model, before)
    clips = torch.stack([row["pixel_values"] for row in build_rows(2, seed=5)])
    expected = features(clips).last_hidden_state
    torch.testing.assert_close(model.train().hdf.backbone(clips).last_hidden_state, expected)


@pytest.mark.parametrize("sam_rho", [0.0, 0.05])
def test_a_resumed_run_ends_with_the_weights_and_statistics_of_a_straight_one(tmp_path, sam_rho):
    options = {
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 2,
        "save_strategy": "steps",
        "save_steps": 3,
        "optim": "adamw_torch",
        "learning_rate": 1e-2,
        "train_sampling_strategy": "random",
        "sam_rho": sam_rho,
        **DSM_OPTIONS,
    }
    straight = build_model(backbone=X3D)
    build_trainer(tmp_path / "straight", build_rows(16), model=straight, **options).train()
    resumed = build_model(seed=3, backbone=X3D)
    trainer = build_trainer(tmp_path / "resumed", build_rows(16), model=resumed, **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "straight" / "checkpoint-3"))
    assert trainer.state.global_step == 4
    moved = build_model(backbone=X3D).state_dict()
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
    assert any((value - moved[name]).abs().max() > 1e-3 for name, value in straight.state_dict().items())
