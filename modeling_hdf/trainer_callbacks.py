"""Callbacks that [`HDFTrainer`] installs itself."""

from torch.utils.data import Sampler
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from .dsm import DSM


class DSMStateCallback(TrainerCallback, ExportableState):
    """Puts the state of DSM into the trainer state of each checkpoint."""

    def __init__(self, dsm: DSM | None = None):
        self.dsm = dsm

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:  # not a resume: nothing is left of an earlier `train()`
            self.dsm.update(1.0)

    def state(self) -> dict:
        """What the checkpoint keeps."""
        return {"args": {}, "attributes": {"grad_norm": self.dsm.grad_norm.item()}}


class EpochCallback(TrainerCallback):
    """
    Tells our sampler, and a training dataset with `set_epoch`, which epoch begins.

    accelerate tells only one of the two, and no sampler behind the batches that a resume of several processes skips.
    """

    def __init__(self):
        self.sampler: Sampler | None = None

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        for receiver in (train_dataloader.dataset, self.sampler):
            if hasattr(receiver, "set_epoch"):
                receiver.set_epoch(int(state.epoch))


__all__ = ["DSMStateCallback", "EpochCallback"]
