"""A run that is killed and started again ends where one ends that was not."""

import numpy as np
import pytest
from hand_written_training import (
    DSM_OPTIONS,
    build_model,
    build_trainer,
    largest_difference,
    step_logs,
    steps,
    without_times,
)
from torchvision.transforms import v2
from transformers import TrainerCallback

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import ClipCollator, ClipDataset, ClipMixing
from modeling_hdf.data.frame_sampling import TemporalSampling
from modeling_hdf.data.video_encoding import encode_mp4
from modeling_hdf.training.checkpointing import CheckpointError, discard
from modeling_hdf.training.resumable import is_finished

pytestmark = pytest.mark.usefixtures("short_garbage_collections")

PROCESSOR = HDFVideoProcessor(
    num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, do_resize=False
)


def clip_dataset(size=24):
    frames = np.random.default_rng(3).integers(0, 256, (size, 8, 24, 24, 3), dtype=np.uint8)
    rows = [
        {"clip": {"bytes": encode_mp4(clip, fps=10), "path": f"{index}.mp4"}, "label": index % 3}
        for index, clip in enumerate(frames)
    ]
    augmentation = v2.Compose([v2.RandomResizedCrop(16, antialias=True), v2.ColorJitter(0.4, 0.4, 0.4)])
    sampling = TemporalSampling("segments", 4)
    return ClipDataset(rows, PROCESSOR, sampling=sampling, training=True, augmentation=augmentation, seed=7)


class Batches(ClipCollator):
    """Writes down, in the file `path`, a number for each batch that stands for all its pixels and labels."""

    def __init__(self, path):
        super().__init__(PROCESSOR, 3, ClipMixing(3, mixup_alpha=0.8, cutmix_alpha=1.0))
        self.path = path

    def __call__(self, items):
        batch = super().__call__(items)
        if "soft_labels" not in batch:
            return batch  # of an evaluation
        with self.path.open("a") as file:
            file.write(f"{batch['pixel_values'].double().sum().item()!r} {batch['soft_labels'].tolist()}\n")
        return batch


EPOCHS = 3

# Six micro-batches, three steps per epoch.
OPTIONS = {
    "num_train_epochs": EPOCHS,
    "save_strategy": "steps",
    "save_steps": 1000,
    "train_sampling_strategy": "random",
    "optim": "adamw_torch",
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "dsm_scaling": "parameters",
    "sam_rho": 0.05,
    **DSM_OPTIONS,
}


class SaveAt(TrainerCallback):
    def __init__(self, *steps):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save |= state.global_step in self.steps


class Interrupt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise InterruptedError


def build(folder, *, seed=0, evaluation=False, save_at=(), **options):
    settings = {"data_collator": Batches(folder.with_suffix(".batches")), "callbacks": [SaveAt(*save_at)]}
    if evaluation:
        rows = [{"clip": item["clip"], "label": item["label"]} for item in clip_dataset(6)]
        settings["eval_dataset"] = rows
    model = build_model(seed, dropout=0.4)
    return build_trainer(folder, clip_dataset(), model=model, trainer=settings, **{**OPTIONS, **options})


def batches(folder):
    return folder.with_suffix(".batches").read_text().splitlines()


