"""The pipeline with batches of videos, against the same pipeline on one video at a time."""

import numpy as np
import pytest
from evaluated_models import save_model
from transformers import VideoClassificationPipeline, pipeline
from video_files import write_video

from modeling_hdf import HDFForVideoClassification


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> list[str]:
    folder, random = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    frames = [random.integers(0, 256, (12, 1, 1, 3)).repeat(32, 1).repeat(48, 2).astype(np.uint8) for _ in range(5)]
    return [str(write_video(folder / f"{number}.mp4", list(each))) for number, each in enumerate(frames)]


def test_videos_of_a_batch_are_classified_as_one_by_one(tmp_path, videos, monkeypatch):
    classify = pipeline("video-classification", model=str(save_model(tmp_path / "model")))
    sizes, forward = [], HDFForVideoClassification.forward

    def counted(self, pixel_values, **options):
        sizes.append(len(pixel_values))
        return forward(self, pixel_values, **options)

    alone = [classify(video, top_k=7) for video in videos]
    monkeypatch.setattr(HDFForVideoClassification, "forward", counted)
    together = classify(videos, top_k=7, batch_size=3)
    assert sizes == [3, 2]
    assert len({answers[0]["label"] for answers in alone}) > 1  # the videos differ
    for one, other in zip(alone, together, strict=True):
        assert [answer["label"] for answer in one] == [answer["label"] for answer in other]
        assert [answer["score"] for answer in one] == pytest.approx([answer["score"] for answer in other], abs=1e-5)


def test_it_stays_the_stock_pipeline_otherwise(tmp_path, videos):
    classify = pipeline("video-classification", model=str(save_model(tmp_path / "model")))
    assert isinstance(classify, VideoClassificationPipeline) and classify.image_processor is None
    classify(videos[:2], batch_size=2)
    assert classify.image_processor is None  # `save_pretrained` would write it beside the video processor


def test_a_saved_pipeline_comes_back(tmp_path, videos):
    classify = pipeline("video-classification", model=str(save_model(tmp_path / "model")))
    classify.save_pretrained(tmp_path / "saved")
    again = pipeline("video-classification", model=str(tmp_path / "saved"))
    found, expected = ({each["label"]: each["score"] for each in one(videos[0], top_k=7)} for one in (again, classify))
    assert found == pytest.approx(expected, rel=1e-5) and len(found) == 7
