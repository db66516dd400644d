"""Two processes whose output folders are not the same, as on machines without a shared disk; one of the two."""

import gc
import json
import os
import shutil
import sys
from pathlib import Path

from hand_written_training import build_rows, build_trainer
from torch import distributed

from modeling_hdf.training.checkpointing import CheckpointError
from modeling_hdf.training.distributed import decided_by_first

OPTIONS = {"save_steps": 1, "max_steps": 2, "per_device_train_batch_size": 2}


def message(folder: Path, call, **options) -> str:
    """What training in `folder` is refused with; empty if it is not."""
    trainer = build_trainer(folder, build_rows(8), **{**OPTIONS, **options})
    try:
        call(trainer)
    except CheckpointError as error:
        return str(error)
    return ""


def fail() -> None:
    raise OSError("of the first process")


class Unsendable(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str):
        super().__init__(text)
        self.held = lambda: None


class Unreadable(Exception):
    """Can be pickled, and not be read again."""

    def __init__(self, first: str, second: str):
        super().__init__(f"{first} {second}")


def fail_unsendably() -> None:
    raise Unsendable("no space left")


def fail_unreadably() -> None:
    raise Unreadable("no space", "left")


def main(shared: Path, rank: int) -> None:
    gc.freeze()
    finished = shared / "run"
    results = {"shared": message(finished, lambda t: t.train_to_the_end(), save_strategy="steps")}
    results["finished"] = message(finished, lambda t: t.train_to_the_end(), save_strategy="steps")

    # The second process has an earlier checkpoint only.
    own = shared / f"disk-{rank}"
    shutil.copytree(finished, own, ignore=shutil.ignore_patterns("trainer_state.json"))
    for checkpoint in finished.glob("checkpoint-*"):
        shutil.copy(checkpoint / "trainer_state.json", own / checkpoint.name)
    if rank == 1:
        shutil.rmtree(own / "checkpoint-2")
    results["checkpoint"] = message(own, lambda t: t.train(str(own / "checkpoint-2")), save_strategy="no")
    if rank == 0:
        shutil.copy(finished / "trainer_state.json", own)
    results["finished in one"] = message(own, lambda t: t.train_to_the_end(), save_strategy="no")
    results["start"] = message(shared / f"new-{rank}", lambda t: t.train(), save_strategy="steps")
    results["saves nothing"] = message(shared / f"none-{rank}", lambda t: t.train(), save_strategy="no")
    results["decision"] = decided_by_first(lambda: distributed.get_rank())
    try:
        decided_by_first(fail if rank == 0 else None)
    except OSError as error:
        results["error"] = str(error)
    for name, failing in {"unsendable": fail_unsendably, "unreadable": fail_unreadably}.items():
        try:
            decided_by_first(failing if rank == 0 else None)
        except Exception as error:
            results[name] = [type(error).__name__, str(error)]
    (shared / f"results-{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ranks = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    distributed.init_process_group("gloo", f"file://{folder}/rendezvous", **ranks)
    main(folder, ranks["rank"])
    distributed.destroy_process_group()
