"""Stills as clips: the paths against SciPy's Bezier curves, the frames against torchvision's affine transform."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BPoly
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from modeling_hdf.data import animate_stills
from modeling_hdf.data.still_motion import random_paths

STILL = {"rotation": 0.0, "scale": 0.0, "shift": 0.0, "gamma": 0.0, "brightness": 0.0}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_stills(count: int, height: int, width: int) -> torch.Tensor:
    """Smooth pictures, on which two ways of interpolation differ little."""
    noise = torch.rand((count, 3, 5, 5), generator=seeded(7))
    return torch.nn.functional.interpolate(noise, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def test_the_paths_are_the_bezier_curves_of_their_control_points():
    paths = random_paths(3, 9, seeded())
    points = torch.rand((3, 4, 6), generator=seeded()).numpy() * 2 - 1
    times = np.linspace(0, 1, 9)
    for clip in range(3):
        expected = BPoly(points[clip][:, None, :], [0, 1])(times)
        np.testing.assert_allclose(paths[clip].numpy(), expected, atol=1e-6)


def test_paths_stay_in_their_range_and_have_no_jumps():
    paths = random_paths(500, 32, seeded())
    assert paths.abs().max() <= 1
    # The speed of a cubic Bezier curve is at most 3 times the largest distance of neighbouring control points.
    assert paths.diff(dim=1).abs().max() <= 3 * 2 / 31 + 1e-6
    assert paths.diff(dim=1).abs().mean() > 0.01


@pytest.mark.parametrize("size", [(48, 48), (40, 72)])
def test_frames_are_turned_scaled_and_shifted_as_torchvision_does_it(size):
    height, width = size
    stills = smooth_stills(2, height, width)
    frames = animate_stills(stills, 5, seeded(1), **STILL | {"rotation": 10.0, "scale": 0.1, "shift": 0.05})
    paths = random_paths(2, 5, seeded(1))
    inner = (..., slice(12, height - 12), slice(12, width - 12))  # torchvision fills the corners, the clip repeats
    for clip in range(2):
        for frame in range(5):
            angle, size_, right, down = paths[clip, frame, :4].tolist()
            expected = transforms.affine(
                stills[clip],
                angle=angle * 10.0,
                translate=[right * 0.05 * width, down * 0.05 * height],
                scale=1.1**size_,
                shear=[0.0],
                interpolation=InterpolationMode.BILINEAR,
            )
            torch.testing.assert_close(frames[clip, frame][inner], expected[inner], atol=2e-3, rtol=0)
    assert (frames[:, 0] - frames[:, 4]).abs().mean() > 0.01


def test_the_light_is_a_power_and_a_factor():
    stills = torch.rand((2, 3, 6, 6), generator=seeded(3))
    frames = animate_stills(stills, 4, seeded(2), **STILL | {"gamma": 0.3, "brightness": 0.2})
    paths = random_paths(2, 4, seeded(2)).numpy()
    for clip in range(2):
        for frame in range(4):
            power, factor = np.exp(0.3 * paths[clip, frame, 4]), np.exp(0.2 * paths[clip, frame, 5])
            expected = np.clip(stills[clip].numpy() ** power * factor, 0, 1)
            np.testing.assert_allclose(frames[clip, frame].numpy(), expected, atol=1e-4)


def test_without_strength_every_frame_is_the_still():
    stills = torch.randint(0, 256, (2, 1, 8, 10), dtype=torch.uint8, generator=seeded())
    frames = animate_stills(stills, 3, seeded(), **STILL)
    assert frames.dtype == torch.uint8 and frames.shape == (2, 3, 1, 8, 10)
    assert (frames == stills[:, None]).all()


def test_uint8_is_the_rounded_result_of_the_same_picture_from_0_to_1():
    stills = (smooth_stills(2, 16, 16) * 255).round().to(torch.uint8)
    frames = animate_stills(stills, 4, seeded(5))
    exact = animate_stills(stills.float() / 255, 4, seeded(5))
    assert (frames.float() - exact * 255).abs().max() < 0.51
    assert not torch.equal(frames[0, 0], frames[0, 3])


def test_each_clip_moves_in_its_own_way_and_only_the_generator_decides():
    stills = smooth_stills(1, 16, 16).repeat(2, 1, 1, 1)
    first, again, other = (animate_stills(stills, 4, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first[0] - first[1]).abs().mean() > 1e-3
    assert (first - other).abs().mean() > 1e-3
    state = torch.get_rng_state()
    animate_stills(stills, 4, seeded())
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`stills`"):
        animate_stills(torch.zeros(3, 8, 8), 4)
    with pytest.raises(ValueError, match="`stills`"):
        animate_stills(torch.zeros(1, 3, 8, 8, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match="`num_frames`"):
        animate_stills(torch.zeros(1, 3, 8, 8), 0)
    with pytest.raises(ValueError, match="`gamma`"):
        animate_stills(torch.zeros(1, 3, 8, 8), 4, gamma=-math.pi)
