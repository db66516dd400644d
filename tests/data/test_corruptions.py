"""Corruptions of clips: what each does to the frames, and that the pixels depend on the clip alone."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import ClipFactors, build_augmentation, render_clip
from modeling_hdf.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from modeling_hdf.data.training_corruptions import TRAINING_CORRUPTIONS, corrupt_for_training

NUM_FRAMES = 20


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    """Frames `(20, 3, 33, 40)`; the mean of each tells its number."""
    generator = torch.Generator().manual_seed(0)
    texture = torch.randint(0, 60, (3, 33, 40), generator=generator)
    return torch.stack([texture + 9 * number + 5 for number in range(NUM_FRAMES)]).to(torch.uint8)


def numbers(frames: torch.Tensor, clip: torch.Tensor) -> list[int]:
    """Which frame of the clip each frame is; -1 if it is none."""
    return [next((k for k, known in enumerate(clip) if known.equal(frame)), -1) for frame in frames]


def rendered_face() -> torch.Tensor:
    """Frames `(19, 3, 32, 32)` of a face that changes its expression."""
    factors = ClipFactors(label="surprise", identity=7, noise=0.0)
    return torch.from_numpy(render_clip(factors, image_size=32)).movedim(-1, -3)


def run(clip: torch.Tensor, name: str, severity: int, **options) -> torch.Tensor:
    return corrupt(clip, name, severity, **{"seed": 0, "clip_id": "a", **options})


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_keeps_shape_and_type_and_is_repeatable(clip, name):
    foreign = clip.flip(0)[:7, :, :20, :30]
    before = clip.clone()
    for severity in SEVERITIES:
        result = run(clip, name, severity, foreign=foreign)
        assert result.shape == clip.shape and result.dtype == torch.uint8
        assert not result.equal(clip), severity
        torch.testing.assert_close(run(clip, name, severity, foreign=foreign), result, rtol=0, atol=0)
    assert clip.equal(before)
    # A model that takes fewer frames sees the same pixels.
    shown = [1, 4, 9, 16]
    torch.testing.assert_close(
        run(clip, name, 5, foreign=foreign, shown=shown), run(clip, name, 5, foreign=foreign)[shown], rtol=0, atol=0
    )


@pytest.mark.parametrize(
    "name", sorted(set(CORRUPTIONS) - {"h264", "jpeg", "contrast", "grey", "blur", "low_resolution", "late_onset"})
)
def test_random_choices_differ_between_clips_and_seeds(clip, name):
    def pictures(**options):
        return [run(clip, name, 4, foreign=clip.flip(0), **options) for options in options["each"]]

    clips = pictures(each=[{"clip_id": f"clip {number}"} for number in range(12)])
    seeds = pictures(each=[{"seed": number} for number in range(12)])
    assert any(not clips[0].equal(other) for other in clips[1:])
    assert any(not seeds[0].equal(other) for other in seeds[1:])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_changes_more(clip, name):
    """Mean absolute difference over several draws, of the first, the third and the last severity."""
    change = [
        np.mean(
            [
                (run(clip, name, severity, foreign=clip.flip(0), clip_id=str(draw)).float() - clip.float())
                .abs()
                .mean()
                for draw in range(8)
            ]
        )
        for severity in (1, 3, 5)
    ]
    assert change[0] < change[1] < change[2], change


def test_sequence_corruptions_show_the_frames_that_they_say(clip):
    dropped = numbers(run(clip, "dropped", 3), clip)
    assert dropped == sorted(dropped) and len(set(dropped)) == 12  # 0.4 of 20 are gone
    duplicated = numbers(run(clip, "duplicated", 5), clip)
    assert duplicated == sorted(duplicated) and max(np.bincount(duplicated)) == 4 and duplicated[-1] < 15
    swapped = numbers(run(clip, "swapped", 3), clip)
    assert sorted(swapped) == list(range(20)) and sum(a != b for a, b in enumerate(swapped)) == 8
    frozen = numbers(run(clip, "frozen", 4), clip)
    values, counts = np.unique(frozen, return_counts=True)
    assert counts.max() == 12 and frozen == sorted(frozen) and (counts > 1).sum() == 1
    black = run(clip, "black", 4)
    assert sum(not frame.any() for frame in black) == 10
    late = numbers(run(clip, "late_onset", 4), clip)
    assert late == [0] * 10 + list(range(10))
    speed = numbers(run(clip, "speed", 5), clip)
    assert speed == sorted(speed) and speed[0] == 0 and speed[-1] == 19 and len(set(speed)) < 16


def test_foreign_frames_are_those_of_the_same_time_of_the_other_clip(clip):
    other = torch.full((10, 3, 33, 40), 0, dtype=torch.uint8)
    other += torch.arange(10, dtype=torch.uint8)[:, None, None, None]
    result = run(clip, "foreign", 5, foreign=other)
    known = numbers(result, clip)
    assert known.count(-1) == 10 and all(number in (-1, place) for place, number in enumerate(known))
    for place, frame in enumerate(result):
        if known[place] == -1:
            assert frame.unique().tolist() == [place // 2]
    with pytest.raises(ValueError, match="`foreign`"):
        run(clip, "foreign", 5)


def test_jitter_moves_whole_frames_within_its_range(clip):
    result = run(clip, "jitter", 5)
    moved = 0
    for frame, original in zip(result, clip, strict=True):
        fits = [
            (down, right)
            for down in range(-4, 5)
            for right in range(-5, 6)
            if frame[:, 5:-5, 6:-6].equal(original[:, 5 - down : 28 - down, 6 - right : 34 - right])
        ]
        assert len(fits) == 1
        moved += fits[0] != (0, 0)
    assert moved > 15


def test_style_corruptions_do_what_their_names_say(clip):
    grey = run(clip, "grey", 5).int()
    assert (grey - grey.float().mean(1, keepdim=True)).abs().max() <= 1
    blurred, small = (run(clip, name, 5).float().std((2, 3)).mean() for name in ("blur", "low_resolution"))
    assert max(blurred, small) < 0.7 * clip.float().std((2, 3)).mean()
    covered = run(clip, "occlusion", 4)
    is_covered = (covered == 128).all(1).all(0)
    assert is_covered.float().mean() > 0.1 and torch.where(is_covered, 0, covered).equal(
        torch.where(is_covered, 0, clip)
    )
    noise = run(clip, "noise", 2).float() - clip.float()
    assert noise.std().item() == pytest.approx(0.08 * 255, rel=0.15)
    assert not noise[3].equal(noise[4])
    contrast = run(clip, "contrast", 5).float().std((2, 3)).mean() / clip.float().std((2, 3)).mean()
    assert contrast.item() == pytest.approx(0.1, abs=0.05)
    means = [run(clip, "brightness", 3, clip_id=str(draw)).float().mean() / clip.float().mean() for draw in range(12)]
    assert min(means) == pytest.approx(0.5, abs=0.02) and max(means) > 1.4


@pytest.mark.parametrize(
    ("name", "severity", "message"), [("rain", 1, "'rain'"), ("noise", 0, "is 0"), ("noise", 6, "is 6")]
)
def test_unknown_corruptions_and_severities_are_named(clip, name, severity, message):
    with pytest.raises(ValueError, match=message):
        run(clip, name, severity)


def soften(frames: torch.Tensor) -> torch.Tensor:
    return F.gaussian_blur(frames, [7, 7], [0.8, 0.8])


def darken(frames: torch.Tensor) -> torch.Tensor:
    return (0.55 * frames).to(torch.uint8)


def hold(frames: torch.Tensor) -> torch.Tensor:
    """The first third of the clip waits."""
    return torch.cat([frames[:1].expand(7, -1, -1, -1), frames[:-7]])


def unexplained(trained, face: torch.Tensor, tested: torch.Tensor) -> float:
    """
    Which share of the change by a training corruption the most similar corrupted clip of a test leaves over, the least
    of several draws: 0 if a test shows the same frames, 1 or more if it shows other ones.
    """
    shares = []
    for draw in range(4):
        torch.manual_seed(draw)
        changed = trained(face).float()
        rest = (tested - changed).abs().flatten(1).mean(1).min()
        shares.append((rest / (changed - face).abs().mean()).item())
    return min(shares)


def test_training_never_sees_the_corruptions_of_a_test():
    """Noise is compared by name alone: two draws of it are as far apart as noise and anything else."""
    assert not set(TRAINING_CORRUPTIONS) & set(CORRUPTIONS)
    face = rendered_face()
    tested = torch.stack(
        [
            run(face, name, severity, clip_id=str(draw), foreign=face.flip(0))
            for name in CORRUPTIONS
            for severity in SEVERITIES
            for draw in range(2)
        ]
    ).float()
    for same in (soften, darken, hold):  # what the test must find, under names of their own
        assert unexplained(same, face, tested) < 0.3, same.__name__
    for name, trained in TRAINING_CORRUPTIONS.items():
        assert unexplained(trained, face, tested) > 0.45, name


@pytest.mark.parametrize("name", TRAINING_CORRUPTIONS)
def test_training_corruptions_keep_shape_and_type_and_change_the_clip(clip, name):
    torch.manual_seed(1)
    result = TRAINING_CORRUPTIONS[name](clip)
    assert result.shape == clip.shape and result.dtype == torch.uint8 and not result.equal(clip)


def test_half_of_the_training_clips_stay_as_they_are(clip):
    torch.manual_seed(0)
    same = sum(corrupt_for_training(clip).equal(clip) for _ in range(200))
    assert 75 < same < 125


def test_the_augmentation_is_seeded_and_gives_the_model_its_size(clip):
    size = {"height": 16, "width": 24}
    augment = build_augmentation("corrupted", HDFVideoProcessor(num_frames=4, size=size, crop_size=size))
    results = []
    for seed in (0, 0, *range(1, 8)):
        torch.manual_seed(seed)
        results.append(augment(clip))
    assert results[0].shape == (20, 3, 16, 24) and results[0].equal(results[1])
    assert any(not results[0].equal(other) for other in results[2:])
