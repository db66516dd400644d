"""HDFTrainer against itself after a resume."""

import json

import pytest
from hand_written_training import (
    DSM_OPTIONS,
    assert_logs_close,
    assert_weights_close,
    build_model,
    build_rows,
    build_trainer,
    step_logs,
)

pytestmark = pytest.mark.usefixtures("short_garbage_collections")


RESUMABLE = {
    "num_train_epochs": 2,
    "save_strategy": "steps",
    "save_steps": 3,
    "train_sampling_strategy": "random",
    "optim": "adamw_torch",
    "learning_rate": 1e-3,
    "lr_scheduler_type": "linear",
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    **DSM_OPTIONS,
}


@pytest.mark.parametrize("restore_callbacks", [False, True])
@pytest.mark.parametrize(("scaling", "rho"), [("parameters", 0.0), ("parameters", 0.05), ("features", 0.0)])
def test_resuming_gives_the_straight_run(tmp_path, scaling, rho, restore_callbacks):
    # Four steps per epoch: the checkpoint after step 3 lies within the first one.
    rows = build_rows(24)
    options = {**RESUMABLE, "dsm_scaling": scaling, "sam_rho": rho}
    straight = build_trainer(tmp_path / "straight", rows, model=build_model(dropout=0.3), **options)
    straight.train()
    resumed = build_trainer(
        tmp_path / "resumed",
        rows,
        model=build_model(seed=7, dropout=0.3),
        restore_callback_states_from_checkpoint=restore_callbacks,
        **options,
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "checkpoint-3"))

    assert straight.state.global_step == resumed.state.global_step == 8
    assert_weights_close(resumed.model, straight.model)
    assert_logs_close(step_logs(resumed), step_logs(straight))
    assert resumed.dsm.grad_norm.item() == pytest.approx(straight.dsm.grad_norm.item(), abs=1e-6)
    assert resumed.dsm.grad_norm != 1
    # The checkpoints of the resumed run hold the state of its own DSM, not the one that it resumed from.
    saved = [read_saved_state(tmp_path / run / "checkpoint-6") for run in ("straight", "resumed")]
    assert saved[1] == pytest.approx(saved[0], abs=1e-6)
    assert saved[1] == pytest.approx(step_logs(resumed)[5]["grad_norm"], abs=1e-6)


def read_saved_state(checkpoint) -> float:
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    return state["stateful_callbacks"]["DSMStateCallback"]["attributes"]["grad_norm"]


def test_dsm_can_begin_at_a_checkpoint_trained_without_it(tmp_path):
    rows = build_rows(24)
    options = {**RESUMABLE, "dsm_scaling": "parameters"}
    build_trainer(tmp_path / "before", rows, dsm=False, max_steps=3, **options).train()
    trainer = build_trainer(tmp_path / "after", rows, **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "before" / "checkpoint-3"))
    logs = [entry for entry in step_logs(trainer) if "g" in entry]
    assert [entry["step"] for entry in logs] == [4, 5, 6, 7, 8]
    assert logs[0]["g"] == 1
    assert read_saved_state(tmp_path / "after" / "checkpoint-6") == pytest.approx(logs[2]["grad_norm"], rel=1e-6)
