"""Tiny trainings that one process and two run alike; as a script, one of the two processes."""

import gc
import os
import sys
from pathlib import Path

import numpy as np
import torch
from hand_written_training import (
    DSM_LOGS,
    DSM_OPTIONS,
    VIDEOMAE,
    X3D,
    build_model,
    build_rows,
    build_trainer,
    collate,
    step_logs,
)
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.utils.data import Dataset
from transformers import TrainerCallback, set_seed

GLOBAL_BATCH = 8
STEPS = 3

# Options of each case, and what it needs besides: `mixed` rows have soft labels, half of the first ones are mixed;
# `model` is another backbone.
CASES = {
    f"{scaling}, accumulation {accumulation}, rho {rho}": {
        "dsm_scaling": scaling,
        "gradient_accumulation_steps": accumulation,
        "sam_rho": rho,
    }
    for scaling in ("features", "parameters")
    for accumulation in (1, 4)
    for rho in (0.0, 0.05)
} | {
    "fixed": {"dsm_scaling": "fixed"},
    "defaults of DSM": {
        "dsm_alpha": 10.0,
        "dsm_beta": 0.1,
        "dsm_temperature": 0.07,
        "dsm_eta": 0.2,
        "dsm_ib_weight": 0.1,
    },
    "mixed": {"mixed": True, "gradient_accumulation_steps": 2},
    "mixed, cross-entropy": {"mixed": True, "dsm": False},
    "cross-entropy": {"dsm": False, "gradient_accumulation_steps": 4},
    "cross-entropy, SAM": {"dsm": False, "sam_rho": 0.05},
    "label smoothing, AdamW": {"label_smoothing_factor": 0.1, "optim": "adamw_torch", "adam_epsilon": 1e-3},
    # Batch norms over all processes.
    "X3D": {"model": X3D, "gradient_accumulation_steps": 2},
    "X3D, SAM": {"model": X3D, "sam_rho": 0.05},
    "X3D, checkpointed": {"model": X3D, "gradient_checkpointing": True},
    "order random": {"train_sampling_strategy": "random"},
    "order balanced": {"train_sampling_strategy": "random", "sampler": "balanced"},
    "order per_class": {"train_sampling_strategy": "random", "sampler": "per_class", "clips_per_class": 2},
}


class Rows(Dataset):
    """Rows that write down which of them are asked for."""

    def __init__(self, num_rows: int, mixed: bool = False):
        self.rows = build_rows(num_rows)
        self.labels = [row["labels"] for row in self.rows]
        self.asked: list[int] = []
        generator = np.random.default_rng(1)
        for index, row in enumerate(self.rows if mixed else []):
            row["soft_labels"] = torch.tensor(generator.dirichlet(np.ones(3)), dtype=torch.float32)
            # Not as many in one process as in the other.
            row["is_mixed"] = torch.tensor(index % GLOBAL_BATCH in (1, 2, 3, 6))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        self.asked.append(int(index))
        return self.rows[index]


def collate_all(rows: list[dict]) -> dict[str, torch.Tensor]:
    extra = {name: torch.stack([row[name] for row in rows]) for name in rows[0] if name in ("soft_labels", "is_mixed")}
    return {**collate(rows), **extra}


class Recorder(TrainerCallback):
    """Keeps the gradients of each optimizer step, and counts how often gradients were reduced over processes."""

    def __init__(self):
        self.gradients: list[torch.Tensor] = []
        self.num_reductions = 0

    def on_train_begin(self, args, state, control, **kwargs):
        if distributed.is_initialized():
            self.wrapped().register_comm_hook(None, self.reduce)

    def reduce(self, _, bucket):
        self.num_reductions += bucket.is_last()
        return allreduce_hook(None, bucket)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradients.append(
            torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in model.parameters()])
        )


def flat_weights(model: torch.nn.Module) -> torch.Tensor:
    """Parameters, and the statistics of batch norms."""
    values = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
    return torch.cat([value.detach().flatten() for value in values]).clone()


