"""The Trainer of transformers, extended to resume a killed run exactly where it stopped."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from .callbacks import DivergenceCheck
from .checkpointing import (
    CheckpointError,
    CheckpointFiles,
    begin,
    check_checkpoint,
    check_in_all_processes,
    check_shared,
    discard_torn,
    end,
    last_checkpoint,
    read_trainer_state,
    rotate,
)
from .distributed import decided_by_first

logger = logging.getLogger(__name__)


class ResumableTrainer(Trainer):
    """
    [`~transformers.Trainer`] that resumes exactly, and only from complete checkpoints.

    A killed and resumed run ends with the same weights as an uninterrupted run, if the randomness of each item of the
    training dataset depends only on the seed, the epoch and the item, as in [`ClipDataset`]. Process 0 chooses the
    checkpoint. The output folder must lie on a disk that all machines share.

    Raises:
        ValueError: for `save_on_each_node`; while training, if weights become NaN or infinite.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.args.save_on_each_node:
            raise ValueError(
                "`save_on_each_node` would spread a checkpoint over machines: leave it out, and put `output_dir` on a "
                "disk that all of them share."
            )
        if self.args.dataloader_num_workers and getattr(self.train_dataset, "cache", None) is not None:
            self.args.dataloader_persistent_workers = True  # the clips are kept in the workers
        if not torch.accelerator.is_available():
            self.args.dataloader_pin_memory = False  # without an accelerator each loader would warn
        self._checkpoint_files = CheckpointFiles()
        self.add_callback(self._checkpoint_files)
        self.add_callback(DivergenceCheck())

    # ---- Whole checkpoints ----

    def _save_checkpoint(self, model: nn.Module, trial=None) -> None:
        folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save:
            begin(folder)
        self.accelerator.wait_for_everyone()
        self._checkpoint_files.folder = folder
        with self._without_rotation():
            super()._save_checkpoint(model, trial)
        self._checkpoint_files.folder = None
        if self.args.should_save:
            end(folder)
            rotate(folder.parent, self.args.save_total_limit, [folder, *self._best_checkpoints()])

    @contextmanager
    def _without_rotation(self) -> Iterator[None]:
        """Stops the Trainer from counting and removing foreign folders with the name of a checkpoint."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            yield
        finally:
            self.args.save_total_limit = limit

    def _best_checkpoints(self) -> list[Path]:
        """The folder of the best model, if there is one."""
        best = self.state.best_model_checkpoint
        return [] if best is None else [Path(best)]

    def _finalize_training(self, trial, *args, **kwargs):
        with self._without_rotation():
            output = super()._finalize_training(trial, *args, **kwargs)
        best = self._best_checkpoints()
        if self.args.should_save and self.args.save_total_limit == 1 and best:
            rotate(self._get_output_dir(trial), 1, best)  # the last checkpoint is no longer needed
        return output

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # Every process writes this file last: process 0 then lists all files.
        self.accelerator.wait_for_everyone()

    def _load_best_model(self) -> None:
        check_in_all_processes(lambda: check_checkpoint(self.state.best_model_checkpoint))
        super()._load_best_model()

    def save_state(self) -> None:
        """
        Writes `trainer_state.json` into the output folder. Together with the weights of `save_model` it marks a
        finished run, see [`~ResumableTrainer.train_to_the_end`].
        """
        if not self.is_world_process_zero():
            return
        files = CheckpointFiles()
        files.folder = Path(self.args.output_dir)
        # Only the files that `save_model` writes: metrics and cards may change later.
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
            CheckpointError: if the checkpoint is not complete or does not exist; if the run saves checkpoints and the
                processes do not share the output folder.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = decided_by_first(lambda: last_checkpoint(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise CheckpointError(f"{self.args.output_dir} has no complete checkpoint; train from the start.")
        if resume_from_checkpoint:
            check_in_all_processes(lambda: _check_resumable(resume_from_checkpoint))
            resume_from_checkpoint = str(resume_from_checkpoint)
        if self.args.save_strategy != "no":
            check_shared(self.args.output_dir)
        if self.args.should_save:
            discard_torn(self.args.output_dir)  # or the rotation would count them and keep fewer complete checkpoints
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def train_to_the_end(self, checkpoint: str | None = None) -> None:
        """
        Trains and saves the model into the output folder. After an earlier call that was killed at any moment, it
        resumes from the last complete checkpoint; after a finished call, it loads the saved weights.

        Args:
            checkpoint (`str`, *optional*):
                A checkpoint folder to start from if the output folder has no complete checkpoint. A checkpoint inside
                the output folder must be the last complete checkpoint there.

        Raises:
            CheckpointError: if `checkpoint` is not complete, or lies in the output folder and is not the last one; if
                the output folder holds a finished run whose length differs from the arguments.
        """
        folder = Path(self.args.output_dir)
        finished = decided_by_first(lambda: is_finished(folder))
        start = decided_by_first(lambda: _start(folder, checkpoint))
        if finished:
            self._load_finished(folder)
            return
        self.train(start)
        self.save_model(_internal_call=True)  # saved, not pushed: an unreachable Hub must not lose the results
        self.save_state()

    def _load_finished(self, folder: Path) -> None:
        check_in_all_processes(lambda: check_checkpoint(folder))
        state = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))
        max_steps = self.set_initial_training_values(self.args, self.get_train_dataloader())[-1]
        if state.max_steps != max_steps:
            raise CheckpointError(
                f"{folder} holds a finished run of {state.max_steps} steps, and `num_train_epochs` or `max_steps` now "
                f"ask for {max_steps}. Choose another `output_dir`; or, to train on from the last checkpoint, delete "
                f"{folder / TRAINER_STATE_NAME}."
            )
        self._load_from_checkpoint(str(folder))
        self.state = state

    def _init_training_state(
        self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
    ):
        started = super()._init_training_state(
            max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is not None and self.args.load_best_model_at_end:
            best = decided_by_first(lambda: _best_of(Path(resume_from_checkpoint)))
            if best is not None:
                check_in_all_processes(lambda: check_checkpoint(best))
                self.state.best_model_checkpoint = best
        return started

    def _load_callback_state(self) -> None:
        super()._load_callback_state()
        # The Trainer may have replaced our callback by a new instance without a folder.
        self.remove_callback(CheckpointFiles)
        self.add_callback(self._checkpoint_files)

    def _run_epoch(self, *args, **kwargs) -> None:
        # Resuming a finished run that ended within an epoch would train one more step.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    # ---- The random state ----

    def get_train_dataloader(self) -> DataLoader:
        """As in the Trainer, but persistent workers do not change the random state of the training."""
        dataloader = super().get_train_dataloader()
        if self.args.dataloader_persistent_workers:
            # Persistent workers are seeded only in their first epoch, and a resume changes which epoch that is.
            dataloader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return dataloader

    def evaluation_loop(self, *args, **kwargs):
        """As in the Trainer, but keeps the random state where a resumed run might draw fewer numbers from it."""
        # Persistent workers are seeded once per run. A checkpoint may also fall between the last step of an epoch and
        # the evaluation after it: a resume then skips that evaluation.
        differs = self.args.save_strategy not in ("no", self.args.eval_strategy)
        with torch.random.fork_rng(devices=[], enabled=self.args.dataloader_persistent_workers or differs):
            return super().evaluation_loop(*args, **kwargs)


def is_finished(output_dir: str | Path) -> bool:
    """Whether [`~ResumableTrainer.train_to_the_end`] has finished in this folder and its weights are undamaged."""
    try:
        files = check_checkpoint(output_dir)
    except CheckpointError:
        return False
    return any(name.endswith(".safetensors") for name in files)


def _check_resumable(checkpoint: str | Path) -> None:
    if not any(name.startswith("rng_state") for name in check_checkpoint(checkpoint)):
        raise CheckpointError(
            f"{checkpoint} holds weights alone (`save_only_model`), from which training cannot go on; start from them "
            "with `from_pretrained` instead."
        )


def _start(output_dir: Path, checkpoint: str | None) -> str | None:
    """The checkpoint to continue from, if the caller gives `checkpoint`; `None` to train from the start."""
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    last = last_checkpoint(output_dir)
    if last is None or checkpoint is None:
        return last or checkpoint
    given = Path(checkpoint).resolve()
    if output_dir.resolve() in given.parents and given != Path(last).resolve():
        raise CheckpointError(
            f"{checkpoint} is not the last complete checkpoint of its run: that is {last}. To go on, leave it out. To "
            f"go back to it, delete the later ones, and {output_dir / TRAINER_STATE_NAME} if the run had finished."
        )
    return last


def _best_of(checkpoint: Path) -> str | None:
    """Folder of the best model up to a checkpoint; also found if the output folder was moved."""
    recorded = read_trainer_state(checkpoint).get("best_model_checkpoint")
    if recorded is None:
        return None
    moved = checkpoint.parent / Path(recorded).name
    return str(moved) if moved.is_dir() else recorded


__all__ = ["ResumableTrainer", "is_finished"]
