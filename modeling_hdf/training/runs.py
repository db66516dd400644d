"""Whether an output folder belongs to a run: a record of the arguments that decide its weights, and a lock."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from transformers import TrainingArguments

from ..data.files import write_json
from ..data.locks import FolderInUseError, folder_lock
from .checkpointing import CheckpointError, checkpoint_folders
from .distributed import decided_by_first

# The Trainer's own push to the Hub leaves files with an underscore out.
RECORD_NAME = "_training_run.json"
_ADVICE = "Choose another --output_dir, or delete the folder."

# Arguments that do not change the weights: logs, pushes, loading of data, evaluation, folders.
_FREE_PREFIXES = ("logging_", "log_", "hub_", "push_to_hub", "trackio_", "ddp_")
_FREE = {
    *("output_dir", "resume_from_checkpoint", "save_total_limit"),
    *("report_to", "run_name", "project", "disable_tqdm", "skip_memory_metrics", "include_num_input_tokens_seen"),
    *("debug", "include_for_metrics", "prediction_loss_only", "torch_empty_cache_steps"),
    *("bf16", "fp16"),  # the record holds `mixed_precision`, which a launcher may set too
    *("per_device_eval_batch_size", "eval_accumulation_steps", "eval_do_concat_batches", "eval_use_gather_object"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
    *("dataloader_prefetch_factor", "dataloader_multiprocessing_context"),
    *("do_train", "do_eval", "do_predict", "local_rank"),
}


def run_record(arguments: TrainingArguments, **others) -> dict:
    """
    The arguments that decide the weights, ready for JSON.

    Args:
        arguments (`TrainingArguments`): arguments that do not change the weights are left out. The number of processes
            is added, because it decides the size of a batch, and so is the mixed precision in use.
        others: further values that JSON can hold.
    """
    fields = {
        name: value
        for name, value in arguments.to_dict().items()
        if name not in _FREE and not name.startswith(_FREE_PREFIXES)
    }
    fields |= {"num_processes": arguments.world_size, "mixed_precision": arguments.mixed_precision}
    # JSON has no infinity, which `max_grad_norm` may be.
    return json.loads(json.dumps({**others, **fields}, default=str), parse_constant=str)


@contextmanager
def output_dir_of(folder: str | Path, record: dict, command: str) -> Iterator[None]:
    """
    Checks and locks the folder of a run of one or several processes: see [`check_output_dir`] and [`folder_lock`].
    Process 0 decides for all processes, because it may change the folder before another process looks at it.

    Args:
        folder (`str` or `Path`): the output folder; created if it does not exist.
        record (`dict`): result of [`run_record`].
        command (`str`): name of this run in the messages of other runs, such as `hdf train`.

    Raises:
        CheckpointError: if it belongs to another run. FolderInUseError: if another run holds it.
        OSError: if it cannot be written.
    """
    with ExitStack() as held:

        def hold() -> None:
            try:
                held.enter_context(folder_lock(folder, command))
                check_output_dir(folder, record)
            except FolderInUseError:
                raise
            except OSError as error:
                raise OSError(f"--output_dir {folder} cannot be written: {error.strerror or error}") from error

        decided_by_first(hold)
        yield


def check_output_dir(folder: str | Path, record: dict) -> None:
    """
    Makes the folder of a run, and checks that it belongs to this run.

    Args:
        folder (`str` or `Path`): made if it is missing.
        record (`dict`): from [`run_record`].

    Raises:
        OSError: if the folder cannot be written.
        CheckpointError: if the folder holds checkpoints or weights of a run with other arguments (the message names
            them), or its record is damaged.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass  # it can be written
    earlier = earlier_record(folder)
    # A field in only one of the two records comes from another version of this package or of transformers.
    names = [name for name in earlier if name in record and earlier[name] != record[name]]
    if names:
        differences = ", ".join(f"{name} (was {earlier[name]!r}, is {record[name]!r})" for name in names)
        raise CheckpointError(f"{folder} holds a run with other arguments: {differences}. {_ADVICE}")


def earlier_record(folder: str | Path) -> dict:
    """
    The record of the run whose checkpoints or weights a folder holds; empty if it holds none.

    Raises:
        CheckpointError: if the record is missing or damaged.
    """
    folder = Path(folder)
    if not checkpoint_folders(folder) and not list(folder.glob("*.safetensors")):
        return {}  # it holds no results that a run could overwrite or mistake for its own
    if not (folder / RECORD_NAME).exists():
        raise CheckpointError(f"{folder} holds a model, and no {RECORD_NAME} to say of which run. {_ADVICE}")
    try:
        earlier = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"), parse_constant=str)
    except ValueError as error:
        raise CheckpointError(f"{folder / RECORD_NAME} is damaged: {error}. {_ADVICE}") from error
    if not isinstance(earlier, dict):
        raise CheckpointError(f"{folder / RECORD_NAME} is damaged: it holds no mapping. {_ADVICE}")
    return earlier


def write_record(folder: str | Path, record: dict) -> None:
    """Writes the record into the folder of the run, completely or not at all."""
    write_json(Path(folder) / RECORD_NAME, record, sort_keys=True)


__all__ = ["check_output_dir", "earlier_record", "output_dir_of", "run_record", "write_record"]