CASES = {
    "random order": {},
    "groups of a class": {"sampler": "per_class", "clips_per_class": 2},
    "balanced": {"sampler": "balanced"},
    "workers": {"dataloader_num_workers": 2},
    "persistent workers": {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
    "features, no SAM": {"dsm_scaling": "features", "sam_rho": 0.0, "gradient_accumulation_steps": 1},
    "evaluation between": {"evaluation": True, "eval_strategy": "epoch"},
    "persistent workers, evaluation": {
        "evaluation": True,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "dataloader_num_workers": 1,
        "dataloader_persistent_workers": True,
    },
}


@pytest.mark.parametrize("case", CASES)
def test_half_a_run_and_the_rest_are_the_whole_run(tmp_path, case):
    per_epoch = 6 // CASES[case].get("gradient_accumulation_steps", 2)
    moments = (per_epoch + 1, 2 * per_epoch)  # within the second epoch, and at its end
    straight = build(tmp_path / "straight", save_at=moments, **CASES[case])
    straight.train()
    assert straight.state.global_step == EPOCHS * per_epoch
    for step in moments:
        resumed = build(tmp_path / f"from_{step}", seed=5, **CASES[case])
        resumed.train(str(tmp_path / "straight" / f"checkpoint-{step}"))
        assert largest_difference(resumed.model, straight.model) == 0, step
        assert resumed.dsm.grad_norm.equal(straight.dsm.grad_norm)
        assert step_logs(resumed) == step_logs(straight)
        if not CASES[case].get("dataloader_num_workers"):  # their order of writing is not that of the batches
            seen = batches(tmp_path / f"from_{step}")
            assert batches(tmp_path / "straight")[-len(seen) :] == seen


# ---- Early stopping and runs that have ended ----


class Falling(TrainerCallback):
    """Gives every evaluation a worse score than the one before."""

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_score"] = -state.global_step


STOPPING = {
    "evaluation": True,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "score",
    "greater_is_better": True,
    "early_stopping_patience": 2,
}


def build_stopping(folder, seed=0):
    trainer = build(folder, seed=seed, **STOPPING)
    trainer.callback_handler.callbacks.insert(0, Falling())
    return trainer


def test_a_resumed_run_stops_early_where_the_straight_one_does(tmp_path):
    straight = build_stopping(tmp_path / "straight")
    straight.train()
    assert straight.state.global_step == 6 and straight.state.best_global_step == 2
    for step in (4, 6):  # one evaluation without success, and the last of them
        resumed = build_stopping(tmp_path / f"from_{step}", seed=5)
        resumed.train(str(tmp_path / "straight" / f"checkpoint-{step}"))
        assert resumed.state.global_step == 6 and resumed.state.best_metric == straight.state.best_metric == -2
        assert largest_difference(resumed.model, straight.model) == 0


def test_a_run_that_ended_within_an_epoch_takes_no_further_step(tmp_path):
    options = {"max_steps": 4, "save_at": [4]}
    straight = build(tmp_path / "run", **options)
    straight.train()
    resumed = build(tmp_path / "run", seed=5, **options)
    resumed.train(True)
    assert resumed.state.global_step == 4
    assert largest_difference(resumed.model, straight.model) == 0


def test_training_to_the_end_goes_on_and_does_not_train_a_second_time(tmp_path):
    straight = build(tmp_path / "straight")
    straight.train()
    interrupted = build(tmp_path / "run", save_at=[4])
    interrupted.add_callback(Interrupt(5))
    with pytest.raises(InterruptedError):
        interrupted.train_to_the_end()
    assert steps(tmp_path / "run") == [4] and not is_finished(tmp_path / "run")
    resumed = build(tmp_path / "run", seed=5)
    resumed.train_to_the_end()
    assert largest_difference(resumed.model, straight.model) == 0 and is_finished(tmp_path / "run")

    again = build(tmp_path / "run", seed=6)
    again.train = None  # not to be called
    again.train_to_the_end()
    assert largest_difference(again.model, straight.model) == 0
    assert without_times(again.state.log_history) == without_times(resumed.state.log_history)

    (tmp_path / "run" / "model.safetensors").write_bytes(b"cut off")
    assert not is_finished(tmp_path / "run")
    repaired = build(tmp_path / "run", seed=7)
    repaired.train_to_the_end()
    assert largest_difference(repaired.model, straight.model) == 0 and is_finished(tmp_path / "run")


def test_a_foreign_checkpoint_is_started_from_once_and_then_the_runs_own_are_gone_on_from(tmp_path):
    straight = build(tmp_path / "straight", save_at=[2])
    straight.train()
    foreign = str(tmp_path / "straight" / "checkpoint-2")
    killed = build(tmp_path / "run", save_at=[4])
    killed.add_callback(Interrupt(5))
    with pytest.raises(InterruptedError):
        killed.train_to_the_end(foreign)
    assert len(step_logs(killed)) == 2 + 3  # those of the checkpoint come with it
    resumed = build(tmp_path / "run", seed=5)
    first = []
    resumed.add_callback(FirstStep(first))
    resumed.train_to_the_end(foreign)
    assert first == [4] and largest_difference(resumed.model, straight.model) == 0


class FirstStep(TrainerCallback):
    def __init__(self, steps):
        self.steps = steps

    def on_train_begin(self, args, state, control, **kwargs):
        self.steps.append(state.global_step)


def test_going_back_to_an_earlier_checkpoint_of_the_run_needs_the_later_ones_deleted(tmp_path):
    killed = build(tmp_path, save_at=[2, 4])
    killed.add_callback(Interrupt(5))
    with pytest.raises(InterruptedError):
        killed.train_to_the_end()
    earlier = str(tmp_path / "checkpoint-2")
    with pytest.raises(CheckpointError, match="checkpoint-2 is not the last.*checkpoint-4.*delete the later ones"):
        build(tmp_path).train_to_the_end(earlier)
    discard(tmp_path / "checkpoint-4")
    first = []
    again = build(tmp_path, seed=5)
    again.add_callback(FirstStep(first))
    again.train_to_the_end(earlier)
    assert first == [2] and is_finished(tmp_path)


def test_a_finished_run_is_not_taken_for_one_of_another_length_or_start(tmp_path):
    build(tmp_path / "run", max_steps=2, save_at=[2]).train_to_the_end()
    for longer in ({"max_steps": 3}, {}):
        with pytest.raises(CheckpointError, match="finished run of 2 steps.* ask for (3|9).*trainer_state.json"):
            build(tmp_path / "run", **longer).train_to_the_end()
    with pytest.raises(CheckpointError, match="nonexistent is not a folder"):
        build(tmp_path / "run", max_steps=2).train_to_the_end(str(tmp_path / "nonexistent"))
    (tmp_path / "run" / "trainer_state.json").unlink()  # as the message says
    longer = build(tmp_path / "run", max_steps=3)
    longer.train_to_the_end()
    assert longer.state.global_step == 3


def test_a_checkpoint_per_machine_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`save_on_each_node`.*all of them share"):
        build(tmp_path, save_on_each_node=True)
