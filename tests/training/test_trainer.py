"""HDFTrainer against hand-written training loops and the stock Trainer."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from hand_written_training import (
    DSM_LOGS,
    DSM_OPTIONS,
    MICRO_BATCH,
    SCALINGS,
    assert_logs_close,
    assert_weights_close,
    build_model,
    build_rows,
    build_trainer,
    collate,
    common_arguments,
    hand_written_loss,
    hand_written_training,
    largest_difference,
    smoothed_cross_entropy,
    split,
    step_logs,
    without_times,
)
from huggingface_hub.errors import StrictDataclassError
from sklearn.metrics import recall_score
from transformers import Trainer, TrainingArguments, VideoMAEForVideoClassification
from transformers.trainer_utils import HPSearchBackend

from modeling_hdf import HDFModel
from modeling_hdf.hub.trainer import HDFTrainer
from modeling_hdf.training.arguments import HDFTrainingArguments
from modeling_hdf.training.pretraining import PretrainingArguments
from modeling_hdf.training.validation import ValidationMetrics

pytestmark = pytest.mark.usefixtures("short_garbage_collections")


# Rows of an epoch by accumulation: three whole steps; with 2 the last step has one short micro-batch.
ROWS = {1: 12, 4: 48, 2: 10}


@pytest.mark.parametrize("accumulation", ROWS)
@pytest.mark.parametrize("rho", [0.0, 0.05])
@pytest.mark.parametrize("scaling", [None, *SCALINGS])
def test_training_equals_a_hand_written_loop(tmp_path, scaling, rho, accumulation):
    rows = build_rows(ROWS[accumulation])
    options = {} if scaling is None else {"dsm_scaling": scaling, **DSM_OPTIONS}
    trainer = build_trainer(
        tmp_path,
        rows,
        dsm=scaling is not None,
        sam_rho=rho,
        label_smoothing_factor=0.1,
        gradient_accumulation_steps=accumulation,
        **options,
    )
    trainer.train()

    model, plain = build_model(), build_model()
    steps = split(rows, MICRO_BATCH, accumulation)
    expected, g = hand_written_training(model, steps, scaling=scaling, rho=rho, smoothing=0.1)
    assert_weights_close(trainer.model, model)
    logs = step_logs(trainer)
    assert_logs_close(logs, expected)
    assert all(set(DSM_LOGS) <= set(entry) for entry in logs) == (scaling is not None)
    assert max(entry["grad_norm"] for entry in logs) > 1  # clipping was at work: g is the norm before it
    if scaling == "parameters":
        assert [entry["g"] for entry in logs] == pytest.approx([1.0, *[e["grad_norm"] for e in logs[:-1]]], rel=1e-6)
        assert trainer.dsm.grad_norm.item() == pytest.approx(g, rel=1e-5)
    # Smoothing and SAM matter beyond the tolerance above, or the comparison would not see them.
    hand_written_training(plain, steps, scaling=scaling, rho=0.0, smoothing=0.0 if rho == 0 else 0.1)
    assert largest_difference(plain, model) > 1e-4


# ---- DSM ----


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_compute_loss_is_the_weighted_sum_of_the_functions(tmp_path, scaling, smoothing):
    batch = collate(build_rows(8))
    trainer = build_trainer(tmp_path, None, dsm_scaling=scaling, label_smoothing_factor=smoothing, **DSM_OPTIONS)
    trainer.dsm.update(2.0)
    model = trainer.model.train()
    expected, _ = hand_written_loss(model, batch, scaling, 2.0, smoothing=smoothing)
    loss, outputs = trainer.compute_loss(model, dict(batch), return_outputs=True)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.compute_loss(model, dict(batch)).item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(outputs.logits, model(**batch).logits)


def test_dsm_arguments_have_the_documented_defaults(tmp_path):
    arguments = HDFTrainingArguments(output_dir=str(tmp_path))
    names = ["", "_scaling", "_alpha", "_beta", "_temperature", "_eta", "_ib_weight"]
    assert [getattr(arguments, f"dsm{name}") for name in names] == [
        True,
        "features",
        10,
        0.1,
        0.07,
        0.2,
        0.1,
    ]
    assert arguments.sam_rho == 0
    assert arguments.remove_unused_columns is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("dsm_scaling", "adaptive"), ("dsm_alpha", -1.0), ("dsm_eta", 0.0), ("dsm_ib_weight", float("inf"))],
        *[("label_smoothing_factor", 2.0), ("sam_rho", -0.05)],
    ],
)
def test_arguments_refuse_values_out_of_range(tmp_path, name, value):
    with pytest.raises(ValueError, match=rf"`{name}`\)? is "):
        HDFTrainingArguments(output_dir=str(tmp_path), **{name: value})


def test_logs_are_means_over_the_steps_since_the_last_log(tmp_path):
    rows = build_rows(16)
    options = {"dsm_scaling": "parameters", "max_grad_norm": 0.5, **DSM_OPTIONS}
    every_step, every_other = (build_trainer(tmp_path, rows, logging_steps=steps, **options) for steps in (1, 2))
    every_step.train(), every_other.train()
    single, means = step_logs(every_step), step_logs(every_other)
    assert (len(single), len(means)) == (4, 2)
    for name in ("loss", *DSM_LOGS):
        expected = [(single[i][name] + single[i + 1][name]) / 2 for i in (0, 2)]
        assert [entry[name] for entry in means] == pytest.approx(expected, rel=1e-5), name


def test_g_includes_the_cross_entropy_also_where_autocast_copies_the_outputs(tmp_path):
    rows = build_rows(8)
    exact, rounded = (
        build_trainer(tmp_path, rows, dsm_scaling="features", bf16=bf16, **DSM_OPTIONS) for bf16 in (False, True)
    )
    exact.train(), rounded.train()
    assert step_logs(rounded)[0]["g"] == pytest.approx(step_logs(exact)[0]["g"], rel=0.02)


@pytest.mark.parametrize("option", ["torch_compile", "ddp_static_graph"])
def test_g_of_the_features_is_refused_where_their_graph_is_hidden(tmp_path, option):
    with pytest.raises(ValueError, match=f"which `{option}` hides"):
        build_trainer(tmp_path, build_rows(4), dsm_scaling="features", **{option: True})
    build_trainer(tmp_path, build_rows(4), dsm_scaling="parameters", **{option: True})


def test_micro_batches_are_averaged_whatever_the_model_says_of_its_own_loss(tmp_path):
    rows = build_rows(32)
    model = build_model()
    model.accepts_loss_kwargs = True
    options = {"dsm_scaling": "fixed", "gradient_accumulation_steps": 4, **DSM_OPTIONS}
    trainer = build_trainer(tmp_path, rows, model=model, **options)
    trainer.train()
    reference = build_model()
    expected, _ = hand_written_training(reference, split(rows, MICRO_BATCH, 4), scaling="fixed")
    assert_weights_close(trainer.model, reference)
    assert_logs_close(step_logs(trainer), expected)


def test_labels_that_the_model_has_no_class_for_are_refused_while_dsm_trains(tmp_path):
    rows = build_rows(4)
    rows[2]["labels"] = 3
    with pytest.raises(ValueError, match=r"`labels` holds \[3\]"):
        build_trainer(tmp_path, rows).train()


# ---- Evaluation ----


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dsm", [True, False])
def test_evaluation_reports_cross_entropy_war_and_uar_for_any_batch_size(tmp_path, dsm, smoothing):
    rows = build_rows(11)
    model = build_model(dropout=0.5)
    logits = model.eval()(**collate(rows)).logits.detach()
    labels = collate(rows)["labels"]
    expected = {
        "eval_loss": smoothed_cross_entropy(logits, labels, smoothing).item(),
        "eval_war": (logits.argmax(1) == labels).float().mean().item(),
        "eval_uar": recall_score(labels, logits.argmax(1), average="macro", labels=labels.unique()),
    }
    assert expected["eval_war"] != expected["eval_uar"]
    for batch_size in (2, 11):
        trainer = build_trainer(
            tmp_path,
            None,
            model=model,
            trainer={"eval_dataset": rows},
            dsm=dsm,
            label_smoothing_factor=smoothing,
            per_device_eval_batch_size=batch_size,
        )
        trainer.dsm.update(5.0)
        metrics = trainer.evaluate()
        assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-5)
        assert not set(metrics) & {f"eval_{name}" for name in DSM_LOGS}
        assert trainer.dsm.grad_norm == 5
        assert trainer.predict(rows).predictions.shape == (11, 3)  # the logits alone


@pytest.mark.parametrize("scaling", ["parameters", "features"])
def test_evaluating_during_training_changes_neither_training_nor_its_logs(tmp_path, scaling):
    rows = build_rows(12)
    options = {"dsm_scaling": scaling, **DSM_OPTIONS}
    plain = build_trainer(tmp_path, rows, **options)
    evaluated = build_trainer(
        tmp_path, rows, trainer={"eval_dataset": rows}, eval_strategy="steps", eval_steps=1, **options
    )
    plain.train(), evaluated.train()
    assert sum("eval_loss" in entry for entry in evaluated.state.log_history) == 3
    assert_weights_close(evaluated.model, plain.model)
    assert_logs_close(step_logs(evaluated), step_logs(plain))
    torch.testing.assert_close(evaluated.dsm.grad_norm, plain.dsm.grad_norm)


def test_metrics_can_be_replaced(tmp_path):
    rows = build_rows(4)
    trainer = build_trainer(
        tmp_path, None, trainer={"eval_dataset": rows, "compute_metrics": lambda evaluation: {"clips": 4}}
    )
    metrics = trainer.evaluate()
    assert metrics["eval_clips"] == 4 and "eval_war" not in metrics


# ---- Without DSM and SAM: the stock Trainer ----


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_dsm_and_sam_every_step_is_the_stock_trainers(tmp_path, smoothing, accumulation):
    rows = build_rows(18)
    options = common_arguments(
        tmp_path,
        label_smoothing_factor=smoothing,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=2,
        train_sampling_strategy="random",
        optim="adamw_torch",
        lr_scheduler_type="cosine",
        warmup_steps=2,
        weight_decay=0.0,  # which spares other parameters
        eval_strategy="epoch",
    )
    shared = {"train_dataset": rows, "eval_dataset": build_rows(6, seed=1), "compute_metrics": ValidationMetrics()}
    trainers = []
    for kind, arguments in (
        (Trainer, TrainingArguments(**options)),
        (HDFTrainer, HDFTrainingArguments(dsm=False, sam_rho=0.0, **options)),
    ):
        # Creating a trainer sets the seed of the dropout.
        trainers.append(kind(model=build_model(dropout=0.3), args=arguments, **shared))
        trainers[-1].train()
    stock, ours = trainers

    assert len(step_logs(stock)) == ours.state.global_step == (10 if accumulation == 1 else 6)
    for entry, expected in zip(
        without_times(ours.state.log_history), without_times(stock.state.log_history), strict=True
    ):
        assert entry == pytest.approx(expected, rel=1e-5)
    assert_weights_close(ours.model, stock.model)
    assert largest_difference(ours.model, build_model()) > 1e-2


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_without_dsm_accumulating_four_micro_batches_equals_one_batch(tmp_path, rho):
    rows = build_rows(24)
    whole, accumulated = (
        build_trainer(
            tmp_path,
            rows,
            dsm=False,
            sam_rho=rho,
            per_device_train_batch_size=8 // accumulation,
            gradient_accumulation_steps=accumulation,
        )
        for accumulation in (1, 4)
    )
    whole.train(), accumulated.train()
    assert whole.state.global_step == accumulated.state.global_step == 3
    assert_weights_close(accumulated.model, whole.model)
    for name in ("loss", "grad_norm"):
        assert [entry[name] for entry in step_logs(accumulated)] == pytest.approx(
            [entry[name] for entry in step_logs(whole)], rel=1e-5
        )


def test_a_loss_function_that_counts_the_clips_of_a_step_is_not_averaged_again(tmp_path):
    def summed(outputs, labels, num_items_in_batch=None):
        return torch.nn.functional.cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch

    rows = build_rows(24)
    trainers = [
        build_trainer(tmp_path, rows, dsm=False, gradient_accumulation_steps=2, trainer=extra)
        for extra in ({"compute_loss_func": summed}, {})
    ]
    for trainer in trainers:
        trainer.train()
    assert_weights_close(trainers[0].model, trainers[1].model)


def test_a_second_training_logs_its_own_steps_alone(tmp_path):
    rows = build_rows(3 * MICRO_BATCH)
    again, alone = (build_trainer(tmp_path, rows, logging_steps=2, sam_rho=0.05, **DSM_OPTIONS) for _ in range(2))
    again.train()  # the third step is in no log
    alone.model.load_state_dict(again.model.state_dict())
    again.args.sam_rho = alone.args.sam_rho = 0.0
    again.train(), alone.train()
    assert_logs_close(step_logs(again), step_logs(alone))


def test_a_second_training_starts_dsm_afresh(tmp_path):
    rows = build_rows(8)
    trainer = build_trainer(tmp_path, rows, dsm_scaling="parameters", **DSM_OPTIONS)
    trainer.train()
    assert trainer.dsm.grad_norm != 1
    trainer.train()
    assert [entry for entry in step_logs(trainer) if entry["step"] == 1][-1]["g"] == 1


def test_a_trial_of_a_search_trains_with_the_loss_of_its_own_arguments(tmp_path):
    class Rows(list):
        labels = [0, 1, 2, 2]

    rows = Rows(build_rows(4))
    tried = {"label_smoothing_factor": 0.2, "logit_adjustment": 1.0, **DSM_OPTIONS}
    searching, told = build_trainer(tmp_path, rows), build_trainer(tmp_path, rows, **tried)
    searching.hp_search_backend = HPSearchBackend.WANDB  # whose trials are dictionaries, and need no package
    searching._hp_search_setup(tried)
    searching.train(), told.train()
    assert_logs_close(step_logs(searching), step_logs(told))
    assert_weights_close(searching.model, told.model)


def test_a_loss_function_beside_dsm_is_refused(tmp_path):
    def zero(outputs, labels, num_items_in_batch=None):
        return outputs.logits.sum() * 0

    with pytest.raises(ValueError, match="compute_loss_func.*dsm=False"):
        build_trainer(tmp_path, build_rows(4), trainer={"compute_loss_func": zero})
    build_trainer(tmp_path, build_rows(4), trainer={"compute_loss_func": zero}, dsm=False)


def test_a_model_that_was_told_to_solve_another_problem_is_refused(tmp_path):
    model = build_model()
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(StrictDataclassError, match="`problem_type` is 'multi_label_classification'.*one expression"):
        build_trainer(tmp_path, build_rows(4), model=model)


@pytest.mark.parametrize("other_class", [HDFModel, VideoMAEForVideoClassification])
def test_other_models_are_refused(tmp_path, other_class):
    config = build_model().config
    other = other_class(config if other_class is HDFModel else config.backbone_config)
    with pytest.raises(TypeError, match=f"`model` is a {other_class.__name__}; HDFTrainer trains HDFForVideo"):
        build_trainer(tmp_path, build_rows(4), model=other)


def test_arguments_of_the_stock_trainer_are_refused(tmp_path):
    with pytest.raises(TypeError, match="TrainingArguments; HDFTrainer takes HDFTrainingArguments"):
        HDFTrainer(model=build_model(), args=TrainingArguments(output_dir=str(tmp_path)))


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.XLA])
def test_training_is_refused_where_parameters_are_split(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Accelerator, "distributed_type", kind)
    with pytest.raises(ValueError, match=f"does not train under {kind.value}.*under DDP"):
        build_trainer(tmp_path, build_rows(4))


def test_a_loss_function_is_not_replaced_where_labels_are_soft(tmp_path):
    def zero(outputs, labels, num_items_in_batch=None):
        return outputs.logits.sum() * 0

    rows = [{**row, "soft_labels": torch.full((3,), 1 / 3)} for row in build_rows(4)]
    trainer = build_trainer(tmp_path, rows, trainer={"compute_loss_func": zero}, dsm=False)
    with pytest.raises(ValueError, match="compute_loss_func.*soft labels"):
        trainer.train()


@pytest.mark.parametrize("arguments", [HDFTrainingArguments, PretrainingArguments])
def test_half_precision_with_loss_scaling_is_refused_on_a_cpu(tmp_path, monkeypatch, arguments):
    with pytest.raises(ValueError, match="`fp16` needs a GPU"):
        arguments(output_dir=str(tmp_path), fp16=True, use_cpu=True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # as `accelerate launch --mixed_precision fp16` does
    with pytest.raises(ValueError, match="`fp16` needs a GPU"):
        arguments(output_dir=str(tmp_path), use_cpu=True)
