"""The runs of `controlled_ablation.py`: backbones, arms and conditions, as `docs/ablation-protocol.md` fixes them."""

from dataclasses import dataclass

from ablation_settings import BACKBONE, DATA, START

SEEDS = tuple(range(8))
TUNING_SEEDS = (100, 101, 102)
EPOCH_FACTORS = (1, 2, 4)
CONVERGENCE_ARMS = ("none", "normalized")
NUM_STARTS = 3
CORRUPTED_CLIPS = 420
CORRUPTED_SEVERITIES = (2, 4)
LIVENESS_CLIPS = 128
LONG_TAIL = 50.0
LABEL_NOISE = 0.2
FOREIGN_SHARES = (0.1, 0.5)

_TRAINING = {
    "per_device_train_batch_size": 16,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
}


@dataclass(frozen=True)
class Backbone:
    """
    A backbone with its data, its training and, if it has one, its pretraining without labels.

    `training` holds the base epochs; `epoch_factor` is the multiple of them that `--convergence` chose for the table,
    None before that.
    """

    data: dict
    backbone: dict
    training: dict
    start: dict | None = None
    epoch_factor: int | None = None


BACKBONES = {
    "videomae": Backbone(
        data=DATA,
        backbone={"model_type": "videomae", **BACKBONE},
        training={"num_train_epochs": 16, **_TRAINING},
        start=START,
        epoch_factor=4,
    ),
    "x3d": Backbone(
        data=DATA | {"image_size": 48},
        backbone={
            "model_type": "hdf_x3d",
            "stem_channels": 8,
            "stage_channels": [8, 16, 32, 48],
            "stage_depths": [1, 1, 2, 1],
            "stage_strides": [1, 2, 2, 2],
            "expansion": 2.0,  # channel counts that are multiples of 16 take half the time of the usual 2.25 on a CPU
            "head_channels": 128,
        },
        training={"num_train_epochs": 10, **_TRAINING, "learning_rate": 3e-3},
        epoch_factor=4,
    ),
}

_DSM = {"dsm": True, "dsm_scaling": "ratio", "dsm_ratio": 0.3, "dsm_ib_within_classes": True}
_NO_DSM = {"dsm": False}


def _dam(variant: str) -> dict:
    return {"dam_variant": variant, "dam_init": "identity"}


# Fields of the model and of the training.
ARMS: dict[str, tuple[dict, dict]] = {
    "none": ({"dam_layers": []}, _NO_DSM),
    "static": (_dam("static"), _NO_DSM),
    "temporal": (_dam("temporal"), _NO_DSM),
    "normalized": (_dam("normalized"), _NO_DSM),
    "dsm": ({"dam_layers": []}, _DSM),
    "temporal_dsm": (_dam("temporal"), _DSM),
    "normalized_dsm": (_dam("normalized"), _DSM),
}
CONDITIONS = ("plain", "foreign", "long_tail", "noise", "augmented")


def run_settings(backbone: Backbone, arm: str, condition: str, epoch_factor: int) -> dict:
    """All settings of a run except the seed."""
    dam, dsm = ARMS[arm]
    epochs = {"num_train_epochs": epoch_factor * backbone.training["num_train_epochs"]}
    return {
        "data": backbone.data,
        "backbone": backbone.backbone,
        "start": backbone.start,
        "dam": dam,
        "training": backbone.training | epochs | dsm,
        "condition": {
            "name": condition,
            "long_tail": LONG_TAIL if condition == "long_tail" else 1.0,
            "label_noise": LABEL_NOISE if condition == "noise" else 0.0,
            "foreign_shares": list(FOREIGN_SHARES) if condition == "foreign" else None,
        },
    }
