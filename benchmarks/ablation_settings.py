"""The runs of `ablation.py`: arms, shared settings, and the trials on the validation split."""

import dataclasses
from dataclasses import dataclass, field

TRAINING = {
    "num_train_epochs": 16,
    "per_device_train_batch_size": 16,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.3,
}
DATA = {
    "difficulty": 0.75,
    "image_size": 64,
    "duration": 1.6,
    "num_frames": 8,
    "num_train": 1400,
    "num_validation": 1400,
    "num_test": 1400,
    "num_shifted": 1400,
    "num_shifts": 3,
    "train_clips": 700,
    "seed": 0,
}
BACKBONE = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "patch_size": 16,
    "tubelet_size": 2,
    "initializer_range": 0.05,
}
START = {
    "train_clips": 1400,
    "mask_ratio": 0.75,  # of 4 x 4 patches; VideoMAE hides 0.9 of 14 x 14
    "num_train_epochs": 20,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
}


@dataclass(frozen=True)
class Settings:
    """Settings shared by all arms, and settings of the parts that single arms switch on.

    Attributes:
        data: fields of the two builders; `num_frames` of a clip; `train_clips`, the number of training clips used,
            from the first.
        backbone: fields of the backbone's configuration.
        training: arguments of [`HDFTrainingArguments`].
        start: the pretraining without labels before all runs, on the first `train_clips` training clips, with
            arguments of [`PretrainingArguments`].
        dam, dsm, sam: further fields of the arms that have the part, written out so that a run tells them.
    """

    data: dict = field(default_factory=lambda: DATA)
    backbone: dict = field(default_factory=lambda: BACKBONE)
    training: dict = field(default_factory=lambda: TRAINING)
    start: dict = field(default_factory=lambda: START)
    dam: dict = field(default_factory=lambda: {"dam_variant": "temporal", "dam_init": "identity", "dam_reduction": 1})
    dsm: dict = field(
        default_factory=lambda: {
            "dsm_scaling": "features",
            "dsm_alpha": 10.0,
            "dsm_beta": 0.1,
            "dsm_temperature": 0.07,
            "dsm_eta": 0.2,
            "dsm_ib_weight": 0.1,
        }
    )
    sam: dict = field(default_factory=lambda: {"sam_rho": 0.005})

    def changed(self, **groups: dict) -> "Settings":
        """A copy with some entries of some groups replaced."""
        return dataclasses.replace(self, **{name: getattr(self, name) | entries for name, entries in groups.items()})


@dataclass(frozen=True)
class Arm:
    """The parts of HDF that are on; without parts, VideoMAE trained with cross-entropy."""

    title: str
    dam: tuple[str, ...] = ()
    dsm: bool = False
    sam: bool = False

    def run_settings(self, settings: Settings) -> dict:
        """The settings of this arm's runs, without the seed and without settings of parts that are off."""
        branches = ("temporal", "frequency")
        dam = {f"dam_{branch}": branch in self.dam for branch in branches} | settings.dam
        return {
            "data": settings.data,
            "backbone": settings.backbone,
            "start": settings.start,
            "dam": dam if self.dam else {"dam_layers": []},
            "training": settings.training
            | ({"dsm": True} | settings.dsm if self.dsm else {"dsm": False})
            | (settings.sam if self.sam else {"sam_rho": 0.0}),
        }


BASELINE = "baseline"
ARMS = {
    BASELINE: Arm("VideoMAE + cross-entropy"),
    "dam_temporal": Arm("+ DAM temporal", dam=("temporal",)),
    "dam_frequency": Arm("+ DAM frequency", dam=("frequency",)),
    "dam": Arm("+ DAM both", dam=("temporal", "frequency")),
    "dsm": Arm("+ DSM", dsm=True),
    "sam": Arm("+ SAM", sam=True),
    "dam_dsm": Arm("+ DAM + DSM", dam=("temporal", "frequency"), dsm=True),
    "hdf": Arm("HDF: DAM + DSM + SAM", dam=("temporal", "frequency"), dsm=True, sam=True),
}
SEEDS = (0, 1, 2, 3, 4)
SETTINGS = Settings()


@dataclass(frozen=True)
class Trial:
    """Runs of an arm with some settings changed, measured only on the validation split."""

    arm: str
    changes: dict = field(default_factory=dict)


# Seeds that no run of the table uses.
TUNING_SEEDS = (100, 101)


def _dsm(scaling: str, alpha: float, beta: float, **others: float) -> dict:
    return {"dsm": {"dsm_scaling": scaling, "dsm_alpha": alpha, "dsm_beta": beta, **others}}


def _sam(rho: float) -> dict:
    return {"sam": {"sam_rho": rho}}


TRIALS = {
    BASELINE: Trial(BASELINE),
    "dam_identity": Trial("dam", {"dam": {"dam_init": "identity"}}),
    "dam_paper": Trial("dam", {"dam": {"dam_init": "paper"}}),
    "dsm_features_10_0.1": Trial("dsm", _dsm("features", 10.0, 0.1)),
    "dsm_parameters_10_0.1": Trial("dsm", _dsm("parameters", 10.0, 0.1)),
    "dsm_fixed_1_0.1": Trial("dsm", _dsm("fixed", 1.0, 0.1)),
    "dsm_features_1_0.1": Trial("dsm", _dsm("features", 1.0, 0.1)),
    "dsm_features_10_1": Trial("dsm", _dsm("features", 10.0, 1.0)),
    "dsm_features_10_0.1_ib_-0.5": Trial("dsm", _dsm("features", 10.0, 0.1, dsm_ib_weight=-0.5)),
    "dsm_features_10_0.1_eta_1": Trial("dsm", _dsm("features", 10.0, 0.1, dsm_eta=1.0)),
    "sam_0.01": Trial("sam", _sam(0.01)),
    "sam_0.05": Trial("sam", _sam(0.05)),
    "dam_dsm": Trial("dam_dsm"),
    "hdf_features_0.005": Trial("hdf", _dsm("features", 10.0, 0.1) | _sam(0.005)),
}
