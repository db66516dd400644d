"""Clips that worker processes keep: decoded once per worker, whatever the number of epochs."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hand_written_training import build_trainer

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import ClipCollator, ClipDataset, clips, encode_mp4
from modeling_hdf.data.clip_io import load_clip

PROCESSOR = HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
EPOCHS = 3
WORKERS = 2


def build_rows(count: int, prefix: str) -> list[dict]:
    frames = np.random.default_rng(0).integers(0, 256, (count, 5, 16, 16, 3), dtype=np.uint8)
    return [
        {"clip": {"bytes": encode_mp4(clip, fps=10), "path": f"{prefix}{index}.mp4"}, "label": index % 3}
        for index, clip in enumerate(frames)
    ]


@pytest.fixture
def decoded(tmp_path, monkeypatch):
    """Reads which process has decoded which clip, once for each time."""
    log = Path(tmp_path / "decoded")

    def load(row, **options):
        with log.open("a") as file:  # one short line is written as a whole
            file.write(f"{os.getpid()} {row['clip']['path']}\n")
        return load_clip(row, **options)

    monkeypatch.setattr(clips, "load_clip", load)
    return lambda: [tuple(line.split()) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("evaluation", [False, True])
def test_a_worker_decodes_a_cached_clip_once(tmp_path, decoded, evaluation):
    train = ClipDataset(build_rows(8, "train"), PROCESSOR, training=True, cache=True)
    extra = {"eval_dataset": ClipDataset(build_rows(4, "eval"), PROCESSOR, cache=True)} if evaluation else {}
    trainer = build_trainer(
        tmp_path / "run",
        train,
        trainer={"data_collator": ClipCollator(PROCESSOR, 3), **extra},
        num_train_epochs=EPOCHS,
        train_sampling_strategy="random",
        per_device_train_batch_size=2,
        per_device_eval_batch_size=2,
        eval_strategy="epoch" if evaluation else "no",
        dataloader_num_workers=WORKERS,
        dataloader_multiprocessing_context="fork",
    )
    trainer.train()
    found = decoded()
    assert max(Counter(found).values()) == 1
    assert len({process for process, path in found if path.startswith("train")}) == WORKERS
    assert {path for _, path in found if path.startswith("train")} == {f"train{index}.mp4" for index in range(8)}
    if evaluation:
        assert len({process for process, path in found if path.startswith("eval")}) == WORKERS


def test_without_a_cache_workers_are_as_asked_for(tmp_path):
    plain = ClipDataset(build_rows(4, "train"), PROCESSOR, training=True)
    trainer = build_trainer(tmp_path, plain, dataloader_num_workers=WORKERS)
    assert not trainer.args.dataloader_persistent_workers
    cached = ClipDataset(build_rows(4, "train"), PROCESSOR, training=True, cache=True)
    assert not build_trainer(tmp_path, cached).args.dataloader_persistent_workers  # no workers at all
