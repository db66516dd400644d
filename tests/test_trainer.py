"""HDFTrainer against hand-written training loops, the stock Trainer, and itself after a resume."""

import gc
import json

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from sklearn.metrics import recall_score
from torch.nn import functional as F
from transformers import Trainer, TrainerCallback, TrainingArguments

from modeling_hdf.configuration_hdf import HDFConfig
from modeling_hdf.dsm import adaptive_weights, information_bottleneck, robust_contrastive_loss
from modeling_hdf.metrics import compute_metrics
from modeling_hdf.modeling_hdf import HDFForVideoClassification
from modeling_hdf.trainer import HDFTrainer, HDFTrainingArguments

SCALINGS = ("parameters", "features", "fixed")
MICRO_BATCH = 4
DSM_LOGS = ("loss_ce", "loss_sc", "lambda_ce", "lambda_sc", "g")
# Every option away from its default, and weights that leave no term negligible.
DSM_OPTIONS = {
    "dsm_alpha": 3.0,
    "dsm_beta": 0.7,
    "dsm_temperature": 0.5,
    "dsm_eta": 0.6,
    "dsm_ib_weight": -0.4,
}


@pytest.fixture(autouse=True, scope="module")
def _short_garbage_collections():
    """The Trainer collects garbage in each `train()`, which takes longer than these trainings themselves."""
    gc.freeze()
    yield
    gc.unfreeze()


def build_model(seed: int = 0, dropout: float = 0.0) -> HDFForVideoClassification:
    torch.manual_seed(seed)
    backbone = {
        "model_type": "videomae",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "patch_size": 8,
        "tubelet_size": 2,
        "initializer_range": 0.2,
    }
    return HDFForVideoClassification(
        HDFConfig(backbone_config=backbone, image_size=16, num_frames=4, num_labels=3, classifier_dropout=dropout)
    )


def build_rows(num_rows: int, seed: int = 0) -> list[dict]:
    generator = np.random.default_rng(seed)
    return [
        {
            "pixel_values": torch.tensor(generator.normal(0, 1, (4, 3, 16, 16)), dtype=torch.float32),
            "labels": int(generator.integers(3)),
        }
        for _ in range(num_rows)
    ]


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def split(rows: list[dict], micro_batch: int, accumulation: int) -> list[list[dict[str, torch.Tensor]]]:
    """The steps of one epoch in the order of `rows`, each a list of micro-batches; the last may be short."""
    batches = [collate(rows[start : start + micro_batch]) for start in range(0, len(rows), micro_batch)]
    return [batches[start : start + accumulation] for start in range(0, len(batches), accumulation)]


def common_arguments(output_dir, **options) -> dict:
    """One epoch in the order of the rows, with plain SGD, everything logged; `options` take precedence."""
    return {
        "output_dir": str(output_dir),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "num_train_epochs": 1,
        "per_device_train_batch_size": MICRO_BATCH,
        "train_sampling_strategy": "sequential",
        "optim": "sgd",
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "remove_unused_columns": False,
        **options,
    }


def build_trainer(output_dir, rows, *, model=None, trainer=None, **options) -> HDFTrainer:
    arguments = HDFTrainingArguments(**common_arguments(output_dir, **options))
    model = model if model is not None else build_model()
    return HDFTrainer(model=model, args=arguments, train_dataset=rows, **(trainer or {}))


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def assert_weights_close(actual: torch.nn.Module, expected: torch.nn.Module, tolerance: float = 1e-6) -> None:
    for (name, parameter), other in zip(actual.named_parameters(), expected.parameters(), strict=True):
        assert (parameter - other).abs().max() <= tolerance, name


def largest_difference(actual: torch.nn.Module, expected: torch.nn.Module) -> float:
    return max((a - b).abs().max().item() for a, b in zip(actual.parameters(), expected.parameters(), strict=True))


