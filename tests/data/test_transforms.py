"""Augmentation: each transform does something, to all frames alike, and inference never sees it."""

import numpy as np
import pytest
import torch

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import build_augmentation
from modeling_hdf.data.transforms import fit_clip

FILL = torch.tensor([124, 116, 104], dtype=torch.uint8)
SIZE = (40, 40)
# One level of 256 after normalisation: an interpolation may round otherwise on another path.
GREY_LEVEL = 1.01 / 255 / 0.224
PROCESSOR = HDFVideoProcessor(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40})  # mean of ImageNet


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two pictures agree to one level: an interpolation may round otherwise on another path."""
    return ((one.int() - other.int()).abs() <= 1).all().item()


@pytest.fixture
def picture():
    """A picture `(3, 64, 64)` with colours, edges and no symmetry."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    channels = (3 * x + y, 255 - 2 * y, (x // 8 + y // 8) % 2 * 130 + x)
    return torch.stack(channels).clamp(0, 255).to(torch.uint8)


def augmented(name, clip, count):
    """The clip under `count` draws of the augmentation."""
    augment = build_augmentation(name, PROCESSOR)
    results = []
    for seed in range(count):
        torch.manual_seed(seed)
        results.append(augment(clip))
    return results


@pytest.mark.parametrize("name", ["flip", "crop", "standard", "strong"])
def test_all_frames_of_a_clip_get_the_same_draw(picture, name):
    clip = picture.expand(6, 3, 64, 64)
    results = augmented(name, clip, 60)
    for result in results:
        assert result.dtype == torch.uint8
        assert result.shape == (6, 3, *SIZE)
        assert all(alike(frame, result[0]) for frame in result)
    assert len({result.numpy().tobytes() for result in results}) == (2 if name == "flip" else 60)


def test_the_order_of_the_frames_is_kept(picture):
    levels = torch.tensor([0, 40, 80, 120], dtype=torch.uint8)
    clip = (picture // 2).expand(4, 3, 64, 64) + levels[:, None, None, None]
    for result in augmented("standard", clip, 20):
        brightness = result.float().mean((1, 2, 3))
        assert (brightness.diff() > 5).all()


def test_flip_is_the_mirror_image_half_of_the_time(picture):
    clip = picture.expand(2, 3, 64, 64)
    shown = fit_clip(clip, PROCESSOR)
    mirror = torch.from_numpy(shown.numpy()[..., ::-1].copy())
    results = augmented("flip", clip, 200)
    flipped = [alike(result, mirror) for result in results]
    assert all(f or alike(result, shown) for f, result in zip(flipped, results, strict=True))
    assert 70 <= sum(flipped) <= 130


def test_standard_crops_flips_and_jitters():
    # The red channel holds the column, green the row: a crop shows in their ranges, a flip in the sign of the slope.
    ramp = (torch.arange(64) * 2 + 60).to(torch.uint8)
    clip = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.full((64, 64), 120)])[None]
    slopes, spans, levels = [], [], []
    for result in augmented("standard", clip.to(torch.uint8), 80):
        red = result[0, 0].float().mean(0)
        slopes.append(torch.sign(red[-1] - red[0]).item())
        spans.append(abs(red[-1] - red[0]).item())
        levels.append(result[0, 2].float().mean().item())
    assert 20 <= slopes.count(1) <= 60 and slopes.count(1) + slopes.count(-1) == 80
    assert np.std(spans) > 8  # crops of many sizes
    assert np.std(levels) > 10  # brightness, contrast and saturation move a constant channel


def test_crop_crops_and_flips_and_leaves_colours():
    ramp = (torch.arange(64) * 2 + 60).to(torch.uint8)
    clip = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.full((64, 64), 120)])[None]
    results = augmented("crop", clip.to(torch.uint8), 80)
    assert all(alike(result[0, 2], torch.tensor(120)) for result in results)
    slopes = [torch.sign(result[0, 0, 0, -1].float() - result[0, 0, 0, 0]).item() for result in results]
    assert 20 <= slopes.count(1) <= 60 and slopes.count(1) + slopes.count(-1) == 80
    assert np.std([result[0, 0].float().max() - result[0, 0].min() for result in results]) > 8  # crops of many sizes


