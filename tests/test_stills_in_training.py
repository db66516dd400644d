"""Stills as single frames: their place in time is drawn, and the trained model answers to repeated frames alike."""

import pytest
import torch
from dam_references import reference_dam
from pytorchvideo_x3d import randomize_layers
from tiny_models import randomize, tiny_config, tiny_x3d_hdf_config

from modeling_hdf import DAM, HDFForVideoClassification
from modeling_hdf.dam_hdf import VARIANTS
from modeling_hdf.training.single_frames import prepare_for_single_frames
from modeling_hdf.x3d_layers_hdf import TemporalConvolution


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_still_at_a_step_is_this_frame_of_the_repeated_still(variant):
    dam = DAM(5, num_channels=7, map_size=(4, 3), variant=variant, init="paper")
    dam = randomize(dam, std=1.0).double()
    still = 3 * torch.randn(5, 1, 4, 3, 7, dtype=torch.float64) + 2
    parameters = {name: value.detach().numpy() for name, value in dam.named_parameters()}
    repeated = torch.from_numpy(reference_dam(still.expand(-1, 5, -1, -1, -1).numpy(), parameters, variant))
    steps = torch.tensor([4, 0, 2, 1, 3])
    expected = repeated[torch.arange(5), steps]
    assert (repeated - expected[:, None]).abs().amax((0, 2, 3, 4)).min() > 1e-3  # the steps differ
    torch.testing.assert_close(dam(still, steps)[:, 0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(dam(still), repeated.mean(1, keepdim=True), rtol=0, atol=1e-5)


def x3d(**fields) -> HDFForVideoClassification:
    """A tiny classifier with weights away from their start values, whose norms take their running statistics."""
    model = randomize_layers(randomize(HDFForVideoClassification(tiny_x3d_hdf_config(**fields)), std=0.2))
    return model.requires_grad_(False)


def by_hand(model: HDFForVideoClassification, still: torch.Tensor, step: int) -> torch.Tensor:
    """Logits of a still that is the frame `step` of its clip for every DAM."""
    x = model.hdf.backbone.stem(still)
    for number, stage in enumerate(model.hdf.backbone.stages, start=1):
        x = stage(x).movedim(2, -1)  # (B, 1, h, w, C)
        x = model.hdf.dam[str(number)](x, torch.full((len(still),), step)).movedim(-1, 2)
    features = model.hdf.backbone.finish(x).mean((1, 3, 4)) @ model.fc_norm.linear.weight.T
    return model.classifier(features.relu())


def test_every_dam_takes_a_still_at_its_place_in_time(clips):
    model = x3d().eval()
    still = clips[:1, :1]
    expected = torch.cat([by_hand(model, still, step) for step in range(4)])
    assert torch.pdist(expected).min() > 1e-5
    places = torch.tensor([2, 0, 3, 1])
    logits = model(still.expand(4, -1, -1, -1, -1), place=places).logits
    torch.testing.assert_close(logits, expected[places], rtol=0, atol=1e-6)


def taps(model: HDFForVideoClassification) -> list[torch.Tensor]:
    """The weights of each temporal convolution, taps first."""
    return [module.weight.movedim(2, 0) for module in model.modules() if isinstance(module, TemporalConvolution)]


def test_a_fresh_model_for_single_frames_answers_to_the_repeated_frame_alike(clips):
    model = x3d(dam_layers=[]).eval()
    repeated = clips[:, :1].expand(-1, 4, -1, -1, -1)
    assert (model(repeated).logits - model(clips[:, :1]).logits).abs().max() > 1e-3
    before = [weight.clone() for weight in taps(model)]
    prepare_for_single_frames(model, is_fresh=True)
    torch.testing.assert_close(model(repeated).logits, model(clips[:, :1]).logits, rtol=1e-5, atol=1e-5)
    for weight, old in zip(taps(model), before, strict=True):
        centre = len(weight) // 2
        assert weight[centre].equal(old[centre]) and not weight[:centre].any() and not weight[centre + 1 :].any()
    prepare_for_single_frames(model, is_fresh=False)  # of an earlier training on single frames: goes on


def test_models_that_cannot_train_on_single_frames_are_refused():
    with pytest.raises(ValueError, match="VideoMAE takes whole clips alone.*--stills motion"):
        prepare_for_single_frames(HDFForVideoClassification(tiny_config()), is_fresh=True)
    model = x3d()
    before = [weight.clone() for weight in taps(model)]
    with pytest.raises(ValueError, match="has learned to look at neighbouring frames.*--stills motion"):
        prepare_for_single_frames(model, is_fresh=False)
    assert all(weight.equal(old) for weight, old in zip(taps(model), before, strict=True))