def step_logs(trainer: Trainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def without_times(logs: list[dict]) -> list[dict]:
    times = ("runtime", "per_second")
    return [{name: value for name, value in entry.items() if not name.endswith(times)} for entry in logs]


# ---- The same trainings, written by hand ----


def smoothed_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    log_probability = logits - logits.exp().sum(1, keepdim=True).log()
    target = (1 - smoothing) * F.one_hot(labels, logits.shape[1]) + smoothing / logits.shape[1]
    return -(target * log_probability).sum(1).mean()


def global_norm(model: torch.nn.Module) -> torch.Tensor:
    return torch.sqrt(sum(p.grad.double().square().sum() for p in model.parameters() if p.grad is not None))


def hand_written_loss(model, batch, scaling, g, *, smoothing=0.0, options=None) -> tuple[torch.Tensor, dict]:
    """Loss of one micro-batch and what it logs; cross-entropy where `scaling` is None."""
    outputs = model(batch["pixel_values"])
    loss_ce = smoothed_cross_entropy(outputs.logits, batch["labels"], smoothing)
    if scaling is None:
        return loss_ce, {"loss": loss_ce.item()}
    options = {**DSM_OPTIONS, "dsm_variant": "figure", **(options or {})}
    loss_sc = robust_contrastive_loss(
        outputs.features,
        batch["labels"],
        temperature=options["dsm_temperature"],
        eta=options["dsm_eta"],
        variant=options["dsm_variant"],
    )
    loss_sc = loss_sc + options["dsm_ib_weight"] * information_bottleneck(outputs.features)
    if scaling == "features":
        g = torch.autograd.grad(loss_ce + loss_sc, outputs.features, retain_graph=True)[0].norm().item()
    alpha, beta = options["dsm_alpha"], options["dsm_beta"]
    lambda_ce, lambda_sc = (alpha, beta) if scaling == "fixed" else adaptive_weights(g, alpha=alpha, beta=beta)
    loss = lambda_ce * loss_ce + lambda_sc * loss_sc
    values = (loss.item(), loss_ce.item(), loss_sc.item(), lambda_ce, lambda_sc, g)
    return loss, dict(zip(("loss", *DSM_LOGS), values, strict=True))


def hand_written_training(
    model, steps, *, scaling=None, rho=0.0, smoothing=0.0, max_norm=1.0, optimizer=None
) -> tuple[list[dict], float]:
    """Trains `model` on `steps`, a list of lists of micro-batches. Returns the log of each step, and the last g."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.05)
    model.train()
    logs, g = [], 1.0

    def accumulate(batches) -> list[dict]:
        optimizer.zero_grad()
        records = []
        for batch in batches:
            loss, record = hand_written_loss(model, batch, scaling, g, smoothing=smoothing)
            (loss / len(batches)).backward()
            records.append(record)
        return records

    for batches in steps:
        records = accumulate(batches)
        norm = global_norm(model)
        if rho > 0:
            before = weights(model)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter += rho * parameter.grad / norm
            accumulate(batches)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(before[name])
        clip = (max_norm / (global_norm(model) + 1e-6)).clamp(max=1.0)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad *= clip
        optimizer.step()
        g = norm.item()
        means = {name: sum(record[name] for record in records) / len(records) for name in records[0]}
        logs.append({**means, "grad_norm": g})
    return logs, g


def assert_logs_close(actual: list[dict], expected: list[dict]) -> None:
    assert len(actual) == len(expected)
    for entry, other in zip(actual, expected, strict=True):
        assert {name: entry[name] for name in other} == pytest.approx(other, rel=2e-5, abs=1e-6)


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
@pytest.mark.parametrize("variant", ["figure", "release"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_compute_loss_is_the_weighted_sum_of_the_functions(tmp_path, scaling, variant, smoothing):
    batch = collate(build_rows(8))
    options = {**DSM_OPTIONS, "dsm_variant": variant}
    trainer = build_trainer(tmp_path, None, dsm_scaling=scaling, label_smoothing_factor=smoothing, **options)
    trainer.dsm.update(2.0)
    model = trainer.model.train()
    expected, _ = hand_written_loss(model, batch, scaling, 2.0, smoothing=smoothing, options=options)
    loss, outputs = trainer.compute_loss(model, dict(batch), return_outputs=True)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.compute_loss(model, dict(batch)).item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(outputs.logits, model(**batch).logits)


def test_dsm_arguments_have_the_documented_defaults(tmp_path):
    arguments = HDFTrainingArguments(output_dir=str(tmp_path))
    names = ["", "_variant", "_scaling", "_alpha", "_beta", "_temperature", "_eta", "_ib_weight"]
    assert [getattr(arguments, f"dsm{name}") for name in names] == [
        True,
        "figure",
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
    [("dsm_variant", "paper"), ("dsm_scaling", "adaptive"), ("dsm_alpha", -1.0), ("dsm_eta", 0.0), ("sam_rho", -0.05)],
)
def test_arguments_refuse_values_out_of_range(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"`{name.removeprefix('dsm_')}` is "):
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
    assert largest_difference(plain.model, evaluated.model) == 0
    assert step_logs(plain) == step_logs(evaluated)
    assert torch.equal(plain.dsm.grad_norm, evaluated.dsm.grad_norm)


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
        weight_decay=0.05,
        eval_strategy="epoch",
    )
    shared = {"train_dataset": rows, "eval_dataset": build_rows(6, seed=1), "compute_metrics": compute_metrics}
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
    assert without_times(ours.state.log_history) == without_times(stock.state.log_history)
    assert largest_difference(ours.model, stock.model) == 0
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


# ---- SAM ----


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
        assert third["g"] == broken["g"]
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


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_sam_is_refused_where_parameters_are_split(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Accelerator, "distributed_type", kind)
    build_trainer(tmp_path, build_rows(4), sam_rho=0.0)
    with pytest.raises(ValueError, match=f"SAM does not work under {kind.value}"):
        build_trainer(tmp_path, build_rows(4), sam_rho=0.05)


# ---- Checkpoints ----

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
