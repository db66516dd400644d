"""Tiny trainings, and the same trainings written by hand, for the tests of the trainer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import Trainer

from modeling_hdf.configuration_hdf import HDFConfig
from modeling_hdf.hub.trainer import HDFTrainer
from modeling_hdf.modeling_hdf import HDFForVideoClassification
from modeling_hdf.training.arguments import HDFTrainingArguments
from modeling_hdf.training.dsm import adaptive_weights, information_bottleneck, robust_contrastive_loss

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


VIDEOMAE = {
    "model_type": "videomae",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": 8,
    "tubelet_size": 2,
    "initializer_range": 0.2,
}
X3D = {
    "model_type": "hdf_x3d",
    "stem_channels": 4,
    "stem_kernel": 3,
    "stage_channels": [4, 6],
    "stage_depths": [2, 1],
    "stage_strides": [1, 2],
    "head_channels": 12,
    "initializer_range": 0.2,
}


def build_model(seed: int = 0, dropout: float = 0.0, backbone: dict = VIDEOMAE) -> HDFForVideoClassification:
    torch.manual_seed(seed)
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


def hand_written_loss(model, batch, scaling, g, *, smoothing=0.0) -> tuple[torch.Tensor, dict]:
    """Loss of one micro-batch and what it logs; cross-entropy where `scaling` is None."""
    outputs = model(batch["pixel_values"])
    loss_ce = smoothed_cross_entropy(outputs.logits, batch["labels"], smoothing)
    if scaling is None:
        return loss_ce, {"loss": loss_ce.item()}
    loss_sc = robust_contrastive_loss(
        outputs.features,
        batch["labels"],
        temperature=DSM_OPTIONS["dsm_temperature"],
        eta=DSM_OPTIONS["dsm_eta"],
    )
    loss_sc = loss_sc + DSM_OPTIONS["dsm_ib_weight"] * information_bottleneck(outputs.features)
    if scaling == "features":
        g = torch.autograd.grad(loss_ce + loss_sc, outputs.features, retain_graph=True)[0].norm().item()
    alpha, beta = DSM_OPTIONS["dsm_alpha"], DSM_OPTIONS["dsm_beta"]
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


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder."""
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*"))
