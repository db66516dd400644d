"""WAR and UAR while training, in each form in which the Trainer hands over an evaluation."""

import numpy as np
import pytest
import torch
from hand_written_training import build_model, build_rows, build_trainer, collate
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from transformers import EvalPrediction

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import ClipDataset
from modeling_hdf.training.validation import ValidationMetrics

pytestmark = pytest.mark.usefixtures("short_garbage_collections")


def draw() -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Logits `(60, 7)`, labels `(60,)` of some classes, and what scikit-learn makes of them."""
    generator = np.random.default_rng(1)
    labels, logits = generator.choice([0, 2, 5, 6], 60), generator.normal(size=(60, 7))
    logits[np.arange(60), labels] += 2 * (labels % 2 == 0)
    predictions = logits.argmax(1)
    expected = {
        "war": accuracy_score(labels, predictions),
        "uar": balanced_accuracy_score(labels, predictions),
    }
    assert abs(expected["war"] - expected["uar"]) > 0.01
    return logits, labels, expected


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_arrays_lists_and_batches_give_the_numbers_of_scikit_learn():
    logits, labels, expected = draw()
    metrics = ValidationMetrics()
    assert metrics(EvalPrediction(logits, labels)) == pytest.approx(expected)
    batches = [slice(0, 25), slice(25, 50), slice(50, 60)]
    as_lists = EvalPrediction([logits[batch] for batch in batches], [labels[batch] for batch in batches])
    assert metrics(as_lists) == pytest.approx(expected)
    for repeated in range(2):  # the second evaluation starts afresh
        *first, last = (
            metrics(EvalPrediction(torch.tensor(logits[batch]), torch.tensor(labels[batch])), batch.stop == 60)
            for batch in batches
        )
        assert first == [{}, {}] and last == pytest.approx(expected), repeated


@pytest.mark.parametrize("options", [{}, {"eval_do_concat_batches": False}, {"batch_eval_metrics": True}], ids=str)
def test_the_trainer_evaluates_several_datasets_each_by_itself(tmp_path, options):
    model = build_model().eval()
    datasets = {"near": build_rows(11), "far": build_rows(7, seed=3)}
    trainer = build_trainer(
        tmp_path, None, model=model, trainer={"eval_dataset": datasets}, per_device_eval_batch_size=4, **options
    )
    measured = trainer.evaluate()
    for name, rows in datasets.items():
        batch = collate(rows)
        predictions = model(**batch).logits.argmax(1)
        expected = balanced_accuracy_score(batch["labels"], predictions)
        assert measured[f"eval_{name}_uar"] == pytest.approx(expected)
        assert measured[f"eval_{name}_war"] == pytest.approx(accuracy_score(batch["labels"], predictions))
    assert measured["eval_near_uar"] != pytest.approx(measured["eval_far_uar"])


@pytest.mark.parametrize("several", [False, True])
def test_clips_that_stand_for_unreadable_ones_are_not_evaluated(tmp_path, several):
    clips = ClipDataset(build_rows(4), HDFVideoProcessor(num_frames=4), skip_unreadable=True)
    with pytest.raises(ValueError, match="`eval_dataset` skips clips.*`clips.without.clips.find_unreadable"):
        build_trainer(tmp_path, None, trainer={"eval_dataset": {"near": clips} if several else clips})


def test_batches_of_an_evaluation_that_was_interrupted_are_forgotten(tmp_path):
    rows = build_rows(8)
    trainer = build_trainer(
        tmp_path, None, trainer={"eval_dataset": rows}, per_device_eval_batch_size=4, batch_eval_metrics=True
    )
    expected = trainer.evaluate()
    broken = [*build_rows(4, seed=9), {"labels": 0}]  # a clip without pixels in the second batch
    with pytest.raises(TypeError, match="pixel_values"):
        trainer.evaluate(broken)
    again = trainer.evaluate()
    for name in ("eval_war", "eval_uar"):
        assert again[name] == pytest.approx(expected[name])