def test_a_crop_keeps_at_least_half_of_the_frame():
    # Without jitter a crop of share s of the area spans about sqrt(s) of the ramp.
    ramp = (torch.arange(200)).to(torch.uint8)
    clip = ramp.expand(1, 3, 200, 200)
    crop = build_augmentation("standard", PROCESSOR).transforms[0]
    torch.manual_seed(0)
    rows = clip.transpose(-1, -2)
    shares = []
    for seed in range(300):
        spans = []
        for view in (clip, rows):
            torch.manual_seed(seed)
            result = crop(view)[0, 0].float()
            spans.append((result.max() - result.min()).item() / 200)
        shares.append(spans[0] * spans[1])
    assert 0.44 < min(shares) < 0.56 and max(shares) > 0.9


def test_strong_erases_a_quarter_of_the_clips_with_the_mean_colour(picture):
    erase = build_augmentation("strong", PROCESSOR).transforms[-1]
    clip = picture[:, :40, :40].expand(3, 3, 40, 40).contiguous()
    erased = 0
    for seed in range(400):
        torch.manual_seed(seed)
        result = erase(clip)
        changed = (result != clip).any(1)  # (3, 40, 40)
        if changed.any():
            erased += 1
            assert (result.movedim(1, -1)[changed] == FILL).all()
            assert torch.equal(changed[0], changed[2])
            assert 0.01 < changed[0].float().mean() < 0.36
    assert 70 <= erased <= 130


def test_strong_applies_four_operations_each_half_of_the_time(picture):
    _, _, _, *operations, _ = build_augmentation("strong", PROCESSOR).transforms
    assert len(operations) == 4
    clip = picture.expand(2, 3, 64, 64)
    for operation in operations:
        changed = 0
        for seed in range(200):
            torch.manual_seed(seed)
            changed += not torch.equal(operation(clip), clip)
        # One half, less the identity (1 of 14 operations) and the few that leave this picture as it is.
        assert 60 <= changed <= 105


def test_a_magnitude_is_seven_tenths_of_the_largest(picture):
    # Brightness of RandAugment goes up to 0.9: at magnitude 7 of 10 factors are 1 +- 0.63.
    operation = build_augmentation("strong", PROCESSOR).transforms[3].transforms[0]
    grey = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    levels = set()
    for seed in range(400):
        torch.manual_seed(seed)
        levels |= set(operation(grey).unique().tolist())
    assert levels & {36, 37, 38} and levels & {162, 163, 164}  # the last bit of a factor may move a level by one
    assert not any(0 < level < 36 or 164 < level < 255 for level in levels - set(FILL.tolist()))


@pytest.mark.parametrize("shape", [(64, 64), (30, 50), (90, 41), (40, 40)])
@pytest.mark.parametrize("size", [40, 48])
def test_fitting_is_what_the_processor_does_whatever_the_layout(shape, size):
    processor = HDFVideoProcessor(size={"shortest_edge": size}, crop_size={"height": 40, "width": 40})
    frames = torch.randint(0, 256, (3, *shape, 3), dtype=torch.uint8)
    options = {"do_sample_frames": False, "return_tensors": "pt"}
    expected = processor([frames], **options)["pixel_values"][0]
    fitted = fit_clip(frames.movedim(-1, -3), processor)
    assert fitted.dtype == torch.uint8 and fitted.is_contiguous()
    actual = processor([fitted], do_resize=False, do_center_crop=False, **options)["pixel_values"][0]
    torch.testing.assert_close(actual, expected, rtol=0, atol=GREY_LEVEL)


def test_none_fits_alone_and_an_unknown_name_is_refused(picture):
    clip = picture.expand(2, 3, 64, 64)
    assert alike(build_augmentation("none", PROCESSOR)(clip), fit_clip(clip, PROCESSOR))
    with pytest.raises(ValueError, match="`augmentation` is 'heavy'.*'standard'"):
        build_augmentation("heavy", PROCESSOR)
