"""Callbacks that our trainers install themselves."""

import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_callback import ExportableState

from .distributed import decided_by_first
from .dsm import DSM


class DivergenceCheck(TrainerCallback):
    """
    Ends a training whose weights are NaN or infinite, which it would keep. Looks before each log and each checkpoint,
    so that no checkpoint holds such weights.

    Raises:
        ValueError: in all processes, if the weights of process 0 are not finite.
    """

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if (control.should_log or control.should_save) and not decided_by_first(lambda: _is_finite(model)):
            raise ValueError(
                f"{args.output_dir}: weights are NaN or infinite after step {state.global_step} of {state.max_steps}. "
                "The training has diverged: train with a lower learning rate, in another folder. No checkpoint here "
                "holds such weights."
            )

    on_epoch_end = on_step_end  # where a checkpoint of each epoch is decided on


def _is_finite(model: nn.Module) -> bool:
    weights = [each for each in model.state_dict().values() if each.is_floating_point()]
    return bool(torch.stack([each.isfinite().all() for each in weights]).all())  # one wait for the device


class DSMStateCallback(TrainerCallback, ExportableState):
    """Puts the state of DSM into the trainer state of each checkpoint."""

    def __init__(self, dsm: DSM | None = None):
        self.dsm = dsm

    def state(self) -> dict:
        """State for the checkpoint."""
        return {"args": {}, "attributes": {"grad_norm": self.dsm.grad_norm.item()}}


class EarlyStopping(EarlyStoppingCallback):
    """
    [`~transformers.EarlyStoppingCallback`] that keeps its count after a resume, for any value of
    `restore_callback_states_from_checkpoint`, and stops at once if training had already stopped at the checkpoint.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:  # not a resume: the first evaluation starts the count
            return
        # A checkpoint of a run without early stopping holds no count; the Trainer saves only callbacks listed here.
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        self.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True


class EpochCallback(TrainerCallback):
    """
    Tells our sampler, and a training dataset with `set_epoch`, which epoch begins.

    accelerate tells only one of the two, and does not reach the sampler if several processes resume and skip batches.
    """

    def __init__(self):
        self.sampler: Sampler | None = None

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        for receiver in (train_dataloader.dataset, self.sampler):
            if hasattr(receiver, "set_epoch"):
                receiver.set_epoch(int(state.epoch))


__all__ = ["DivergenceCheck", "DSMStateCallback", "EarlyStopping", "EpochCallback"]
