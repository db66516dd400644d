"""The Trainer of transformers with DSM as its loss and SAM as an option."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, IterableDataset, Sampler
from transformers import PreTrainedModel

from ..batch_norm_hdf import frozen_statistics
from ..data.clip_samplers import build_sampler
from ..data.clips import ClipDataset
from ..data.mixtures import MixedClips
from ..modeling_hdf import HDFForVideoClassification, HDFVideoClassifierOutput
from .arguments import HDFTrainingArguments
from .callbacks import DSMStateCallback, EarlyStopping, EpochCallback
from .dsm import MEASURED_SCALINGS, DSMOutput
from .logit_adjustment import class_log_priors
from .optimization import learning_rate_scales, split_by_scale, without_gains
from .resumable import ResumableTrainer
from .sam import SAMPerturbation
from .validation import ValidationMetrics

logger = logging.getLogger(__name__)

# Values of DSM in the training log: name in the log, name in `DSMOutput`.
_DSM_LOGS = {
    "loss_ce": "loss_ce",
    "loss_sc": "loss_sc",
    "lambda_ce": "lambda_ce",
    "lambda_sc": "lambda_sc",
    "g": "grad_norm",
}


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """
    Collects the inputs of `module`, on each device. Wrappers of the model return only copies of its outputs.

    If gradients are on and no layer before `module` is trained, the input starts a new graph, so that its gradient
    can still be measured.
    """
    inputs: list[torch.Tensor] = []

    def keep(_, arguments: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (features,) = arguments
        if torch.is_grad_enabled() and not features.requires_grad:
            features = features.detach().requires_grad_()
        inputs.append(features)
        return (features,)

    handle = module.register_forward_pre_hook(keep)
    try:
        yield inputs
    finally:
        handle.remove()


class DSMTrainer(ResumableTrainer):
    """
    [`~transformers.Trainer`] that trains [`HDFForVideoClassification`] with DSM, and optionally with SAM.

    Takes the arguments of [`~transformers.Trainer`]. `args` is an [`HDFTrainingArguments`]; `compute_metrics` defaults
    to WAR and UAR. Training logs also hold `loss_ce`, `loss_sc`, `lambda_ce`, `lambda_sc` and `g`, averaged since the
    last log. Evaluation gives the cross-entropy, which does not depend on how clips are batched. With `dsm=False` and
    `sam_rho=0` every step is the stock Trainer's, except that weight decay skips scalars, vectors and DAM's gains
    ([`without_gains`]).

    With several processes DSM sees the batches of all processes: W processes with batches of B/W clips train like one
    process with batches of B clips, except that each process draws its own dropout, drop path, mixup and cutmix.

    Raises:
        ValueError: for FSDP, DeepSpeed and anything other than one process or DDP; for several processes with
            `even_batches=False`; for `dsm_scaling` "features" or "ratio" with `torch_compile` or `ddp_static_graph`;
            for `layer_decay` with `optimizers`; for `logit_adjustment` with `compute_loss_func`, or with a training
            dataset that has no `labels` or lacks clips of a class; for a `sampler` other than "random" with a streamed
            dataset; for an `eval_dataset` with `skip_unreadable`; while training, for batches without `labels`.
        TypeError: for a model or arguments of another class.
    """

    def __init__(self, model=None, args: HDFTrainingArguments | None = None, **kwargs):
        args = args if args is not None else HDFTrainingArguments()
        if not isinstance(args, HDFTrainingArguments):
            raise TypeError(f"`args` is a {type(args).__name__}; {type(self).__name__} takes HDFTrainingArguments.")
        if args.dsm and kwargs.get("compute_loss_func") is not None:
            raise ValueError("DSM is the loss: with `compute_loss_func` give `dsm=False`.")
        if args.logit_adjustment > 0 and kwargs.get("compute_loss_func") is not None:
            raise ValueError("Logits are adjusted before the cross-entropy: with `compute_loss_func` leave it at 0.")
        kwargs.setdefault("compute_metrics", ValidationMetrics())
        super().__init__(model=model, args=args, **kwargs)
        # Wrappers, such as those of adapters, are no models of transformers themselves.
        if isinstance(self.model, PreTrainedModel) and not isinstance(self.model, HDFForVideoClassification):
            raise TypeError(
                f"`model` is a {type(self.model).__name__}; {type(self).__name__} trains HDFForVideoClassification, "
                "which `HDFForVideoClassification.from_backbone_pretrained` builds on a backbone's weights."
            )
        self.model.config.validate()  # the user may have changed it since building the model
        self._check_processes()
        self._check_evaluated()
        self._check_streamed()
        self._epoch_callback = EpochCallback()
        self.add_callback(self._epoch_callback)
        if args.early_stopping_patience:
            self.add_callback(EarlyStopping(args.early_stopping_patience))
        if args.layer_decay < 1 and self.optimizer is not None:
            raise ValueError("`layer_decay` is for the optimizer that the trainer builds: leave `optimizers` out.")
        self._micro_batches: list[dict] = []
        self._in_second_pass = False
        self._has_warned = False
        self._prepare_loss()

    def _prepare_loss(self) -> None:
        """Builds the loss that the arguments describe, without anything of an earlier training."""
        self.dsm = self.args.build_dsm().to(self.args.device)
        self.remove_callback(DSMStateCallback)
        if self.args.dsm:
            # DSM is a mean over the batch, so gradient accumulation must average it, for every model.
            self.model_accepts_loss_kwargs = False
            self.add_callback(DSMStateCallback(self.dsm))
        self._dsm_sums = torch.zeros(len(_DSM_LOGS), device=self.args.device)
        self._num_summed = 0
        self._first_pass_norm: torch.Tensor | None = None
        self._logit_offsets: torch.Tensor | None = None  # (num_labels,)
        if self.args.logit_adjustment > 0 and self.train_dataset is not None:
            labels = self._labels_of(self.train_dataset, f"logit_adjustment={self.args.logit_adjustment}")
            weights = self.train_dataset.clip_weights if isinstance(self.train_dataset, MixedClips) else None
            log_priors = class_log_priors(labels, self.model.config.num_labels, weights)
            self._logit_offsets = self.args.logit_adjustment * log_priors.to(self.args.device)

    def _check_evaluated(self) -> None:
        given = self.eval_dataset.values() if isinstance(self.eval_dataset, dict) else [self.eval_dataset]
        if any(isinstance(each, ClipDataset) and each.skip_unreadable for each in given):
            raise ValueError(
                "`eval_dataset` skips clips that cannot be read, and WAR and UAR would count them as black clips: "
                "leave them out, `clips.without(clips.find_unreadable())`."
            )

    def _check_streamed(self) -> None:
        if self.args.sampler != "random" and isinstance(self.train_dataset, IterableDataset):
            raise ValueError(
                f"`sampler` is {self.args.sampler!r}, but a streamed training dataset gives its clips in an order of "
                "its own: leave `sampler` at 'random' and order the stream itself, or give a dataset with a length."
            )

    def _check_processes(self) -> None:
        kind = self.accelerator.distributed_type
        if kind != DistributedType.NO and not kind.startswith("MULTI_") or self.args.parallelism_config is not None:
            # FSDP2 does not support scalar parameters, which DAM has. SAM needs the whole gradient in every process.
            # DSM needs the processes of `torch.distributed`, each with its own clips.
            name = "parallelism_config" if kind == DistributedType.NO else kind.value
            raise ValueError(
                f"HDF does not train under {name}: train in one process or under DDP, with a launch configuration for "
                "several GPUs and nothing else."
            )
        if self.accelerator.num_processes > 1 and not self.accelerator.even_batches:
            raise ValueError(
                "`even_batches` is False in `accelerator_config`: processes would get batches of different sizes, "
                "whose mean gradient is not that of the whole batch. Leave it at True."
            )
        hidden = [name for name in ("torch_compile", "ddp_static_graph") if getattr(self.args, name)]
        if self.args.dsm and self.args.dsm_scaling in MEASURED_SCALINGS and hidden:
            raise ValueError(
                f'`dsm_scaling="{self.args.dsm_scaling}"` measures a gradient inside the model, which `{hidden[0]}` '
                'hides: leave that out, or train with "parameters" or "fixed".'
            )

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        is_weighted = isinstance(dataset, MixedClips) and dataset.is_weighted
        if self.args.sampler == "random" and not is_weighted:
            return super()._get_train_sampler(dataset)
        if self.args.sampler == "random":
            sampler = dataset.sampler(seed)
        elif is_weighted:
            raise ValueError(
                f"The datasets have weights and `sampler` is {self.args.sampler!r}: both decide how often a clip is "
                "shown. Leave one of them out."
            )
        else:
            labels = self._labels_of(dataset, f"sampler={self.args.sampler!r}")
            sampler = build_sampler(self.args.sampler, labels, self.args.clips_per_class, seed)
        self._epoch_callback.sampler = sampler
        return sampler

    @staticmethod
    def _labels_of(dataset: Dataset, argument: str) -> Sequence[int]:
        """Class of each training clip, which `argument` needs."""
        if not hasattr(dataset, "labels"):
            raise ValueError(
                f"`{argument}` needs the class of each clip: give the training dataset an attribute `labels`, as "
                "`ClipDataset` has."
            )
        return dataset.labels

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Names of the parameters that weight decay applies to."""
        # The stock Trainer takes all below `fc_norm` for a norm, also the linear layer of X3D's pooling.
        return without_gains(model, (name for name, _ in model.named_parameters()))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The stock Trainer's optimizer, with one learning rate per layer if `layer_decay` is below 1."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.args.layer_decay < 1:
            scales = learning_rate_scales(self.model, self.args.layer_decay)
            optimizer.param_groups = split_by_scale(optimizer.param_groups, scales)
        return optimizer

    def _init_training_state(self, *args, **kwargs):
        # Again: a trial of `hyperparameter_search` has set arguments, and an earlier training has left its sums.
        self._prepare_loss()
        return super()._init_training_state(*args, **kwargs)

    def _run_epoch(self, *args, **kwargs):
        if not self.control.should_training_stop:  # it is set if a resumed run had already stopped early
            super()._run_epoch(*args, **kwargs)

    # ---- DSM ----

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """
        DSM on the outputs of `model` in training, otherwise cross-entropy with label smoothing. `inputs` may hold
        `soft_labels` and `is_mixed` of [`ClipCollator`]. `logit_adjustment` applies only in training.
        """
        mixed = {name: inputs[name] for name in ("soft_labels", "is_mixed") if name in inputs}
        inputs = {name: value for name, value in inputs.items() if name not in mixed}
        adjusted = model.training and self._logit_offsets is not None
        stock = self.compute_loss_func is not None or (model.training and not self.args.dsm and not adjusted)
        if mixed and self.compute_loss_func is not None:
            raise ValueError("`compute_loss_func` knows no soft labels: leave mixup, cutmix and `vote_labels` out.")
        if stock and not mixed:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if "labels" not in inputs:
            raise ValueError(f"A batch holds {sorted(inputs)}, but no `labels`: give the class of each clip.")
        with _inputs_of(self.accelerator.unwrap_model(model).dropout) as features:
            outputs = model(**inputs)  # with the labels, which the model checks
        logits = outputs.logits + self._logit_offsets if adjusted else outputs.logits
        if self.args.dsm and model.training:
            result = self.dsm(logits, self._features(outputs, features), inputs["labels"], **mixed, sources=features)
            self._record(result)
            loss = result.loss
        else:
            targets = mixed.get("soft_labels", inputs["labels"])
            rows = slice(None) if model.training else self._evaluated_rows(len(targets))
            smoothing = self.args.label_smoothing_factor
            loss = F.cross_entropy(logits[rows].float(), targets[rows], label_smoothing=smoothing)
        return (loss, outputs) if return_outputs else loss

    def _features(self, outputs: HDFVideoClassifierOutput, inputs: list[torch.Tensor]) -> torch.Tensor:
        """The features for DSM: those of the model, or the inputs of the classifier if only that is trained."""
        if outputs.features.requires_grad:
            return outputs.features
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Nothing before the classifier is trained: the contrastive loss of DSM trains nothing. Train more of "
                "the model, or set `dsm=False`."
            )
        return torch.cat([part.to(outputs.features.device) for part in inputs])

    def _record(self, result: DSMOutput) -> None:
        """Adds the values of DSM for the next log; leaves out the second pass of SAM."""
        if not self._in_second_pass:
            self._dsm_sums += torch.stack([getattr(result, name) for name in _DSM_LOGS.values()])
            self._num_summed += 1

    def evaluation_loop(self, *args, **kwargs):
        if isinstance(self.compute_metrics, ValidationMetrics):
            self.compute_metrics.reset()  # an interrupted evaluation may have left batches in it
        return super().evaluation_loop(*args, **kwargs)

    def _evaluated_rows(self, batch_size: int) -> slice:
        """Rows of an evaluation batch, without the clips repeated to fill the last batch of every process."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return slice(None)
        return slice(max(state.remainder - self.accelerator.process_index * batch_size, 0))

    def _get_grad_norm(self, model, grad_norm=None):
        """Gives DSM the gradient norm before clipping, once per optimizer step; with SAM that of the first pass."""
        grad_norm = super()._get_grad_norm(model, grad_norm)
        if self._first_pass_norm is not None:
            grad_norm = self._first_pass_norm
        if self.args.dsm:
            self.dsm.update(grad_norm)
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._num_summed and "loss" in logs:
            means = (self._dsm_sums / self._num_summed).tolist()  # the same in every process
            logs = {**logs, **dict(zip(_DSM_LOGS, means, strict=True))}
            self._dsm_sums.zero_()
            self._num_summed = 0
        super().log(logs, start_time)

    def _load_callback_state(self):
        super()._load_callback_state()
        if self.args.dsm:
            # The Trainer may have replaced the callback by a new instance without this DSM.
            callback = DSMStateCallback(self.dsm)
            self.remove_callback(DSMStateCallback)
            self.add_callback(callback)
            # A checkpoint trained without DSM holds no DSM state; the Trainer saves only the callbacks listed here.
            saved = self.state.stateful_callbacks.setdefault(DSMStateCallback.__name__, callback.state())
            self.dsm.grad_norm.fill_(saved["attributes"]["grad_norm"])

    # ---- SAM ----

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """Keeps the micro-batches of the step for SAM's second pass."""
        batch_samples, num_items_in_batch = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.args.sam_rho > 0:
            self._micro_batches = batch_samples
        return batch_samples, num_items_in_batch

    def training_step(self, model: nn.Module, inputs: dict, num_items_in_batch=None) -> torch.Tensor:
        """Trains on one micro-batch; with SAM the second pass over all of them follows the last one of a step."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.args.sam_rho == 0 or not self.accelerator.sync_gradients:
            return loss
        micro_batches, self._micro_batches = self._micro_batches, []  # free them after the step
        perturbation = SAMPerturbation(model.parameters(), self.args.sam_rho)
        norm = perturbation.apply()
        scaler = self.accelerator.scaler
        self._first_pass_norm = norm if scaler is None else norm / scaler.get_scale()
        if norm.isfinite():
            model.zero_grad()
            self._in_second_pass = True
            try:
                # Batch norms count each clip once, under the weights that stay.
                with frozen_statistics(model):
                    for batch in micro_batches[:-1]:
                        with self.accelerator.no_sync(model):
                            super().training_step(model, batch, num_items_in_batch)
                    super().training_step(model, micro_batches[-1], num_items_in_batch)
            finally:
                # Restore the weights also after an interrupt.
                self._in_second_pass = False
                perturbation.undo()
        elif scaler is None:
            # The step has no direction: skip it. A loss scaler needs the gradients and skips the step itself.
            model.zero_grad()
        return loss


__all__ = ["DSMTrainer"]
