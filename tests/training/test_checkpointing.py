"""Which checkpoint folders are taken for complete, and what becomes of the others."""

import json
import logging
import shutil

import pytest
from hand_written_training import build_model, build_rows, build_trainer, largest_difference, steps
from transformers import TrainerCallback

from modeling_hdf.training import resumable as resumable_trainer
from modeling_hdf.training.checkpointing import (
    CheckpointError,
    check_checkpoint,
    discard,
    discard_torn,
    last_checkpoint,
)

pytestmark = pytest.mark.usefixtures("short_garbage_collections")

# Six steps, a checkpoint after each second one.
SHORT = {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 2, "train_sampling_strategy": "random"}
ROWS = 12


def train(folder, checkpoint=None, **options):
    trainer = build_trainer(folder, build_rows(ROWS), **{**SHORT, **options})
    trainer.train(checkpoint)
    return trainer


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run with all three checkpoints; copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished")
    train(folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "trainer_state.json": lambda path: path.unlink(),
    "optimizer.pt": lambda path: path.unlink(),
    "rng_state.pth": lambda path: path.unlink(),
    "config.json": lambda path: path.unlink(),
    "scheduler.pt": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "model.safetensors": flip_a_byte,
}


def test_a_list_of_all_files_is_part_of_the_checkpoint(run):
    checkpoint = run / "checkpoint-4"
    files = check_checkpoint(checkpoint)
    assert set(files) | {"trainer_state.json"} == {path.name for path in checkpoint.iterdir()}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "config.json"} <= set(files)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_taken(run, name, caplog):
    DAMAGES[name](run / "checkpoint-6" / name)
    with pytest.raises(CheckpointError, match=f"checkpoint-6/{name} (is missing|is damaged)"):
        train(run, str(run / "checkpoint-6"))
    with caplog.at_level(logging.WARNING):
        assert last_checkpoint(run) == str(run / "checkpoint-4")
    assert f"{run}/checkpoint-6 is not used" in caplog.text and name in caplog.text


def test_a_trainer_state_that_was_cut_off_is_no_checkpoint(run):
    path = run / "checkpoint-6" / "trainer_state.json"
    for length in (0, len(path.read_bytes()) // 2, len(path.read_bytes()) - 2):
        path.write_bytes(path.read_bytes()[:length])
        assert last_checkpoint(run) == str(run / "checkpoint-4")


def test_the_checkpoint_of_another_trainer_is_refused_and_left_alone(run, finished):
    path = run / "checkpoint-6" / "trainer_state.json"
    state = json.loads(path.read_text())
    del state["stateful_callbacks"]["CheckpointFiles"]
    path.write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="not saved by a trainer of this package"):
        check_checkpoint(run / "checkpoint-6")
    train(run, True, max_steps=5, save_steps=100)
    assert steps(run) == [2, 4, 5, 6]


def test_resuming_without_a_complete_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="empty has no complete checkpoint"):
        train(tmp_path / "empty", True)
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        train(tmp_path / "run", str(tmp_path / "nowhere"))


def test_weights_without_an_optimizer_are_refused(tmp_path):
    train(tmp_path, max_steps=2, save_only_model=True)
    with pytest.raises(CheckpointError, match="save_only_model"):
        train(tmp_path, True)


def test_a_torn_folder_is_removed_when_the_run_goes_on_and_is_not_counted_in_the_rotation(run, caplog):
    # Half of an old checkpoint, which a kill in the rotation leaves, and half of the last save.
    (run / "checkpoint-2" / "config.json").unlink()
    (run / "checkpoint-6" / "trainer_state.json").unlink()
    (run / "checkpoint-6" / "left_over").touch()
    for step in (2, 6):
        (run / f"checkpoint-{step}" / "_incomplete").touch()
    resumed = train(run, True, save_total_limit=2)
    assert steps(run) == [4, 6]
    assert f"The rest of the checkpoint {run}/checkpoint-2 is removed" in caplog.text
    assert "left_over" not in check_checkpoint(run / "checkpoint-6")
    assert resumed.state.global_step == 6


@pytest.mark.parametrize("content", ["{}", "[]", '{"stateful_callbacks": {"CheckpointFiles": {"attributes": []}}}'])
def test_a_trainer_state_of_another_form_is_no_checkpoint(run, content):
    (run / "checkpoint-6" / "trainer_state.json").write_text(content)
    with pytest.raises(CheckpointError, match="checkpoint-6/trainer_state.json"):
        check_checkpoint(run / "checkpoint-6")
    assert last_checkpoint(run) == str(run / "checkpoint-4")
    train(run, True, max_steps=5, save_steps=100)
    assert steps(run) == [2, 4, 5, 6]


