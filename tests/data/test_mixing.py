"""Mixup and cutmix against numpy loops, and the losses that see them."""

import numpy as np
import pytest
import torch

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import ClipCollator, ClipMixing

LABELS = torch.tensor([0, 2, 1, 2, 0, 1, 1])


@pytest.fixture
def pixel_values():
    """Clips `(7, 4, 3, 12, 20)` whose every value tells clip, frame, channel and place apart."""
    return torch.randn(7, 4, 3, 12, 20)


def solve_shares(mixed, clips, index):
    """Partner and share kept of a blended clip, found by least squares over all possible partners."""
    best = None
    for partner in range(len(clips)):
        if partner == index:
            continue
        difference = (clips[index] - clips[partner]).numpy().ravel()
        kept = difference @ (mixed[index] - clips[partner]).numpy().ravel() / (difference @ difference)
        error = np.abs(kept * difference - (mixed[index] - clips[partner]).numpy().ravel()).max()
        if best is None or error < best[2]:
            best = (partner, kept, error)
    return best


def expected_labels(index, partner, kept):
    row = np.zeros(3)
    row[LABELS[index]] += kept
    row[LABELS[partner]] += 1 - kept
    return row


@pytest.mark.parametrize(("share", "num_mixed"), [(0.5, 3), (1.0, 7), (0.3, 2)])
def test_mixup_blends_the_last_clips_and_their_labels(pixel_values, share, num_mixed):
    original = pixel_values.clone()
    partners = set()
    for seed in range(20):
        mixed = ClipMixing(3, mixup_alpha=0.8, share=share)(pixel_values, LABELS, [seed])
        assert mixed["is_mixed"].tolist() == [False] * (7 - num_mixed) + [True] * num_mixed
        for index in range(7):
            if not mixed["is_mixed"][index]:
                assert torch.equal(mixed["pixel_values"][index], original[index])
                assert mixed["soft_labels"][index].tolist() == expected_labels(index, index, 1).tolist()
                continue
            partner, kept, error = solve_shares(mixed["pixel_values"], original, index)
            assert error < 1e-5 and -1e-6 <= kept <= 1 + 1e-6
            np.testing.assert_allclose(mixed["soft_labels"][index], expected_labels(index, partner, kept), atol=1e-5)
            partners.add((index, partner))
    assert torch.equal(pixel_values, original)
    assert len(partners) > 4 * num_mixed  # any clip of the batch may be a partner


