"""Cost of DSM, SAM and a second process per training step of HDFTrainer, as ratios measured in one run.

    OMP_NUM_THREADS=1 python benchmarks/training_cost.py --preset small_224 --batch-size 8 --rounds 7

Each round times, one after the other and on the same clips: cross-entropy, DSM, DSM with SAM and (on the CPU) DSM with
two threads, all in one process, and DSM in two processes with half of the batch each. Only one of them runs at a time;
each process has one thread (or one GPU) unless said otherwise. A step is forward, backward, clipping and optimizer,
without data loading. The result is the ratio of the fastest steps, which noise disturbs least, with the quartiles of
the rounds' ratios.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import distributed
from transformers import PrinterCallback, TrainerCallback, set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFTrainer, HDFTrainingArguments
from modeling_hdf.configuration import configuration_path

# Measured arms: training arguments, threads per process.
ARMS = {
    "cross_entropy": ({"dsm": False}, 1),
    "dsm": ({}, 1),
    "dsm_and_sam": ({"sam_rho": 0.05}, 1),
    "dsm_two_threads": ({}, 2),
}
RATIOS = {
    "dsm / cross-entropy": ("dsm", "cross_entropy"),
    "dsm with SAM / dsm": ("dsm_and_sam", "dsm"),
    "two processes / one": ("two_processes", "dsm"),
    "two processes / one with two threads": ("two_processes", "dsm_two_threads"),
}


class StepTimes(TrainerCallback):
    def __init__(self):
        self.seconds: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.start = now()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(now() - self.start)


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def build_trainer(options: argparse.Namespace, folder: str, num_processes: int, **arguments) -> HDFTrainer:
    config = HDFConfig.from_pretrained(configuration_path("model", options.preset))
    set_seed(0)
    shape = (config.num_frames, 3, config.image_size, config.image_size)
    # Pairs of one class, so that anchors have a positive.
    rows = [{"pixel_values": torch.randn(shape), "labels": index // 2 % 7} for index in range(options.batch_size)]
    training = HDFTrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=options.batch_size // num_processes,
        max_steps=options.steps + 1,  # the first one warms up
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        **arguments,
    )
    trainer = HDFTrainer(HDFForVideoClassification(config), training, train_dataset=rows, callbacks=[StepTimes()])
    trainer.remove_callback(PrinterCallback)
    return trainer


def seconds_per_step(trainer: HDFTrainer, threads: int) -> float:
    """The fastest step of a short training."""
    torch.set_num_threads(threads)
    (times,) = (callback for callback in trainer.callback_handler.callbacks if isinstance(callback, StepTimes))
    times.seconds.clear()
    trainer.train()
    return min(times.seconds[1:])


def work(options: argparse.Namespace, folder: str, rank: int, num_processes: int, connection: Connection) -> None:
    """Measures each arm whose name it receives, until it receives None."""
    if num_processes > 1:
        os.environ |= {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
        os.environ |= {name: str(num_processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, f"file://{folder}/rendezvous", rank=rank, world_size=num_processes)
        arms = {"two_processes": ({}, 1)}
    else:
        arms = ARMS
    trainers = {
        name: build_trainer(options, folder, num_processes, **arguments) for name, (arguments, _) in arms.items()
    }
    while (name := connection.recv()) is not None:
        connection.send(seconds_per_step(trainers[name], arms[name][1]))
    if num_processes > 1:
        distributed.destroy_process_group()


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds per step of each arm, one number per round."""
    context = multiprocessing.get_context("spawn")
    names = [*ARMS, "two_processes"]
    if torch.cuda.is_available():
        names.remove("dsm_two_threads")
    with tempfile.TemporaryDirectory() as folder:
        workers, ends = [], []
        for rank, num_processes in ((0, 1), (0, 2), (1, 2)):
            ours, theirs = context.Pipe()
            worker = context.Process(target=work, args=(options, folder, rank, num_processes, theirs), daemon=True)
            worker.start()
            theirs.close()  # so that a failed worker ends the wait
            workers.append(worker)
            ends.append(ours)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for index in range(options.rounds):
            for name in reversed(names) if index % 2 else names:  # alternate the order
                asked = ends[1:] if name == "two_processes" else ends[:1]
                for end in asked:
                    end.send(name)
                seconds[name].append(max(end.recv() for end in asked))
        for end in ends:
            end.send(None)
        for worker in workers:
            worker.join(60)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base_224", help="model preset (default base_224, VideoMAE-B)")
    parser.add_argument(
        "--batch-size", type=int, default=4, help="clips of a step, over all processes; even (default 4)"
    )
    parser.add_argument("--steps", type=int, default=2, help="steps per arm and round (default 2)")
    parser.add_argument("--rounds", type=int, default=7, help="at least 2 (default 7)")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    options = parser.parse_args()

    seconds = measure(options)
    result = {"device": "cuda" if torch.cuda.is_available() else "cpu", "cores": os.cpu_count()}
    result |= {name: getattr(options, name) for name in ("preset", "batch_size", "steps", "rounds")}
    for label, (arm, base) in RATIOS.items():
        if arm in seconds and base in seconds:
            ratios = [one / other for one, other in zip(seconds[arm], seconds[base], strict=True)]
            result[label] = {
                "time_ratio": round(min(seconds[arm]) / min(seconds[base]), 3),
                "quartiles_of_rounds": [round(value, 3) for value in statistics.quantiles(ratios, n=4)],
            }
    text = json.dumps(result, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
