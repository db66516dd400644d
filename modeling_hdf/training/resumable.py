"""The Trainer of transformers, made to go on exactly where a killed run was."""

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
    [`~transformers.Trainer`] that resumes from complete checkpoints alone, and exactly.

    A run that is killed and resumed ends with the weights of one that was not, if what is random in an item of the
    training dataset is a function of the seed, the epoch and the item, as in [`ClipDataset`]. Process 0 decides what
    is gone on from; the output folder lies on a disk that all machines share.

    Raises:
        ValueError: for `save_on_each_node`.
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
        self._checkpoint_files = CheckpointFiles()
        self.add_callback(self._checkpoint_files)

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
        """The Trainer would count and remove every folder named like a checkpoint, whoever has made it."""
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
            rotate(self._get_output_dir(trial), 1, best)  # the last one need not stay any more
        return output

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # The last file that every process writes: what process 0 lists next is all there is.
        self.accelerator.wait_for_everyone()

    def _load_best_model(self) -> None:
        check_in_all_processes(lambda: check_checkpoint(self.state.best_model_checkpoint))
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
            CheckpointError: if the checkpoint is not complete, or there is none; if checkpoints are to be saved and
                the processes do not share the output folder.
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
            discard_torn(self.args.output_dir)  # or the rotation would count them, and keep fewer complete ones
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def train_to_the_end(self, checkpoint: str | None = None) -> None:
        """
        Trains and saves the model into the output folder, or goes on with what an earlier call, killed at any moment,
        has done of it: from its last complete checkpoint, or, where it had finished, with the weights it saved.

        Args:
            checkpoint (`str`, *optional*):
                A checkpoint folder to start from while the output folder has no complete checkpoint of its own. One
                in the output folder itself must be the last complete one there.

        Raises:
            CheckpointError: if `checkpoint` is not complete, or not the last one of the output folder it lies in; if
                the output folder holds a finished run of another length than the arguments ask for.
        """
        folder = Path(self.args.output_dir)
        finished = decided_by_first(lambda: is_finished(folder))
        start = decided_by_first(lambda: _start(folder, checkpoint))
        if finished:
            self._load_finished(folder)
            return
        self.train(start)
        self.save_model(_internal_call=True)  # saved, not pushed: a Hub that is down must not cost the results
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
        # The Trainer may have replaced the callback by another one, which knows of no folder.
        self.remove_callback(CheckpointFiles)
        self.add_callback(self._checkpoint_files)

    def _run_epoch(self, *args, **kwargs) -> None:
        # A finished run whose last epoch was not whole would be resumed for one step more.
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

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


def _check_resumable(checkpoint: str | Path) -> None:
    if not any(name.startswith("rng_state") for name in check_checkpoint(checkpoint)):
        raise CheckpointError(
            f"{checkpoint} holds weights alone (`save_only_model`), from which training cannot go on; start from them "
            "with `from_pretrained` instead."
        )


def _start(output_dir: Path, checkpoint: str | None) -> str | None:
    """Where a run that was asked to start from `checkpoint` has to go on, or `None` at the start of it all."""
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
    """Folder of the best model up to a checkpoint, also after the run has moved, when the Trainer would forget it."""
    recorded = read_trainer_state(checkpoint).get("best_model_checkpoint")
    if recorded is None:
        return None
    moved = checkpoint.parent / Path(recorded).name
    return str(moved) if moved.is_dir() else recorded


__all__ = ["ResumableTrainer", "is_finished"]
