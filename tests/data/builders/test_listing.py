"""Cutting a split from the training clips: by class, by whole groups, and where it is impossible."""

from collections import Counter

import numpy as np
import pytest

from modeling_hdf.data.builders.listing import ListedClip, cut_split


def listed(labels, groups=None, split: str = "train") -> list[ListedClip]:
    groups = [None] * len(labels) if groups is None else groups
    return [
        ListedClip(f"{split} {number:05d}", str(label), split, f"{number}.mp4", "list.csv", group=group)
        for number, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]


def held_out(clips: list[ListedClip], fraction: float, seed: int = 0, has_groups: bool = False) -> list[ListedClip]:
    return [clip for clip in cut_split(clips, "validation", fraction, seed, has_groups) if clip.split == "validation"]


def people(num_people: int, seed: int = 0) -> list[ListedClip]:
    """Clips of five unequal classes; each person has some of two to five classes, in different numbers."""
    generator = np.random.default_rng(seed)
    labels, groups = [], []
    for person in range(num_people):
        classes = generator.choice(5, size=generator.integers(2, 6), replace=False)
        for label in classes:
            count = int(generator.integers(1, 12)) // (label + 1) + 1
            labels += [f"class {label}"] * count
            groups += [f"person {person}"] * count
    return listed(labels, groups)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.3, 0.5, 0.8])
def test_each_class_gives_its_rounded_share_and_the_rest_stays_as_it_was(fraction):
    sizes = {"a": 200, "b": 41, "c": 7, "d": 2}
    clips = listed([name for name, size in sizes.items() for _ in range(size)]) + listed(["a"] * 9, split="test")
    cut = cut_split(clips, "validation", fraction, 0, has_groups=False)
    counts = Counter(clip.label for clip in cut if clip.split == "validation")
    assert counts == {name: min(max(round(fraction * size), 1), size - 1) for name, size in sizes.items()}
    assert [clip.clip_id for clip in cut] == [clip.clip_id for clip in clips]
    assert [clip for clip in cut if clip.split == "test"] == clips[-9:]


def test_a_class_of_one_clip_stays_in_training():
    chosen = held_out(listed(["rare", *["a"] * 2, *["b"] * 20]), 0.1)
    assert Counter(clip.label for clip in chosen) == {"a": 1, "b": 2}


@pytest.mark.parametrize("has_groups", [False, True])
def test_the_cut_is_a_function_of_clips_and_seed_not_of_their_order(has_groups):
    clips = people(40)
    shuffled = [clips[index] for index in np.random.default_rng(1).permutation(len(clips))]
    cuts = [{clip.clip_id for clip in held_out(clips, 0.2, seed, has_groups)} for seed in range(4)]
    assert {clip.clip_id for clip in held_out(shuffled, 0.2, 0, has_groups)} == cuts[0]
    assert len({frozenset(cut) for cut in cuts}) == 4


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_whole_and_the_shares_are_close_to_the_fraction(fraction, seed):
    clips = people(100, seed)
    chosen = held_out(clips, fraction, seed, has_groups=True)
    groups = {clip.group for clip in chosen}
    assert Counter(clip.clip_id for clip in chosen) == Counter(c.clip_id for c in clips if c.group in groups)
    nearest = 1 / round(1 / fraction) if fraction <= 0.5 else 1 - 1 / round(1 / (1 - fraction))
    assert len(chosen) / len(clips) == pytest.approx(nearest, abs=0.03)
    totals, counts = (Counter(clip.label for clip in part) for part in (clips, chosen))
    for label, total in totals.items():
        assert counts[label] / total == pytest.approx(nearest, abs=0.08)


@pytest.mark.parametrize("seed", range(5))
def test_few_unequal_groups_leave_every_class_in_both_parts_where_they_can(seed):
    # Twenty-two groups, of which two hold the rare class: one of them must be held out, and only one.
    generator = np.random.default_rng(seed)
    labels, groups = ["rare"] * 6, ["group 3"] * 2 + ["group 17"] * 4
    for group in range(22):
        labels += [f"class {label}" for label in generator.integers(3, size=40 + 10 * group)]
        groups += [f"group {group}"] * (40 + 10 * group)
    clips = listed(labels, groups)
    chosen = held_out(clips, 0.1, seed, has_groups=True)
    assert 0 < sum(clip.label == "rare" for clip in chosen) < 6
    assert len(chosen) / len(clips) == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_group_stays_in_training(seed):
    clips = listed(["a", "b"] * 20 + ["rare"] * 3, [f"group {index // 8}" for index in range(40)] + ["group 0"] * 3)
    chosen = held_out(clips, 0.2, seed, has_groups=True)
    assert {clip.label for clip in chosen} == {"a", "b"} and "group 0" not in {clip.group for clip in chosen}


def test_two_groups_are_enough_and_a_clip_without_a_group_is_one_of_its_own():
    clips = listed(["a", "b"] * 10, ["first"] * 14 + ["second"] * 6)
    assert {clip.group for clip in held_out(clips, 0.1, has_groups=True)} == {"second"}
    clips = listed(["a", "b"] * 30, ["first"] * 8 + [None] * 52)
    chosen = held_out(clips, 0.1, has_groups=True)
    assert {clip.group for clip in chosen} == {None} and {clip.label for clip in chosen} == {"a", "b"}


@pytest.mark.parametrize(
    ("clips", "has_groups", "message"),
    [
        (listed(["a", "b", "c"]), False, "No validation split .*each of a, b, c has a single one"),
        (listed(["a", "b"] * 4, ["one"] * 8), True, "No validation split .*all training clips are of one group"),
        (listed(["a", "b"] * 4, split="test"), False, "No validation split .*no training clips"),
    ],
)
def test_a_cut_that_is_impossible_is_refused(clips, has_groups, message):
    with pytest.raises(ValueError, match=message):
        cut_split(clips, "validation", 0.2, 0, has_groups)
