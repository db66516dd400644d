"""Callbacks that [`HDFTrainer`] installs itself."""

from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_callback import ExportableState

from .dsm import DSM


class DSMStateCallback(TrainerCallback, ExportableState):
    """Puts the state of DSM into the trainer state of each checkpoint."""

    def __init__(self, dsm: DSM | None = None):
        self.dsm = dsm

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:  # not a resume: forget the state of an earlier `train()`
            self.dsm.update(1.0)

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


__all__ = ["DSMStateCallback", "EarlyStopping", "EpochCallback"]
