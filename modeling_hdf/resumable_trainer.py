"""The Trainer of transformers, made to go on exactly where a killed run was."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .checkpoints import (
    CheckpointError,
    CheckpointFiles,
    check_checkpoint,
    discard,
    discard_torn,
    last_checkpoint,
    read_trainer_state,
)


class ResumableTrainer(Trainer):
    """
    [`~transformers.Trainer`] that resumes from complete checkpoints alone, and exactly.

    A run that is killed and resumed ends with the weights of one that was not, if what is random in an item of the
    training dataset is a function of the seed, the epoch and the item, as in [`ClipDataset`].
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._checkpoint_files = CheckpointFiles()
        self.add_callback(self._checkpoint_files)

    # ---- Whole checkpoints ----

    def _save_checkpoint(self, model: nn.Module, trial=None) -> None:
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            discard(folder)  # of an earlier pass over this step: files of two saves must not mix
        self.accelerator.wait_for_everyone()
        self._checkpoint_files.folder = folder
        super()._save_checkpoint(model, trial)
        self._checkpoint_files.folder = None

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # The last file that every process writes: what process 0 lists next is all there is.
        self.accelerator.wait_for_everyone()

    def _load_best_model(self) -> None:
        check_checkpoint(self.state.best_model_checkpoint)
        super()._load_best_model()

    def save_state(self) -> None:
        """
        Writes `trainer_state.json` into the output folder. With the weights of `save_model` beside it this is the mark
        of a finished run, see [`~ResumableTrainer.train_to_the_end`].
        """
        if not self.is_world_process_zero():
            return
        files = CheckpointFiles()
        files.folder = Path(self.args.output_dir)
        # What `save_model` writes; metrics and cards come and go.
        paths = [path for pattern in ("*.safetensors", "*.json") for path in files.folder.glob(pattern)]
        written = [path for path in paths if path.suffix == ".safetensors" or path.name.endswith("config.json")]
        state = {"args": {}, "attributes": {"files": files.describe(written)}}
        self.state.stateful_callbacks[CheckpointFiles.__name__] = state
        super().save_state()

    # ---- Resuming ----

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """
        Trains as [`~transformers.Trainer.train`] does.

        Args:
            resume_from_checkpoint (`str` or `bool`, *optional*):
                A checkpoint folder, or `True` for the last complete one in the output folder.

        Raises:
            CheckpointError: if the checkpoint is not complete, or there is none.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise CheckpointError(f"{self.args.output_dir} has no complete checkpoint; train from the start.")
        if resume_from_checkpoint:
            files = check_checkpoint(resume_from_checkpoint)
            if not any(name.startswith("rng_state") for name in files):
                raise CheckpointError(
                    f"{resume_from_checkpoint} holds weights alone (`save_only_model`), from which training cannot go "
                    "on; start from them with `from_pretrained` instead."
                )
            resume_from_checkpoint = str(resume_from_checkpoint)
        self.accelerator.wait_for_everyone()  # all have looked
        if self.args.should_save:
            discard_torn(self.args.output_dir)  # or the rotation would count them, and keep fewer complete ones
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def train_to_the_end(self, checkpoint: str | None = None) -> None:
        """
        Trains and saves the model into the output folder, or goes on with what an earlier call, killed at any moment,
        has done of it: from its last complete checkpoint, or, where it had finished, with the weights it saved.

        Args:
            checkpoint (`str`, *optional*): folder to go on from instead of the last complete one.

        Raises:
            CheckpointError: if `checkpoint` is not complete.
        """
        folder = Path(self.args.output_dir)
        if is_finished(folder):
            self._load_from_checkpoint(str(folder))
            self.state = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))
            return
        self.train(checkpoint or last_checkpoint(folder))
        self.save_model(_internal_call=True)  # saved, not pushed: a Hub that is down must not cost the results
        self.save_state()

    def _init_training_state(self, max_steps, num_update_steps_per_epoch, num_train_epochs, checkpoint, trial):
        started = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, checkpoint, trial
        )
        if checkpoint is not None and self.args.load_best_model_at_end:
            recorded = read_trainer_state(Path(checkpoint))["best_model_checkpoint"]
            if recorded is not None:
                # The run may have moved: the Trainer would forget the best model, and end with the last one.
                moved = Path(checkpoint).parent / Path(recorded).name
                best = str(moved) if moved.is_dir() else recorded
                check_checkpoint(best)
                self.state.best_model_checkpoint = best
        return started

    def _load_callback_state(self) -> None:
        super()._load_callback_state()
        # The Trainer may have replaced the callback by another one, which knows of no folder.
        self.remove_callback(CheckpointFiles)
        self.add_callback(self._checkpoint_files)

    def _run_epoch(self, **kwargs) -> None:
        # A finished run whose last epoch was not whole would be resumed for one step more.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**kwargs)

    # ---- The random state ----

    def get_train_dataloader(self) -> DataLoader:
        """The stock Trainer's, whose persistent workers leave the random state of the training alone."""
        dataloader = super().get_train_dataloader()
        if self.args.dataloader_persistent_workers:
            # Workers that persist are seeded in their first epoch alone, which is another one after a resume.
            dataloader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return dataloader

    def evaluation_loop(self, *args, **kwargs):
        """The stock Trainer's, which leaves the random state alone where a resumed run might draw less from it."""
        # Workers that persist are seeded once per run; and a checkpoint may fall between the last step of an epoch and
        # the evaluation after it, which a resume then leaves out.
        differs = self.args.save_strategy not in ("no", self.args.eval_strategy)
        with torch.random.fork_rng(devices=[], enabled=self.args.dataloader_persistent_workers or differs):
            return super().evaluation_loop(*args, **kwargs)


def is_finished(output_dir: str | Path) -> bool:
    """Whether [`~ResumableTrainer.train_to_the_end`] has reached the end here, and its weights are still whole."""
    try:
        files = check_checkpoint(output_dir)
    except CheckpointError:
        return False
    return any(name.endswith(".safetensors") for name in files)


__all__ = ["ResumableTrainer", "is_finished"]