def test_cutmix_puts_one_rectangle_into_all_frames_and_counts_its_area(pixel_values):
    areas = []
    for seed in range(60):
        mixed = ClipMixing(3, cutmix_alpha=1.0, share=1.0)(pixel_values, LABELS, [seed])
        for index in range(7):
            taken = mixed["pixel_values"][index] != pixel_values[index]  # (4, 3, 12, 20)
            place = taken[0, 0]
            assert (taken == place).all()
            rows, columns = place.any(1).nonzero().ravel(), place.any(0).nonzero().ravel()
            areas.append(place.float().mean().item())
            if not len(rows):
                assert mixed["soft_labels"][index].max() == 1
                continue
            box = np.s_[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert place[box[1:]].all()
            partners = [
                other
                for other in range(7)
                if torch.equal(mixed["pixel_values"][index][box], pixel_values[other][box]) and other != index
            ]
            assert len(partners) == 1
            np.testing.assert_allclose(
                mixed["soft_labels"][index], expected_labels(index, partners[0], 1 - areas[-1]), atol=1e-6
            )
    # lambda is uniform for alpha 1; the border cuts off a part of the rectangle, so less than half is taken.
    assert 0.25 < np.mean(areas) < 0.5 and min(areas) < 0.03 and max(areas) > 0.8


@pytest.mark.parametrize("alpha", [0.2, 0.8, 5.0])
def test_mixup_draws_its_share_from_a_beta_distribution(alpha):
    labels = torch.arange(40) % 2
    clips = labels.float()[:, None, None, None, None].expand(40, 1, 3, 1, 1)
    kept = []
    for seed in range(100):
        mixed = ClipMixing(2, mixup_alpha=alpha, share=1.0)(clips, labels, [seed])
        soft = mixed["soft_labels"][torch.arange(40), labels]
        kept += soft[soft < 1].tolist()  # partners of the same class give 1
    assert np.mean(kept) == pytest.approx(0.5, abs=0.02)
    assert np.var(kept) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_with_both_on_each_clip_takes_one_of_the_two(pixel_values):
    cut, blended = 0, 0
    for seed in range(60):
        mixed = ClipMixing(3, mixup_alpha=0.8, cutmix_alpha=1.0, share=1.0)(pixel_values, LABELS, [seed])
        for index in range(7):
            unchanged = (mixed["pixel_values"][index] == pixel_values[index]).float().mean()
            if 0.05 < unchanged < 0.95:
                cut += 1
            elif unchanged < 0.01:
                blended += 1
    assert 0.35 < cut / (cut + blended) < 0.6


def test_mixing_is_a_function_of_the_seeds(pixel_values):
    mixing = ClipMixing(3, mixup_alpha=0.8, cutmix_alpha=1.0)
    first, again, other = (mixing(pixel_values, LABELS, seed)["pixel_values"] for seed in ([1, 2], [1, 2], [2, 1]))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_soft_labels_are_mixed_in_place_of_the_classes(pixel_values):
    soft = torch.rand(7, 3)
    soft = soft / soft.sum(1, keepdim=True)
    given = soft.clone()
    mixing = ClipMixing(3, mixup_alpha=0.8)
    hard, mixed = mixing(pixel_values, LABELS, [3]), mixing(pixel_values, LABELS, [3], soft)
    assert torch.equal(mixed["pixel_values"], hard["pixel_values"]) and torch.equal(soft, given)
    for index in range(7):
        if not mixed["is_mixed"][index]:
            assert torch.equal(mixed["soft_labels"][index], soft[index])
            continue
        partner, kept, _ = solve_shares(mixed["pixel_values"], pixel_values, index)
        expected = [kept * soft[index, label] + (1 - kept) * soft[partner, label] for label in range(3)]
        np.testing.assert_allclose(mixed["soft_labels"][index], expected, atol=1e-5)


def test_a_batch_of_one_clip_has_no_partner(pixel_values):
    mixed = ClipMixing(3, mixup_alpha=0.8, share=1.0)(pixel_values[:1], LABELS[:1], [0])
    assert torch.equal(mixed["pixel_values"], pixel_values[:1])
    assert not mixed["is_mixed"].any() and mixed["soft_labels"].tolist() == [[1, 0, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Neither mixup nor cutmix is on"),
        ({"mixup_alpha": -1.0}, "`mixup_alpha` is -1.0"),
        ({"cutmix_alpha": -0.1}, "`cutmix_alpha` is -0.1"),
        ({"mixup_alpha": 1.0, "share": 0.0}, "`share` is 0.0"),
        ({"mixup_alpha": 1.0, "share": 1.5}, "`share` is 1.5"),
    ],
)
def test_wrong_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ClipMixing(3, **options)


def test_the_collator_mixes_batches_of_training_and_no_others():
    processor = HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    mixing = ClipMixing(3, mixup_alpha=0.8)
    items = [
        {"clip": torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8), "label": label, "seed": 10 + label}
        for label in (0, 1, 2, 1)
    ]
    plain = ClipCollator(processor, 3)(items)
    mixed = ClipCollator(processor, 3, mixing)(items)
    expected = mixing(plain["pixel_values"], plain["labels"], [10, 11, 12, 11])
    assert set(plain) == {"pixel_values", "labels"}
    assert set(mixed) == {"pixel_values", "labels", "soft_labels", "is_mixed"}
    assert expected.keys() <= mixed.keys()
    for name, values in expected.items():
        torch.testing.assert_close(mixed[name], values)
    assert not torch.equal(mixed["pixel_values"], plain["pixel_values"])
    evaluation = ClipCollator(processor, 3, mixing)([{"clip": i["clip"], "label": i["label"]} for i in items])
    assert set(evaluation) == set(plain) and torch.equal(evaluation["pixel_values"], plain["pixel_values"])
