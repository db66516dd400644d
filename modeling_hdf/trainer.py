"""HDFTrainer: the Trainer of transformers with DSM as its loss and SAM as an option."""

import torch
from accelerate.utils import DistributedType
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler
from transformers import Trainer

from .data.samplers import build_sampler
from .metrics import compute_metrics
from .sam import SAMPerturbation
from .trainer_callbacks import DSMStateCallback, EpochCallback
from .training_arguments import HDFTrainingArguments

# What the training log says of DSM: name in the log, name in `DSMOutput`.
_DSM_LOGS = {
    "loss_ce": "loss_ce",
    "loss_sc": "loss_sc",
    "lambda_ce": "lambda_ce",
    "lambda_sc": "lambda_sc",
    "g": "grad_norm",
}


class HDFTrainer(Trainer):
    """
    [`~transformers.Trainer`] that trains [`HDFForVideoClassification`] with DSM, and with SAM if asked to.

    Takes the arguments of [`~transformers.Trainer`]. `args` is an [`HDFTrainingArguments`]; `compute_metrics` defaults
    to WAR and UAR. Training logs gain `loss_ce`, `loss_sc`, `lambda_ce`, `lambda_sc` and `g`, the means since the last
    log. Evaluation reports cross-entropy, whose value does not depend on how clips fall into batches. With `dsm=False`
    and `sam_rho=0` every step is the stock Trainer's.

    Raises:
        ValueError: for SAM under FSDP or DeepSpeed, whose parameters are not whole on one device.

    Example:

    ```python
    >>> from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFTrainer, HDFTrainingArguments

    >>> trainer = HDFTrainer(
    ...     model=HDFForVideoClassification(HDFConfig()),
    ...     args=HDFTrainingArguments(output_dir="outputs", sam_rho=0.05),
    ...     train_dataset=train_dataset,  # rows with `pixel_values` (num_frames, 3, height, width) and `labels`
    ...     eval_dataset=validation_dataset,
    ... )
    >>> trainer.train()
    ```"""

    # `compute_loss` returns a mean over the batch, which gradient accumulation has to average.
    loss_is_scaled_for_ga = False

    def __init__(self, model=None, args: HDFTrainingArguments | None = None, **kwargs):
        args = args if args is not None else HDFTrainingArguments()
        if not isinstance(args, HDFTrainingArguments):
            raise TypeError(f"`args` is a {type(args).__name__}; HDFTrainer takes HDFTrainingArguments.")
        if args.dsm and kwargs.get("compute_loss_func") is not None:
            raise ValueError("DSM is the loss: with `compute_loss_func` give `dsm=False`.")
        kwargs.setdefault("compute_metrics", compute_metrics)
        super().__init__(model=model, args=args, **kwargs)
        sharded = (DistributedType.FSDP, DistributedType.DEEPSPEED)
        if args.sam_rho > 0 and self.accelerator.distributed_type in sharded:
            raise ValueError(
                f"SAM does not work under {self.accelerator.distributed_type.value}, which splits the parameters; "
                "train with `sam_rho=0`, or with DDP."
            )
        self.dsm = args.build_dsm().to(args.device)
        self._epoch_callback = EpochCallback()
        self.add_callback(self._epoch_callback)
        if args.dsm:
            self.add_callback(DSMStateCallback(self.dsm))
        self._dsm_sums = torch.zeros(len(_DSM_LOGS), device=args.device)
        self._num_summed = 0
        self._micro_batches: list[dict] = []
        self._in_second_pass = False
        self._first_pass_norm: torch.Tensor | None = None

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.sampler == "random":
            return super()._get_train_sampler(dataset)
        if not hasattr(dataset, "labels"):
            raise ValueError(
                f"`sampler={self.args.sampler!r}` needs the class of each clip: give the training dataset an "
                "attribute `labels`, as `ClipDataset` has."
            )
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        sampler = build_sampler(self.args.sampler, dataset.labels, self.args.samples_per_class, seed)
        self._epoch_callback.sampler = sampler
        return sampler

    # ---- DSM ----

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """
        DSM on the outputs of `model` while it trains, cross-entropy (smoothed as asked for) otherwise. `inputs` may
        hold the `soft_labels` and `is_mixed` of [`ClipMixing`].
        """
        mixed = {name: inputs[name] for name in ("soft_labels", "is_mixed") if name in inputs}
        inputs = {name: value for name, value in inputs.items() if name not in mixed}
        if not (self.args.dsm and model.training):
            if not mixed:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            outputs = model(**inputs)
            smoothing = self.args.label_smoothing_factor
            loss = F.cross_entropy(outputs.logits.float(), mixed["soft_labels"], label_smoothing=smoothing)
            return (loss, outputs) if return_outputs else loss
        outputs = model(**inputs)  # with the labels, which the model checks
        result = self.dsm(outputs.logits, outputs.features, inputs["labels"], **mixed)
        if not self._in_second_pass:
            self._dsm_sums += torch.stack([getattr(result, name) for name in _DSM_LOGS.values()])
            self._num_summed += 1
        return (result.loss, outputs) if return_outputs else result.loss

    def _get_grad_norm(self, model, grad_norm=None):
        """Called once per optimizer step with the norm before clipping; with SAM that of the first pass counts."""
        grad_norm = super()._get_grad_norm(model, grad_norm)
        if self._first_pass_norm is not None:
            grad_norm = self._first_pass_norm
        if self.args.dsm:
            self.dsm.update(grad_norm)
        return grad_norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._num_summed and "loss" in logs:
            means = self.accelerator.reduce(self._dsm_sums / self._num_summed, "mean").tolist()
            logs = {**logs, **dict(zip(_DSM_LOGS, means, strict=True))}
            self._dsm_sums.zero_()
            self._num_summed = 0
        super().log(logs, start_time)

    def _load_callback_state(self):
        super()._load_callback_state()
        if self.args.dsm:
            # The Trainer may have replaced the callback by one that does not know this DSM.
            callback = DSMStateCallback(self.dsm)
            self.remove_callback(DSMStateCallback)
            self.add_callback(callback)
            # A checkpoint trained without DSM holds no state of it, and the Trainer saves only what it finds here.
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
        """One micro-batch; with SAM the last one of a step is followed by the second pass over all of them."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.args.sam_rho == 0 or not self.accelerator.sync_gradients:
            return loss
        perturbation = SAMPerturbation(model.parameters(), self.args.sam_rho)
        norm = perturbation.apply()
        scaler = self.accelerator.scaler
        self._first_pass_norm = norm if scaler is None else norm / scaler.get_scale()
        if norm.isfinite():
            model.zero_grad()
            self._in_second_pass = True
            try:
                for batch in self._micro_batches[:-1]:
                    with self.accelerator.no_sync(model):
                        super().training_step(model, batch, num_items_in_batch)
                super().training_step(model, self._micro_batches[-1], num_items_in_batch)
            finally:
                # Also after an interrupt: the perturbed weights must not be the ones that stay.
                self._in_second_pass = False
                perturbation.undo()
        elif scaler is None:
            # No step without a direction. A loss scaler needs to see the gradients, and skips the step itself.
            model.zero_grad()
        return loss


__all__ = ["HDFTrainer", "HDFTrainingArguments"]