def test_weights_that_somebody_has_saved_beside_the_checkpoints_neither_count_nor_go(run, caplog):
    by_hand = run / "checkpoint-1"
    build_model().save_pretrained(by_hand)
    (run / "checkpoint-2" / "optimizer.pt").unlink()  # to save space: the weights are to stay
    names = {path.name for path in by_hand.iterdir()}
    discard(run / "checkpoint-6")
    train(run, True, save_total_limit=1)
    assert steps(run) == [1, 2, 6] and {path.name for path in by_hand.iterdir()} == names
    assert f"{by_hand} is left as it is" in caplog.text


def test_weights_saved_by_hand_outlive_the_removal_of_all_but_the_best_model(tmp_path):
    (tmp_path / "checkpoint-1").mkdir()
    build_scored(tmp_path, {2: 1.0, 4: 0.0, 6: 0.0}).train()
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("at", ["save", "removal"])
def test_what_a_kill_leaves_is_known_by_its_mark_at_any_moment(run, tmp_path, monkeypatch, at):
    class Killed(BaseException):
        pass

    def kill(*args, **kwargs):
        raise Killed

    trainer = build_trainer(run, build_rows(ROWS), **SHORT)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        if at == "save":
            discard(run / "checkpoint-6")
            patch.setattr(trainer, "_save_optimizer_and_scheduler", kill)
            trainer.train(True)
        else:  # all files are gone but the mark
            patch.setattr("modeling_hdf.training.checkpointing.shutil.rmtree", kill)
            discard(run / "checkpoint-6")
    left = {path.name for path in (run / "checkpoint-6").iterdir()}
    assert "_incomplete" in left and (left == {"_incomplete"}) == (at == "removal")
    assert last_checkpoint(run) == str(run / "checkpoint-4")
    train(run, True, max_steps=5, save_steps=100)
    assert steps(run) == [2, 4, 5]


def test_a_checkpoint_that_is_whole_but_for_its_mark_is_used_and_loses_it(run):
    assert not list(run.rglob("_incomplete"))
    (run / "checkpoint-6" / "_incomplete").touch()
    assert last_checkpoint(run) == str(run / "checkpoint-6")
    train(run, True)
    assert steps(run) == [2, 4, 6] and not list(run.rglob("_incomplete"))


def test_saving_a_step_again_leaves_nothing_of_the_earlier_save(run):
    (run / "checkpoint-6" / "left_over").touch()
    train(run, str(run / "checkpoint-4"))
    assert "left_over" not in {path.name for path in (run / "checkpoint-6").iterdir()}


def test_an_old_checkpoint_goes_only_when_the_new_one_is_complete(tmp_path, monkeypatch):
    seen = []
    rotate = resumable_trainer.rotate

    def watched(output_dir, *options):
        seen.append(last_checkpoint(output_dir))
        rotate(output_dir, *options)

    monkeypatch.setattr(resumable_trainer, "rotate", watched)
    train(tmp_path, save_total_limit=1)
    assert seen == [str(tmp_path / f"checkpoint-{step}") for step in (2, 4, 6)]
    assert steps(tmp_path) == [6]


# ---- Links ----


def link_checkpoint(run, step, target):
    """Moves a checkpoint out of the run and leaves a link; returns what lies behind it."""
    (run / f"checkpoint-{step}").rename(target)
    (run / f"checkpoint-{step}").symlink_to(target)
    return contents(target)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_that_is_a_link_is_named_and_neither_used_nor_counted_nor_removed(run, tmp_path, caplog):
    before = link_checkpoint(run, 2, tmp_path / "elsewhere")
    train(run, str(run / "checkpoint-4"), save_total_limit=1)
    assert contents(tmp_path / "elsewhere") == before and (run / "checkpoint-2").is_symlink()
    assert steps(run) == [2, 6]
    assert f"{run}/checkpoint-2 is left as it is, and not used: it is a link to" in caplog.text
    link_checkpoint(run, 6, tmp_path / "last")
    assert last_checkpoint(run) is None
    assert f"{run}/checkpoint-6 is not used: it is a link to {tmp_path}/last" in caplog.text


@pytest.mark.parametrize("marked", [False, True])
def test_of_a_torn_checkpoint_that_is_a_link_nothing_is_removed(run, tmp_path, marked):
    before = link_checkpoint(run, 2, tmp_path / "elsewhere")
    for name in ("trainer_state.json", "config.json"):
        (tmp_path / "elsewhere" / name).unlink()
        del before[name]
    if marked:
        (tmp_path / "elsewhere" / "_incomplete").touch()
        before["_incomplete"] = b""
    discard_torn(run)
    assert contents(tmp_path / "elsewhere") == before and (run / "checkpoint-2").is_symlink()


