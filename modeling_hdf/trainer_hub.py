"""How [`HDFTrainer`] pushes to the Hub: the files of [`model_release`] with our card, one commit per push."""

import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from huggingface_hub import CommitInfo
from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging
from transformers.utils.hub import PushInProgress

from .hub import HubError, push_files, write_files
from .publishing import REPLACES, model_release, push_model, write_model_card

logger = logging.get_logger(__name__)


class HubPushes(Trainer):
    """
    A Trainer whose pushes hold what `hdf push` publishes: no pickles (`training_args.bin`, which would hold the token
    too), no optimizer states, nothing else that lies in the output folder.
    """

    def __init__(self, model=None, args=None, **kwargs):
        if args.push_to_hub:
            if kwargs.get("processing_class") is None:
                raise ValueError("`push_to_hub` needs `processing_class`: the video processor is published too.")
            if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
                raise ValueError(
                    f"`hub_strategy` is {args.hub_strategy.value!r}, which pushes optimizer states, and these are "
                    "pickles: choose 'every_save' or 'end'."
                )
        super().__init__(model=model, args=args, **kwargs)
        self._uploads = ThreadPoolExecutor(max_workers=1)

    def create_model_card(self) -> None:
        """Writes our card, with the numbers of `metrics.json` if that is of the weights in the output folder."""
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
        Saves the model and pushes it with its processor, code and card, and `metrics.json` if it is of these weights.

        Arguments as those of [`~transformers.Trainer.push_to_hub`]; the card takes none, it is written from the files.

        Raises:
            HubError: if the Hub refuses or fails. The model lies in the output folder; `hdf push` can push it.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token if token is not None else self.args.hub_token
        private = private if private is not None else self.args.hub_private_repo
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
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
        Pushes the model of a checkpoint in the background, from a copy, since checkpoints are deleted. A Hub that
        fails is a warning: the next save pushes again.
        """
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if busy and not self.args.hub_always_push:
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        files = model_release(checkpoint_folder, self.hub_model_id, self.args.hub_revision, may_be_stale=True)
        copy = write_files(files, tempfile.mkdtemp(prefix="hdf_push_"))
        jobs = self.push_in_progress.jobs if busy else []
        message = f"Training in progress, step {self.state.global_step}"
        self.push_in_progress = PushInProgress([*jobs, self._uploads.submit(self._upload, copy, message)])

    def _upload(self, folder: Path, message: str) -> None:
        files = {path.name: path for path in folder.iterdir()}
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
        except HubError as error:
            logger.warning(f"{message}: not pushed. {error}")
        finally:
            shutil.rmtree(folder)


__all__ = ["HubPushes"]
