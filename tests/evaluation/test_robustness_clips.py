"""Which clips `hdf robustness` measures, and which give foreign frames: damaged ones, and classes the model lacks."""

import json
import weakref
from zlib import crc32

import numpy as np
import pytest
import torch
from evaluated_models import assert_error, own_dataset_cache, run, save_model  # noqa: F401
from trees import read_back, write_frames

from modeling_hdf import HDFVideoProcessor
from modeling_hdf.data import VideoFolder
from modeling_hdf.evaluation import robustness
from modeling_hdf.evaluation.robustness import CLEAN, CorruptedClips, Partners, all_conditions

CLASSES = ("anger", "fear", "sadness")
PER_CLASS = 3


@pytest.fixture
def videos(tmp_path):
    """Test clips of three classes; every frame tells its clip's number, from 1, so that black is no clip."""
    for number in range(len(CLASSES) * PER_CLASS):
        write_frames(clip_folder(tmp_path, number), [f"{index}.png" for index in range(12)], number + 1)
    return tmp_path / "videos"


def clip_folder(root, number: int):
    return root / "videos" / "test" / CLASSES[number // PER_CLASS] / str(number)


def damage(folder) -> None:
    frame = folder / "5.png"
    frame.write_bytes(frame.read_bytes()[:60])


def rows_of(videos):
    builder = VideoFolder(data_dir=str(videos), cut_splits=(), depth="listing")
    builder.download_and_prepare()
    return builder.as_dataset(split="test")


def processor() -> HDFVideoProcessor:
    size = {"height": 16, "width": 24}
    return HDFVideoProcessor(num_frames=4, size=size, crop_size=size)


def number_of(frame: torch.Tensor) -> int:
    """Which clip a frame `(3, H, W)` is of."""
    return read_back(frame[None, :, :, 4:20].movedim(1, -1).numpy())[1] - 1


def measure(saved, videos, *options) -> int:
    chosen = ("--corruptions", "foreign", "--severities", 5)
    return run("robustness", saved, "--dataset", "folder", "--data-dir", videos, *chosen, *options)


def first_partners(rows, seed: int) -> list[int]:
    return [int(Partners(rows, seed).order(index)[0]) for index in range(len(rows))]


def seed_where_a_clip_gives_frames(rows, giver: int) -> int:
    return next(seed for seed in range(100) if giver in first_partners(rows, seed))


def test_a_damaged_clip_is_named_and_costs_no_other_clip(saved, videos, tmp_path, capsys):
    rows = rows_of(videos)
    seed = seed_where_a_clip_gives_frames(rows, 4)
    damage(clip_folder(tmp_path, 4))
    options = ("--seed", seed, "--json")
    assert measure(saved, videos, *options, "--max-missing", 1) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["num_clips"] == 8
    ((clip_id, message),) = [entry.values() for entry in result["unreadable"]]
    assert clip_id == "test/fear/4" and "5.png" in message and str(tmp_path) not in message
    assert measure(saved, videos, *options) == 1
    assert_error(capsys, "1 of 9 listed clips are missing, empty or unreadable")


def test_workers_change_no_figure(saved, videos, tmp_path, capsys):
    damage(clip_folder(tmp_path, 4))
    found = []
    for workers in (0, 2):
        assert measure(saved, videos, "--num-workers", workers, "--max-missing", 1, "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert [entry["clip_id"] for entry in result["unreadable"]] == ["test/fear/4"]
        found.append([result["clean"]["war"], result["corruptions"]["foreign"]["uar"]])
    assert found[0] == pytest.approx(found[1])


def test_the_next_partner_gives_its_frames_for_a_damaged_one(videos, tmp_path):
    rows = rows_of(videos)
    seed = seed_where_a_clip_gives_frames(rows, 4)
    taker = first_partners(rows, seed).index(4)
    conditions = [CLEAN, ("foreign", 5)]

    def numbers() -> set[int]:
        clean, foreign = CorruptedClips(rows, processor(), conditions, seed)[taker][1]
        assert {number_of(frame) for frame in clean} == {taker}
        return {number_of(frame) for frame in foreign} - {taker}

    assert numbers() == {4}
    damage(clip_folder(tmp_path, 4))
    assert numbers() == {int(Partners(rows, seed).order(taker)[1])}


def test_an_error_says_that_no_clip_gives_foreign_frames(saved, videos, tmp_path, capsys):
    for number in range(PER_CLASS, 3 * PER_CLASS):
        damage(clip_folder(tmp_path, number))
    assert measure(saved, videos) == 1
    assert_error(capsys, "None of the 6 clips that could give foreign frames to test/anger/0 can be read")


def test_one_class_is_enough_without_foreign_frames(saved, tmp_path, capsys):
    for number in range(PER_CLASS):
        write_frames(clip_folder(tmp_path, number), [f"{index}.png" for index in range(12)], number)
    assert measure(saved, tmp_path / "videos", "--corruptions", "black", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_clips"] == PER_CLASS
    assert measure(saved, tmp_path / "videos") == 1
    assert_error(capsys, "`foreign` needs clips of another one")


def test_partners_are_of_another_class_and_another_person_where_rows_name_people(videos):
    rows = rows_of(videos)
    labels = np.array(rows["label"][:])
    for people in (None, [0, 0, 1, 0, 1, 1, 2, 2, 2], [0] * 9):
        named = rows if people is None else rows.add_column("identity", people)
        for index in range(len(rows)):
            expected = [other for other in range(9) if labels[other] != labels[index]]
            if people is not None and len(set(people)) > 1:
                expected = [other for other in expected if people[other] != people[index]]
            rng = np.random.default_rng([1, crc32(rows["clip_id"][index].encode())])
            assert Partners(named, 1).order(index).tolist() == rng.permutation(expected).tolist()
    assert len({tuple(first_partners(rows, seed)) for seed in range(5)}) > 1


def test_a_clip_has_the_same_pixels_for_every_model_and_number_of_clips(saved, videos, tmp_path, capsys, monkeypatch):
    seen = []
    classify = robustness.predicted_classes

    def keep(model, processor, versions, *arguments):
        seen[-1][number_of(versions[0, 0])] = versions
        return classify(model, processor, versions, *arguments)

    monkeypatch.setattr(robustness, "predicted_classes", keep)
    other = save_model(tmp_path / "other", ("boredom", "fear", "sadness"))
    for model, options in ((saved, ()), (saved, ("--max-clips", 4)), (other, ())):
        seen.append({})
        assert measure(model, videos, *options) == 0
    every, some, shared = seen
    assert (len(every), len(some)) == (9, 4) and set(shared) == set(range(3, 9))
    for number, versions in [*some.items(), *shared.items()]:
        assert versions.equal(every[number]), number
    strangers = {number_of(frame) for versions in shared.values() for frame in versions[1]}
    assert strangers & {0, 1, 2}  # clips of a class that the model lacks may give frames


def test_classes_that_the_model_lacks_are_named_as_by_evaluate(videos, tmp_path, capsys):
    model = save_model(tmp_path / "other", ("boredom", "sadness", "fear"))
    assert measure(model, videos, "--corruptions", "black", "--output", tmp_path / "out") == 0
    assert "clips left out, of classes that the model lacks: 3 anger" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "robustness.json").read_text())
    options = ("--dataset", "folder", "--data-dir", videos, "--resamples", 5, "--output", tmp_path / "metrics")
    assert run("evaluate", model, *options) == 0
    metrics = json.loads((tmp_path / "metrics" / "metrics.json").read_text())
    assert result["across_datasets"] == metrics["across_datasets"]
    assert result["across_datasets"]["left_out"] == {"anger": 3} and result["num_clips"] == 6
    # Four of 12 frames are the same as four of the 64 that are spread over the 12.
    assert result["clean"] == pytest.approx({name: metrics[name] for name in ("war", "uar")})


def test_classes_that_model_and_dataset_share_need_no_entry(saved, videos, capsys):
    assert measure(saved, videos, "--corruptions", "black", "--json") == 0
    assert json.loads(capsys.readouterr().out)["across_datasets"] is None


def test_one_version_at_a_time_is_kept_at_the_size_of_the_video(videos, monkeypatch):
    large = weakref.WeakSet()
    most = 0
    corrupt = robustness.corrupt

    def counted(*arguments, **options):
        nonlocal most
        most = max(most, len(large))
        version = corrupt(*arguments, **options)
        large.add(version)
        return version

    monkeypatch.setattr(robustness, "corrupt", counted)
    conditions = all_conditions(["black", "swapped"])
    _, versions = CorruptedClips(rows_of(videos), processor(), conditions, 0)[0]
    assert versions.shape == (11, 4, 3, 16, 24) and most <= 1
