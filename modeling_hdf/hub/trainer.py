"""HDFTrainer: [`DSMTrainer`] with pushes to the Hub, each one commit with the files of [`model_release`]."""

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import CommitInfo
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress

from ..training.arguments import HDFTrainingArguments
from ..training.trainer import DSMTrainer
from .client import HubUnavailable, create_repository, push_files, write_files
from .release import REPLACES, model_release, push_model, write_model_card

logger = logging.get_logger(__name__)


class HDFTrainer(DSMTrainer):
    """
    [`DSMTrainer`] with pushes to the Hub: the [`~transformers.Trainer`] of HDF.

    A push holds the same files as `hdf push`: no pickles (`training_args.bin` would also hold the token), no optimizer
    states, and no other files of the output folder.

    Raises:
        ValueError: for `push_to_hub` without `processing_class`, or with a `hub_strategy` that would push optimizer
            states.

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

    def __init__(self, model=None, args: HDFTrainingArguments | None = None, **kwargs):
        if args is not None and args.push_to_hub:
            if kwargs.get("processing_class") is None:
                raise ValueError("`push_to_hub` needs `processing_class`: the video processor is published too.")
            if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
                raise ValueError(
                    f"`hub_strategy` is {args.hub_strategy.value!r}, which pushes optimizer states, and these are "
                    "pickles: choose 'every_save' or 'end'."
                )
        super().__init__(model=model, args=args, **kwargs)
        self._uploads = ThreadPoolExecutor(max_workers=1)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """
        Creates the repository. If the Hub cannot be reached, logs a warning and lets training go on: the first push
        that reaches the Hub creates the repository.

        Raises:
            HubError: if the Hub refuses, for example without a valid token or permission.
        """
        if not self.is_world_process_zero():
            return
        self.push_in_progress = None
        try:
            self._create_repository(token, private)
        except HubUnavailable as error:
            logger.warning(f"{error} Training goes on without; each save tries again.")

    def _create_repository(self, token: str | None, private: bool | None) -> None:
        name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        token = token if token is not None else self.args.hub_token
        private = private if private is not None else self.args.hub_private_repo
        self.hub_model_id = create_repository(name, private=bool(private), token=token)

    def create_model_card(self) -> None:
        """Writes our card, with the numbers of `metrics.json` if they belong to the weights in the output folder."""
        if self.is_world_process_zero():
            write_model_card(self.args.output_dir)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
    ) -> CommitInfo | Future | None:
        """
        Saves the model and pushes it with its processor, code and card, and with `metrics.json` if it belongs to the
        weights.

        Arguments as in [`~transformers.Trainer.push_to_hub`], without those of the card: the files decide its content.

        Raises:
            HubError: if the Hub refuses or fails. The model stays in the output folder; `hdf push` can push it.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token if token is not None else self.args.hub_token
        private = private if private is not None else self.args.hub_private_repo
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if self.hub_model_id is None:
            self._create_repository(token, private)
        self.create_model_card()
        self._finish_current_push()
        job = self._uploads.submit(
            push_model,
            self.args.output_dir,
            self.hub_model_id,
            private=bool(private),
            revision=revision if revision is not None else self.args.hub_revision,
            message=commit_message,
            token=token,
            may_be_stale=True,
        )
        return job.result() if blocking else job

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """
        Pushes the model of a checkpoint in the background, from a copy, because checkpoints may be deleted. An error
        is logged as a warning and does not stop the training: the next save pushes again.
        """
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if busy and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        message = f"Training in progress, step {self.state.global_step}"
        copy = tempfile.TemporaryDirectory(prefix="hdf_push_")
        try:
            if self.hub_model_id is None:
                self._create_repository(None, None)
            files = model_release(checkpoint_folder, self.hub_model_id, self.args.hub_revision, may_be_stale=True)
            write_files(files, Path(copy.name) / "model")
        except (OSError, ValueError) as error:
            copy.cleanup()
            logger.warning(f"{message}: not pushed. {error}")
            return
        jobs = self.push_in_progress.jobs if busy else []
        self.push_in_progress = PushInProgress([*jobs, self._uploads.submit(self._upload, copy, message)])

    def _upload(self, copy: tempfile.TemporaryDirectory, message: str) -> None:
        with copy as folder:
            files = {path.name: path for path in Path(folder, "model").iterdir()}
            try:
                push_files(
                    files,
                    self.hub_model_id,
                    replaces=REPLACES,
                    message=message,
                    private=bool(self.args.hub_private_repo),
                    revision=self.args.hub_revision,
                    token=self.args.hub_token,
                )
            except Exception as error:  # no code reads the Future, so its error would be lost
                logger.warning(f"{message}: not pushed. {error}")


__all__ = ["HDFTrainer"]