def num_processes() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def process_options() -> dict:
    return {"per_device_train_batch_size": GLOBAL_BATCH // num_processes()}


def train_case(name: str, folder: Path) -> dict:
    """What one process sees of a case: logs of each step, gradients `(steps, P)`, weights `(P,)`, rows asked for."""
    options = dict(CASES[name])
    rows = Rows(STEPS * GLOBAL_BATCH * options.get("gradient_accumulation_steps", 1), options.pop("mixed", False))
    recorder = Recorder()
    trainer = build_trainer(
        folder,
        rows,
        model=build_model(backbone=options.pop("model", VIDEOMAE)),
        trainer={"callbacks": [recorder], "data_collator": collate_all},
        **{**DSM_OPTIONS, **process_options(), **options},
    )
    recorder.wrapped = lambda: trainer.model_wrapped
    before = flat_weights(trainer.model)
    trainer.train()
    return {
        "logs": [
            {k: v for k, v in entry.items() if k in ("loss", "grad_norm", *DSM_LOGS)} for entry in step_logs(trainer)
        ],
        "gradients": torch.stack(recorder.gradients),
        "before": before,
        "after": flat_weights(trainer.model),
        "g": trainer.dsm.grad_norm.item(),
        "asked": rows.asked,
        "num_reductions": recorder.num_reductions,
    }


def resume(sampler: str, folder: Path) -> dict:
    """Six steps straight, and three with three more after a resume in the middle of an epoch."""
    results = {}
    for run, checkpoint in (("straight", None), ("resumed", folder / "straight" / "checkpoint-5")):
        rows = Rows(4 * GLOBAL_BATCH * 2)
        trainer = build_trainer(
            folder / run,
            rows,
            model=build_model(seed=0 if checkpoint is None else 7, dropout=0.3),
            **DSM_OPTIONS,
            **process_options(),
            dsm_scaling="parameters",
            sampler=sampler,
            clips_per_class=2,
            train_sampling_strategy="random",
            gradient_accumulation_steps=2,
            num_train_epochs=2,
            save_strategy="steps",
            save_steps=5,
            optim="adamw_torch",
            learning_rate=1e-3,
            sam_rho=0.05,
        )
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        results[run] = {
            "logs": step_logs(trainer),
            "after": flat_weights(trainer.model),
            "g": trainer.dsm.grad_norm.item(),
            "asked": rows.asked,
        }
    return results


def evaluate(folder: Path) -> dict:
    """Metrics of eleven rows, in batches that do not come out even, and the logits."""
    rows = build_rows(11)
    trainer = build_trainer(
        folder,
        None,
        trainer={"eval_dataset": rows},
        per_device_eval_batch_size=4 // num_processes(),
        label_smoothing_factor=0.1,
    )
    metrics = trainer.evaluate()
    return {
        "metrics": {name: metrics[f"eval_{name}"] for name in ("loss", "war", "uar")},
        "logits": torch.tensor(trainer.predict(rows).predictions),
    }


def uneven(folder: Path) -> dict:
    """Sizes of the batches of an epoch that does not divide by the global batch."""
    sizes = []

    def collate_and_count(rows):
        sizes.append(len(rows))
        return collate(rows)

    trainer = build_trainer(folder, build_rows(13), trainer={"data_collator": collate_and_count}, **process_options())
    trainer.train()
    message = ""
    try:
        build_trainer(folder, build_rows(13), accelerator_config={"even_batches": False})
    except ValueError as error:
        message = str(error)
    return {"sizes": sizes, "logs": step_logs(trainer), "message": message}


def main(folder: Path) -> None:
    gc.freeze()  # the Trainer collects garbage in each training
    results = {"cases": {}, "resume": {}}
    for name in CASES:
        set_seed(0)
        results["cases"][name] = train_case(name, folder / "runs")
    for sampler in ("random", "per_class"):
        results["resume"][sampler] = resume(sampler, folder / f"resume-{sampler}")
    results["evaluate"] = evaluate(folder / "runs")
    results["uneven"] = uneven(folder / "runs")
    torch.save(results, folder / f"results-{distributed.get_rank()}.pt")


if __name__ == "__main__":
    shared = Path(sys.argv[1])
    distributed.init_process_group(
        "gloo", f"file://{shared}/rendezvous", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"])
    )
    main(shared)
    distributed.destroy_process_group()  # after main() has let go of everything, or exits are flaky
