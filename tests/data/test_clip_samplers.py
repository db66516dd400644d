"""Samplers of an epoch: frequencies, groups, repeatability, and how accelerate deals them to processes."""

import pickle
from collections import Counter

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from modeling_hdf.data.clip_samplers import BalancedSampler, Draw, PerClassSampler, build_sampler

# As uneven as DFEW: class 3 has no clip.
COUNTS = {0: 240, 1: 120, 2: 60, 4: 9, 5: 3}
LABELS = np.random.default_rng(0).permutation([label for label, count in COUNTS.items() for _ in range(count)])


def groups_of(indices, size):
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def samplers():
    return [BalancedSampler(LABELS, seed=1), PerClassSampler(LABELS, 4, seed=1)]


# ---- Balanced ----


def test_balanced_draws_each_class_equally_often_and_each_clip_of_a_class_too():
    sampler = BalancedSampler(LABELS, seed=3)
    drawn = []
    for epoch in range(40):
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert len(indices) == len(sampler) == len(LABELS)
        drawn += indices
    shares = np.bincount(LABELS[drawn], minlength=6) / len(drawn)
    np.testing.assert_allclose(shares, [0.2, 0.2, 0.2, 0, 0.2, 0.2], atol=0.015)
    counts = Counter(drawn)
    largest = [counts[index] for index in np.flatnonzero(LABELS == 0)]
    # 40 epochs give each of the 240 clips 14.4 draws on average; a Poisson spread around it.
    assert np.mean(largest) == pytest.approx(14.4, rel=0.05) and np.var(largest) == pytest.approx(14.4, rel=0.35)


# ---- Per class ----


def test_per_class_gives_groups_of_one_class_of_different_clips():
    indices = list(PerClassSampler(LABELS, 4))
    for group in groups_of(indices, 4):
        assert len(set(LABELS[group])) == 1
        label = LABELS[group[0]]
        assert len(set(group)) == min(4, COUNTS[label])


def test_per_class_draws_all_classes_in_each_round_in_varying_order():
    labels = [LABELS[group[0]] for group in groups_of(list(PerClassSampler(LABELS, 4)), 4)]
    rounds = [tuple(chunk) for chunk in groups_of(labels, 5) if len(chunk) == 5]
    assert len(rounds) == 21 and all(set(chunk) == set(COUNTS) for chunk in rounds)
    assert len(set(rounds)) > 10


def test_per_class_deals_all_clips_of_a_class_before_one_comes_again():
    sampler = PerClassSampler(LABELS, 4)
    indices = list(sampler)
    for label, count in COUNTS.items():
        dealt = Counter(index for index in indices if LABELS[index] == label)
        if label != 5:  # smaller than a group
            assert max(dealt.values()) - min(dealt[index] for index in np.flatnonzero(LABELS == label)) <= 1
        assert len(dealt) == min(count, sum(dealt.values()))


@pytest.mark.parametrize("num_clips", [431, 432, 429])
def test_per_class_has_the_length_of_the_dataset_rounded_up_to_groups(num_clips):
    sampler = PerClassSampler(LABELS[:num_clips], 4)
    assert len(sampler) == len(list(sampler)) == (num_clips + 3) // 4 * 4


@pytest.mark.parametrize("clips_per_class", [0, 1])
def test_a_group_needs_two_clips(clips_per_class):
    with pytest.raises(ValueError, match=f"`clips_per_class` is {clips_per_class}"):
        PerClassSampler(LABELS, clips_per_class)


# ---- Both ----


def test_the_order_is_a_function_of_seed_and_epoch():
    for kind in (lambda seed: BalancedSampler(LABELS, seed), lambda seed: PerClassSampler(LABELS, 4, seed)):
        orders = {}
        for seed in (0, 1):
            for epoch in (0, 1, 2):
                sampler = kind(seed)
                list(sampler)  # an earlier pass leaves no trace
                sampler.set_epoch(epoch)
                orders[seed, epoch] = list(sampler)
                assert orders[seed, epoch] == list(sampler)
        assert len({tuple(order) for order in orders.values()}) == 6


def test_a_draw_knows_how_often_its_clip_came_up_before():
    for sampler in samplers():
        seen = Counter()
        for draw in sampler:
            assert isinstance(draw, Draw) and draw.occurrence == seen[draw]
            seen[draw] += 1
        assert max(seen.values()) > 5
        copied = pickle.loads(pickle.dumps(draw))
        assert copied == draw and copied.occurrence == draw.occurrence


def test_wrong_labels_and_names_are_refused():
    with pytest.raises(ValueError, match="labels of some clips"):
        BalancedSampler([])
    with pytest.raises(ValueError, match="`sampler` is 'weighted'"):
        build_sampler("weighted", LABELS, 4, 0)
    assert isinstance(build_sampler("balanced", LABELS, 4, 0), BalancedSampler)
    assert build_sampler("per_class", LABELS, 6, 0).clips_per_class == 6


# ---- Several processes ----


def shards(sampler_of, batch_size, split_batches=False, num_processes=2):
    """The batches of each process; every process has a sampler of its own, as under DDP."""
    return [
        list(
            BatchSamplerShard(
                BatchSampler(sampler_of(), batch_size, drop_last=False), num_processes, rank, split_batches
            )
        )
        for rank in range(num_processes)
    ]


@pytest.mark.parametrize("split_batches", [False, True])
@pytest.mark.parametrize("kind", ["balanced", "per_class"])
def test_two_processes_share_the_epoch_of_one(kind, split_batches):
    def sampler_of():
        sampler = build_sampler(kind, LABELS, 4, 7)
        sampler.set_epoch(3)
        return sampler

    first, second = shards(sampler_of, 16, split_batches)
    assert len(first) == len(second)
    dealt = [index for pair in zip(first, second, strict=True) for batch in pair for index in batch]
    epoch = list(sampler_of())
    assert dealt[: len(epoch)] == epoch  # all of it, in order
    assert set(dealt[len(epoch) :]) <= set(epoch[:32])  # then accelerate fills up from the start


@pytest.mark.parametrize("num_clips", [432, 431, 421])
@pytest.mark.parametrize(("batch_size", "split_batches"), [(8, False), (16, True), (12, False)])
def test_each_process_has_whole_groups_in_each_batch(batch_size, split_batches, num_clips):
    labels = LABELS[:num_clips]
    for batches in shards(lambda: PerClassSampler(labels, 4, 7), batch_size, split_batches):
        for batch in batches:
            for group in groups_of(batch, 4):
                assert len(group) == 4 and len(set(labels[group])) == 1
