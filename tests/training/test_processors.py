"""How training normalises pixels: as the checkpoint it starts from, else as the backbone's published checkpoints."""

import pytest
from tiny_models import save_backbone, tiny_backbone_config, tiny_x3d_config
from transformers import VideoMAEImageProcessor

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.training.recipes import build_processor

# Published beside the weights: facebookresearch/pytorchvideo (tutorials of its model zoo), MCG-NJU/videomae-base.
X3D = [0.45] * 3, [0.225] * 3
VIDEOMAE = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
OWN = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}


def statistics(processor: HDFVideoProcessor) -> tuple[list[float], list[float]]:
    return list(processor.image_mean), list(processor.image_std)


@pytest.mark.parametrize(("config", "published"), [(tiny_x3d_config, X3D), (tiny_backbone_config, VIDEOMAE)])
@pytest.mark.parametrize("has_start", [False, True])
def test_pixels_are_normalised_as_the_published_checkpoints_of_a_backbone(tmp_path, config, published, has_start):
    start = save_backbone("base", tmp_path) if has_start else None  # weights without a processor
    assert statistics(build_processor(config(), start)) == published


@pytest.mark.parametrize("kind", [HDFVideoProcessor, VideoMAEImageProcessor])
def test_pixels_are_normalised_as_in_the_checkpoint_that_training_starts_from(tmp_path, kind):
    sizes = {"size": {"shortest_edge": 99}, "crop_size": {"height": 99, "width": 99}}
    kind(**OWN, **sizes, resample=3).save_pretrained(tmp_path)
    config = tiny_x3d_config(num_frames=6, image_size=[32, 20])
    processor = build_processor(config, str(tmp_path))
    assert statistics(processor) == tuple(OWN.values()) and processor.resample == 3
    # Frames and sizes are the model's.
    assert (processor.num_frames, dict(processor.size), dict(processor.crop_size)) == (
        6, {"shortest_edge": 32}, {"height": 32, "width": 20},
    )  # fmt: skip
    assert type(processor) is HDFVideoProcessor
