"""Test-time views: what is averaged, and that nothing is random."""

import numpy as np
import pytest
import torch
from tiny_models import tiny_backbone_config
from transformers import Trainer, TrainingArguments

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.data import ClipCollator, ClipDataset, TemporalSampling, build_augmentation, encode_mp4
from modeling_hdf.evaluation.views import average_views, predict_views

SIZE = {"height": 16, "width": 24}


@pytest.fixture
def processor():
    return HDFVideoProcessor(num_frames=4, size=SIZE, crop_size=SIZE)


@pytest.fixture
def rows():
    """Five clips of 9 to 13 frames of noise."""
    generator = np.random.default_rng(0)
    clips = [generator.integers(0, 256, (9 + index, 32, 48, 3)).astype(np.uint8) for index in range(5)]
    return [
        {"clip": {"bytes": encode_mp4(clip, fps=10, crf=10), "path": f"{index}.mp4"}, "label": index % 3}
        for index, clip in enumerate(clips)
    ]


@pytest.fixture
def trainer(tmp_path, processor):
    torch.manual_seed(0)
    backbone = tiny_backbone_config(initializer_range=1.0).to_dict()
    model = HDFForVideoClassification(HDFConfig(backbone_config=backbone, num_labels=3))
    with torch.no_grad():
        model.classifier.weight.normal_(std=1.0)
    arguments = TrainingArguments(
        str(tmp_path), use_cpu=True, report_to="none", per_device_eval_batch_size=2, remove_unused_columns=False
    )
    return Trainer(model, arguments, data_collator=ClipCollator(processor, 3))


def test_probabilities_are_averaged_not_scores():
    logits = [np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.5], [1000.0, 0.0]])]
    expected = np.zeros((2, 2))
    for view in logits:
        for row in range(2):
            powers = [np.exp(value - max(view[row])) for value in view[row]]
            expected[row] += np.array(powers) / sum(powers) / 2
    np.testing.assert_allclose(average_views(logits), expected)
    np.testing.assert_allclose(average_views(logits).sum(1), 1)


@pytest.mark.parametrize("kind", ["uniform", "dense"])
def test_views_equal_a_loop_over_clips_and_views(trainer, rows, processor, kind):
    sampling = TemporalSampling(kind, 4)
    clips = ClipDataset(rows, processor, sampling=sampling, cache=True)
    probabilities, labels = predict_views(trainer, clips, 3)
    assert labels.tolist() == [row["label"] for row in rows]
    views = []
    for row in rows:
        everything, metadata = processor.load_clip(row["clip"]["bytes"], do_sample_frames=False)
        per_view = []
        for view in range(3):
            indices = sampling.view(view, 3)(metadata=metadata)  # frames of equal length: time and index agree
            pixels = processor(everything[indices], do_sample_frames=False, return_tensors="pt").pixel_values
            with torch.no_grad():
                per_view.append(trainer.model.eval()(pixels).logits[0].softmax(-1).numpy())
        views.append(per_view)
    np.testing.assert_allclose(probabilities, np.mean(views, axis=1), atol=1e-5)
    # The views differ, or averaging them would not be seen.
    assert np.abs(np.array(views)[:, 0] - np.array(views)[:, 2]).max() > 0.01


def test_one_view_is_plain_prediction_on_what_the_processor_makes_of_the_files(trainer, rows, processor):
    clips = ClipDataset(rows, processor)
    probabilities, _ = predict_views(trainer, clips)
    plain = trainer.predict(clips).predictions
    np.testing.assert_allclose(probabilities, torch.tensor(plain).softmax(-1), atol=1e-6)
    pixels = processor([row["clip"]["bytes"] for row in rows], return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = trainer.model.eval()(pixels).logits.softmax(-1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_views_are_deterministic(trainer, rows, processor):
    clips = ClipDataset(rows, processor, sampling=TemporalSampling("segments", 4))
    first, _ = predict_views(trainer, clips, 2)
    torch.manual_seed(99)
    np.random.seed(99)
    clips.set_epoch(3)
    np.testing.assert_array_equal(predict_views(trainer, clips, 2)[0], first)
    assert np.abs(first - predict_views(trainer, clips, 1)[0]).max() > 1e-3


def test_a_cached_clip_is_not_taken_for_another_view(rows, processor):
    clips = ClipDataset(rows, processor, cache=True)
    centre = clips[0]["clip"]
    early = clips.with_view(0, 2)[0]["clip"]
    assert not torch.equal(centre, early) and torch.equal(clips[0]["clip"], centre)


def test_wrong_numbers_of_views_and_training_clips_are_refused(trainer, rows, processor):
    with pytest.raises(ValueError, match="`num_views` is 0"):
        predict_views(trainer, ClipDataset(rows, processor), 0)
    with pytest.raises(ValueError, match="no view to average"):
        average_views([])
    training = ClipDataset(rows, processor, training=True, augmentation=build_augmentation("flip", processor))
    with pytest.raises(ValueError, match="this dataset is for training"):
        predict_views(trainer, training, 2)


def test_batches_that_the_trainer_leaves_apart_are_joined(trainer, rows, processor):
    clips = ClipDataset(rows, processor)
    together = predict_views(trainer, clips, 2)
    trainer.args.eval_do_concat_batches = False
    apart = predict_views(trainer, clips, 2)
    assert len(apart[0]) == len(rows)  # in three batches, the last one smaller
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
