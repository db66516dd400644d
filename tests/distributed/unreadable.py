"""One of two processes that test a model on clips of which one is damaged."""

import json
import os
import sys
from pathlib import Path

from torch import distributed

from modeling_hdf.data import ClipDataset
from modeling_hdf.evaluation import evaluation_trainer, predict_views
from modeling_hdf.evaluation.unreadable import unreadable_clips
from modeling_hdf.inference import load_classifier


def classify(saved: Path, folder: Path, rows: list[dict]) -> tuple[list, list, dict]:
    """Probabilities of all clips, what this process marked itself, and what all processes together did."""
    model, processor = load_classifier(str(saved))
    options = {"use_cpu": True, "per_device_eval_batch_size": 2, "dataloader_num_workers": 1}
    trainer = evaluation_trainer(model, processor, folder, **options)
    clips = ClipDataset(rows, processor, skip_unreadable=True)
    probabilities, _ = predict_views(trainer, clips)
    return probabilities.tolist(), clips.unreadable, unreadable_clips(clips)


def main(shared: Path, rank: int) -> None:
    rows = json.loads((shared / "rows.json").read_text())
    probabilities, own, unreadable = classify(shared / "model", shared / f"unused-{rank}", rows)
    result = {"probabilities": probabilities, "own": own, "unreadable": list(unreadable.items())}
    (shared / f"results-{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    rank = int(os.environ["RANK"])
    distributed.init_process_group("gloo", f"file://{sys.argv[1]}/rendezvous", rank=rank, world_size=2)
    main(Path(sys.argv[1]), rank)
    distributed.destroy_process_group()
