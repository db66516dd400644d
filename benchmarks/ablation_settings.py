"""What the runs of `ablation.py` are: arms, shared settings, and the trials that settled the open numbers."""

import dataclasses
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """What all arms share, and the numbers of the parts that some of them switch on."""

    data: dict = field(
        default_factory=lambda: {
            "difficulty": 1.5,
            "image_size": 64,
            "duration": 1.6,
            "num_frames": 8,
            "num_train": 3500,
            "num_validation": 1400,
            "num_test": 1400,
            "num_shifted": 1400,
            "num_shifts": 3,
            "train_clips": 700,
            "seed": 0,
        }
    )
    backbone: dict = field(
        default_factory=lambda: {
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 384,
            "patch_size": 16,
            "tubelet_size": 2,
            "initializer_range": 0.05,
        }
    )
    start: dict = field(
        default_factory=lambda: {
            "data": {
                "difficulty": 0.5,
                "image_size": 64,
                "duration": 1.6,
                "num_frames": 8,
                "num_train": 2800,
                "num_validation": 350,
                "num_test": 7,
                "train_clips": 2800,
                "seed": 1,
            },
            "training": {
                "dsm": False,
                "num_train_epochs": 6,
                "per_device_train_batch_size": 16,
                "learning_rate": 1e-3,
                "weight_decay": 0.05,
                "lr_scheduler_type": "cosine",
                "warmup_steps": 0.3,
            },
        }
    )
    training: dict = field(
        default_factory=lambda: {
            "num_train_epochs": 18,
            "per_device_train_batch_size": 32,
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1,
        }
    )
    dam: dict = field(default_factory=dict)
    dsm: dict = field(default_factory=dict)
    sam: dict = field(default_factory=lambda: {"sam_rho": 0.05})

    def changed(self, **groups: dict) -> "Settings":
        """A copy with some entries of some groups replaced."""
        return dataclasses.replace(self, **{name: getattr(self, name) | entries for name, entries in groups.items()})


@dataclass(frozen=True)
class Arm:
    """Which parts of HDF are on; without any, VideoMAE trained on cross-entropy."""

    title: str
    dam: tuple[str, ...] = ()
    dsm: bool = False
    sam: bool = False

    def run_settings(self, settings: Settings) -> dict:
        """All that decides a run of this arm but its seed, and nothing of the parts that are off."""
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
    "hdf": Arm("HDF: DAM + DSM + SAM", dam=("temporal", "frequency"), dsm=True, sam=True),
}
SEEDS = (0, 1, 2, 3, 4)
SETTINGS = Settings()


@dataclass(frozen=True)
class Trial:
    """A run that settles an open number, on the validation split alone: an arm, with some settings changed."""

    arm: str
    changes: dict = field(default_factory=dict)


# Seeds that no run of the table has.
TUNING_SEEDS = (100, 101)


def _dsm(scaling: str, alpha: float, beta: float, **others: float | str) -> dict:
    return {"dsm": {"dsm_scaling": scaling, "dsm_alpha": alpha, "dsm_beta": beta, **others}}


TRIALS = {
    BASELINE: Trial(BASELINE),
    "dsm_features_10_0.1": Trial("dsm", _dsm("features", 10.0, 0.1)),
    "dsm_features_10_1": Trial("dsm", _dsm("features", 10.0, 1.0)),
    "dsm_parameters_10_0.1": Trial("dsm", _dsm("parameters", 10.0, 0.1)),
    "dsm_fixed_1_0.1": Trial("dsm", _dsm("fixed", 1.0, 0.1)),
    "dsm_fixed_1_0.3": Trial("dsm", _dsm("fixed", 1.0, 0.3)),
    "sam_0.02": Trial("sam", {"sam": {"sam_rho": 0.02}}),
    "sam_0.05": Trial("sam", {"sam": {"sam_rho": 0.05}}),
    "dam_identity": Trial("dam", {"dam": {"dam_init": "identity"}}),
    "dam_paper": Trial("dam", {"dam": {"dam_init": "paper"}}),
    "dsm_features_10_1_eta_1": Trial("dsm", _dsm("features", 10.0, 1.0, dsm_eta=1.0)),
    "dsm_features_10_1_ib_-0.5": Trial("dsm", _dsm("features", 10.0, 1.0, dsm_ib_weight=-0.5)),
    "per_class": Trial(BASELINE, {"training": {"sampler": "per_class"}}),
    "dsm_features_10_1_per_class": Trial("dsm", {"training": {"sampler": "per_class"}, **_dsm("features", 10.0, 1.0)}),
}