def test_a_whole_checkpoint_behind_a_link_keeps_its_mark(run, tmp_path):
    before = link_checkpoint(run, 2, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "_incomplete").touch()
    discard_torn(run)
    assert contents(tmp_path / "elsewhere") == before | {"_incomplete": b""}


def test_a_save_replaces_the_link_and_not_what_lies_behind_it(run, tmp_path):
    before = link_checkpoint(run, 6, tmp_path / "elsewhere")
    train(run, str(run / "checkpoint-4"))
    assert contents(tmp_path / "elsewhere") == before
    assert not (run / "checkpoint-6").is_symlink() and check_checkpoint(run / "checkpoint-6")


def test_of_links_within_a_checkpoint_only_the_links_are_removed(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("kept")
    checkpoint = run / "checkpoint-2"
    (checkpoint / "folder").symlink_to(tmp_path / "elsewhere")
    (checkpoint / "file").symlink_to(tmp_path / "elsewhere" / "file")
    (checkpoint / "deep").mkdir()
    (checkpoint / "deep" / "folder").symlink_to(tmp_path / "elsewhere")
    (checkpoint / "_incomplete").symlink_to(tmp_path / "elsewhere" / "made")
    discard(checkpoint)
    assert not checkpoint.exists() and contents(tmp_path / "elsewhere") == {"file": b"kept"}
    (run / "checkpoint-3").symlink_to(tmp_path / "elsewhere")
    discard(run / "checkpoint-3")
    assert not (run / "checkpoint-3").is_symlink() and contents(tmp_path / "elsewhere") == {"file": b"kept"}


def test_a_checkpoint_with_a_file_that_lies_elsewhere_is_refused(run, tmp_path):
    weights = run / "checkpoint-6" / "model.safetensors"
    weights.rename(tmp_path / "weights")
    weights.symlink_to(tmp_path / "weights")
    with pytest.raises(CheckpointError, match="checkpoint-6/trainer_state.json lists a file of another folder"):
        check_checkpoint(run / "checkpoint-6")


# ---- The best model ----

BEST = {
    "eval_strategy": "steps",
    "eval_steps": 2,
    "load_best_model_at_end": True,
    "metric_for_best_model": "score",
    "save_total_limit": 1,
}


class Score(TrainerCallback):
    """Gives the evaluation after each step the score in `scores`."""

    def __init__(self, scores):
        self.scores = scores

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        metrics["eval_score"] = self.scores[state.global_step]


def build_scored(folder, scores, seed=0):
    settings = {"eval_dataset": build_rows(4, seed=1), "callbacks": [Score(scores)]}
    return build_trainer(folder, build_rows(ROWS), model=build_model(seed), trainer=settings, **SHORT, **BEST)


def test_the_best_model_of_a_run_that_was_moved_is_still_found(tmp_path):
    scores = {2: 1.0, 4: 0.0, 6: 0.0}
    straight = build_scored(tmp_path / "straight", scores)
    straight.train()
    interrupted = build_scored(tmp_path / "run", scores)
    interrupted._finalize_training = lambda *args: None  # as if killed before
    interrupted.train()
    assert steps(tmp_path / "run") == [2, 6]
    shutil.move(tmp_path / "run", tmp_path / "moved")
    resumed = build_scored(tmp_path / "moved", scores, seed=5)
    resumed.train(True)
    assert resumed.state.best_model_checkpoint == str(tmp_path / "moved" / "checkpoint-2")
    assert largest_difference(resumed.model, straight.model) == 0
    assert steps(tmp_path / "moved") == steps(tmp_path / "straight") == [2]


def test_a_damaged_best_checkpoint_is_named_before_training_goes_on(tmp_path):
    trainer = build_scored(tmp_path, {2: 1.0, 4: 0.0, 6: 0.0})
    trainer.args.max_steps = 4
    trainer._finalize_training = lambda *args: None
    trainer.train()
    flip_a_byte(tmp_path / "checkpoint-2" / "model.safetensors")
    with pytest.raises(CheckpointError, match="checkpoint-2/model.safetensors is damaged"):
        build_scored(tmp_path, {6: 0.0}).train(True)


def test_a_best_checkpoint_that_is_damaged_meanwhile_is_named_at_the_end(tmp_path):
    class Damage(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.global_step == 4:
                flip_a_byte(tmp_path / "checkpoint-2" / "model.safetensors")

    trainer = build_scored(tmp_path, {2: 1.0, 4: 0.0, 6: 0.0})
    trainer.add_callback(Damage())
    with pytest.raises(CheckpointError, match="checkpoint-2/model.safetensors is damaged"):
        trainer.train()
