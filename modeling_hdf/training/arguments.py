"""HDFTrainingArguments: the arguments of [`HDFTrainer`]."""

import math
from dataclasses import dataclass, field

from transformers import TrainingArguments
from transformers.training_args import ParallelMode

from ..data.clip_samplers import SAMPLERS
from .distributed import num_processes
from .dsm import DSM


@dataclass
class DeviceCheckedArguments(TrainingArguments):
    """[`~transformers.TrainingArguments`] that refuse what this machine would do otherwise without a word: several
    processes on a CPU that each train alone, and fp16 on a CPU."""

    def __post_init__(self):
        super().__post_init__()
        if num_processes() > 1 and self.parallel_mode != ParallelMode.DISTRIBUTED:
            raise ValueError(
                f"{num_processes()} processes were started, but there is no GPU for them and each would train alone; "
                "to train on the CPU, give `use_cpu=True` (`--use_cpu true`)."
            )
        if self.mixed_precision == "fp16" and self.device.type == "cpu":
            raise ValueError("`fp16` needs a GPU: on a CPU, training would be in float32; give `bf16` or neither.")


@dataclass
class HDFTrainingArguments(DeviceCheckedArguments):
    """
    Arguments of [`HDFTrainer`]: those of [`~transformers.TrainingArguments`] and the ones below.

    The defaults that the paper does not give come from `benchmarks/ablation.py --tune`: UAR on the validation split of
    the embedded faces, in points relative to cross-entropy alone, mean of 2 seeds. Two seeds cannot show small
    differences; where trials tie, the default is the safer or the published value.

    Args:
        dsm (`bool`, *optional*, defaults to `True`):
            Whether to train with DSM. Without it the loss is plain cross-entropy.
        dsm_scaling (`str`, *optional*, defaults to `"features"`):
            Source of the weights of the two losses: the gradient norm of the `"parameters"` in the previous step, the
            gradient norm at the `"features"` of the present batch, or neither (`"fixed"`: `dsm_alpha` and `dsm_beta`).
            In those trials the first two tie (+0.8 and +0.7 points; `"fixed"` with 1 and 0.1: -1.0);
            `"features"` keeps no state and cannot switch the cross-entropy off. `"ratio"` gives the contrastive loss
            the share `dsm_ratio` of the gradient at the features, whatever the batch and the number of channels.
        dsm_alpha (`float`, *optional*, defaults to 10.0): weight of the cross-entropy. 10 and 0.1 are the numbers of
            the authors' release; 1 in place of 10 lost 11.9 points.
        dsm_beta (`float`, *optional*, defaults to 0.1): weight of the contrastive loss; 1 lost 12.6 points.
        dsm_temperature (`float`, *optional*, defaults to 0.07): temperature of the contrastive loss.
        dsm_eta (`float`, *optional*, defaults to 0.2): cosine at which the contrastive weights peak. 0.2 is the
            figure's (+0.7 points); 1 lost 2.1.
        dsm_ib_weight (`float`, *optional*, defaults to 0.1): weight of the information bottleneck; may be negative.
            0.1 gained 0.7 points, -0.5 lost 1.0.
        dsm_ib_within_classes (`bool`, *optional*, defaults to `False`):
            Whether the bottleneck measures the scatter within classes instead of that of the whole batch (the
            figure's, which also pulls classes together).
        dsm_ratio (`float`, *optional*, defaults to 0.1):
            Gradient of the contrastive loss as a multiple of that of the cross-entropy, with `dsm_scaling="ratio"`.
        sam_rho (`float`, *optional*, defaults to 0.0):
            Radius of SAM; 0 switches it off. The authors train with 0.05. Each step then takes two passes. At equal
            epochs 0.01 lost 1.4 points and 0.05 lost 2.5: SAM wants more epochs.
        sampler (`str`, *optional*, defaults to `"random"`):
            Order of the training clips: `"random"` (that of `train_sampling_strategy`), `"balanced"` (classes equally
            often, with replacement) or `"per_class"` (classes in turn, `clips_per_class` clips of each). The last
            two need a training dataset with `labels`, such as [`ClipDataset`].
        clips_per_class (`int`, *optional*, defaults to 4):
            Clips per class drawn with `sampler="per_class"`, at least 2. The batch of each process must be a multiple
            of it; every clip of the batch then has positives for the contrastive loss.
        logit_adjustment (`float`, *optional*, defaults to 0.0):
            Tau of logit adjustment (https://arxiv.org/abs/2007.07314), for imbalanced classes: training adds
            `tau * log(share of the class among the training clips)` to the logits before the cross-entropy. 0 switches
            it off, 1 is the paper's. Needs a training dataset with `labels` and the sampler `"random"`: the other two
            already show every class equally often.
        layer_decay (`float`, *optional*, defaults to 1.0):
            Layer-wise decay of the learning rate, above 0 and at most 1 (off); see [`learning_rate_scales`]. MAE-DFER
            and S4D fine-tune with 0.75. `learning_rate`, also in the logs, is that of classifier and DAM.
        early_stopping_patience (`int`, *optional*, defaults to 0):
            Stops after this many evaluations in a row without a better `metric_for_best_model`, which then defaults
            to `"uar"`; 0 switches it off. Needs `eval_strategy` and `load_best_model_at_end`.

    DSM sees the micro-batches of all processes together: W processes with `per_device_train_batch_size=B` compare
    W * B clips, and train as one process with a batch of W * B does, except that each process draws its own dropout,
    drop path and mixing. It sees one micro-batch at a time: with
    `gradient_accumulation_steps=n` a step is the exact mean of the losses of its n micro-batches, which is not the
    loss of the n together (a contrastive loss compares samples). Prefer more processes or a larger
    `per_device_train_batch_size`.
    """

    # A Trainer default that would drop the video columns of a dataset.
    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop columns that the model does not take."})
    # Every step uses every parameter; the Trainer's default would search the graph for unused ones in each step.
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "As DDP's; not needed here."})
    dsm: bool = field(default=True, metadata={"help": "Train with DSM."})
    dsm_scaling: str = field(default="features", metadata={"help": "parameters, features, ratio or fixed."})
    dsm_alpha: float = field(default=10.0, metadata={"help": "Weight of the cross-entropy."})
    dsm_beta: float = field(default=0.1, metadata={"help": "Weight of the contrastive loss."})
    dsm_temperature: float = field(default=0.07, metadata={"help": "Temperature of the contrastive loss."})
    dsm_eta: float = field(default=0.2, metadata={"help": "Cosine at which the contrastive weights peak."})
    dsm_ib_weight: float = field(default=0.1, metadata={"help": "Weight of the information bottleneck."})
    dsm_ib_within_classes: bool = field(default=False, metadata={"help": "Bottleneck of the scatter within classes."})
    dsm_ratio: float = field(default=0.1, metadata={"help": "Share of the contrastive gradient, for scaling ratio."})
    sam_rho: float = field(default=0.0, metadata={"help": "Radius of SAM; 0 switches it off."})
    sampler: str = field(default="random", metadata={"help": "Order of training clips: random, balanced, per_class."})
    clips_per_class: int = field(default=4, metadata={"help": "Clips per class drawn, with sampler per_class."})
    logit_adjustment: float = field(
        default=0.0, metadata={"help": "Tau of logit adjustment, for imbalanced classes; 0: off, 1: the paper's."}
    )
    layer_decay: float = field(
        default=1.0, metadata={"help": "Layer-wise decay of the learning rate; 1: off, 0.75: MAE-DFER, S4D."}
    )
    early_stopping_patience: int = field(
        default=0, metadata={"help": "Stop after so many evaluations without a better validation UAR; 0: off."}
    )

    def __post_init__(self):
        if self.early_stopping_patience and self.metric_for_best_model is None:
            self.metric_for_best_model = "uar"  # before transformers makes it the loss
        super().__post_init__()
        self.build_dsm()  # raises for values out of range
        if not 0 <= self.sam_rho < math.inf:
            raise ValueError(f"`sam_rho` is {self.sam_rho}; it must be 0 (off) or above.")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"`layer_decay` is {self.layer_decay}; it must be above 0 and at most 1 (off).")
        self._check_early_stopping()
        self._check_logit_adjustment()
        self._check_sampler()

    def _check_early_stopping(self) -> None:
        patience = self.early_stopping_patience
        if patience < 0:
            raise ValueError(f"`early_stopping_patience` is {patience}; it must be 0 (off) or above.")
        if patience and self.eval_strategy == "no":
            raise ValueError(
                f"`early_stopping_patience` is {patience}, but nothing is evaluated: set `eval_strategy` to 'epoch' "
                "or 'steps'."
            )
        if patience and not self.load_best_model_at_end:
            raise ValueError(
                f"`early_stopping_patience` is {patience}, but the model of the last evaluation would be kept: set "
                "`load_best_model_at_end=True`."
            )

    def _check_logit_adjustment(self) -> None:
        tau = self.logit_adjustment
        if not 0 <= tau < math.inf:
            raise ValueError(f"`logit_adjustment` is {tau}; it must be 0 (off) or above.")
        if tau > 0 and self.sampler != "random":
            raise ValueError(
                f"`logit_adjustment` is {tau} and `sampler` {self.sampler!r}: both correct for the sizes of the "
                "classes, and together they would do so twice; set `logit_adjustment=0` or `sampler='random'`."
            )

    def _check_sampler(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"`sampler` is {self.sampler!r}; choose one of {SAMPLERS}.")
        if self.sampler != "random" and self.train_sampling_strategy != "random":
            raise ValueError(
                f"`sampler` is {self.sampler!r} and `train_sampling_strategy` {self.train_sampling_strategy!r}: both "
                "give the order of the clips; leave one of them at 'random'."
            )
        if self.sampler != "per_class":
            return
        if self.clips_per_class < 2:
            raise ValueError(f"`clips_per_class` is {self.clips_per_class}; a clip needs a partner: at least 2.")
        if self.auto_find_batch_size:
            raise ValueError(
                "`auto_find_batch_size` may find a batch that cuts the groups of `sampler='per_class'`: leave one out."
            )
        batch_size = self.per_device_train_batch_size
        if self.accelerator_config.split_batches:  # each batch is cut into one piece per process
            batch_size //= self.world_size
        if batch_size % self.clips_per_class:
            raise ValueError(
                f"A process has batches of {batch_size} clips, which is no multiple of `clips_per_class`="
                f"{self.clips_per_class}: groups of one class would be cut. Change one of them."
            )

    def build_dsm(self) -> DSM:
        """The loss that these arguments describe."""
        return DSM(
            scaling=self.dsm_scaling,
            alpha=self.dsm_alpha,
            beta=self.dsm_beta,
            temperature=self.dsm_temperature,
            eta=self.dsm_eta,
            ib_weight=self.dsm_ib_weight,
            ib_within_classes=self.dsm_ib_within_classes,
            ratio=self.dsm_ratio,
            label_smoothing=self.label_smoothing_factor,
        )


__all__ = ["HDFTrainingArguments"]
