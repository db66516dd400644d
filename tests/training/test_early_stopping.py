"""Early stopping on a scripted validation UAR, and after a resume."""

import pytest
import torch
from hand_written_training import assert_weights_close, build_model, build_rows, build_trainer, weights

from modeling_hdf.training.trainer import HDFTrainingArguments

pytestmark = pytest.mark.usefixtures("short_garbage_collections")

# UAR after each of at most eight steps. With a patience of 3 training ends after step 6, and step 3 is the best.
UARS = (0.3, 0.2, 0.6, 0.5, 0.6, 0.4, 0.9, 0.9)
OPTIONS = {
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "eval_steps": 1,
    "save_steps": 1,
    "load_best_model_at_end": True,
    "early_stopping_patience": 3,
}


def scripted_trainer(folder, *, seed=0, uars=UARS, **options):
    rows = build_rows(32)

    def metrics(evaluation):
        return {"uar": uars[trainer.state.global_step - 1], "war": trainer.state.global_step}

    trainer = build_trainer(
        folder,
        rows,
        model=build_model(seed=seed),
        trainer={"eval_dataset": rows[:4], "compute_metrics": metrics},
        **{**OPTIONS, **options},
    )
    return trainer


def evaluated_steps(trainer):
    return [entry["step"] for entry in trainer.state.log_history if "eval_uar" in entry]


def test_training_stops_after_so_many_evaluations_without_a_better_uar(tmp_path):
    trainer = scripted_trainer(tmp_path)
    trainer.train()
    assert trainer.state.global_step == 6 and evaluated_steps(trainer) == [1, 2, 3, 4, 5, 6]
    assert trainer.state.best_global_step == 3
    best = scripted_trainer(tmp_path / "best", early_stopping_patience=0, metric_for_best_model="uar", max_steps=3)
    best.train()
    assert_weights_close(trainer.model, best.model)


@pytest.mark.parametrize("patience", [0, 6])
def test_without_it_or_with_more_patience_training_goes_on(tmp_path, patience):
    trainer = scripted_trainer(tmp_path, early_stopping_patience=patience, metric_for_best_model="uar")
    trainer.train()
    assert trainer.state.global_step == 8 and trainer.state.best_global_step == 7


def test_the_uar_that_counts_is_the_one_of_the_validation_clips(tmp_path):
    rows = build_rows(32)
    trainer = build_trainer(
        tmp_path,
        rows,
        trainer={"eval_dataset": rows[:6]},
        learning_rate=0.0,
        **{**OPTIONS, "early_stopping_patience": 2},
    )
    trainer.train()
    assert evaluated_steps(trainer) == [1, 2, 3]  # the first, and two that are no better
    assert trainer.state.best_metric == trainer.state.log_history[1]["eval_uar"]


@pytest.mark.parametrize("restore_callbacks", [False, True])
@pytest.mark.parametrize("step", [2, 4, 5])
def test_a_resumed_run_stops_where_the_straight_one_does(tmp_path, step, restore_callbacks):
    straight = scripted_trainer(tmp_path / "run")
    straight.train()
    resumed = scripted_trainer(
        tmp_path / "run", seed=4, restore_callback_states_from_checkpoint=restore_callbacks, max_steps=8
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{step}"))
    assert resumed.state.global_step == 6 and evaluated_steps(resumed) == [1, 2, 3, 4, 5, 6]
    assert_weights_close(resumed.model, straight.model)
    # The checkpoints of the resumed run count on too.
    again = scripted_trainer(tmp_path / "run", seed=5)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-5"))
    assert again.state.global_step == 6


@pytest.mark.parametrize("restore_callbacks", [False, True])
def test_a_run_that_had_stopped_trains_no_further(tmp_path, restore_callbacks):
    straight = scripted_trainer(tmp_path / "run")
    straight.train()
    resumed = scripted_trainer(tmp_path / "run", seed=4, restore_callback_states_from_checkpoint=restore_callbacks)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))
    assert resumed.state.global_step == 6 and evaluated_steps(resumed) == [1, 2, 3, 4, 5, 6]
    assert_weights_close(resumed.model, straight.model)


def test_it_can_begin_at_a_checkpoint_trained_without(tmp_path):
    before = scripted_trainer(tmp_path / "run", early_stopping_patience=0, metric_for_best_model="uar", max_steps=4)
    before.train()
    resumed = scripted_trainer(tmp_path / "run")
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert resumed.state.global_step == 8  # steps 5 and 6 are no better, step 7 is


def test_a_second_training_counts_afresh(tmp_path):
    trainer = scripted_trainer(tmp_path)
    trainer.train()
    before = weights(trainer.model)
    trainer.train()
    assert trainer.state.global_step == 6
    assert any(not torch.equal(before[name], value) for name, value in weights(trainer.model).items())


def test_uar_is_the_metric_unless_another_is_named(tmp_path):
    def metric(**options):
        return HDFTrainingArguments(output_dir=str(tmp_path), **{**OPTIONS, **options}).metric_for_best_model

    assert metric() == "uar"
    assert metric(metric_for_best_model="war") == "war"
    assert metric(early_stopping_patience=0) == "loss"  # as in transformers
    assert HDFTrainingArguments(output_dir=str(tmp_path), **OPTIONS).greater_is_better


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping_patience": -1}, "`early_stopping_patience` is -1; it must be 0"),
        ({"eval_strategy": "no", "save_strategy": "no"}, "nothing is evaluated: set `eval_strategy`"),
        ({"load_best_model_at_end": False}, "set `load_best_model_at_end=True`"),
    ],
)
def test_arguments_that_cannot_work_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        HDFTrainingArguments(output_dir=str(tmp_path), **{**OPTIONS, **options})
