"""SyntheticFaces: what the clips contain, what they must not give away, and that they are the same everywhere."""

import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import av
import datasets
import multiprocess
import numpy as np
import psutil
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GroupKFold, cross_val_score

from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipFactors, DataArguments, SyntheticFaces, SyntheticFacesConfig, encode_mp4, render_clip
from modeling_hdf.data.synthetic.builder import SPLITS, clip_factors
from modeling_hdf.data.synthetic.dynamics import expression_envelope, expression_weights
from modeling_hdf.data.synthetic.mesh import ASSET_FILE, load_mesh, make_identity
from modeling_hdf.data.synthetic.renderer import IDENTITY_STREAM

TINY = {"num_train": 14, "num_validation": 7, "num_test": 7, "image_size": 32, "duration": 0.8}
NUISANCE = (
    "yaw pitch roll head_motion zoom light brightness background skin blinks talking noise compression fps".split()
)


def decode(clip: dict) -> np.ndarray:
    with av.open(io.BytesIO(clip["bytes"])) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def assert_alike(one: np.ndarray, other: np.ndarray) -> None:
    """Clips that show the same; the last bit of a rendered pixel may depend on the process that rendered it."""
    assert one.shape == other.shape
    assert np.abs(one.astype(int) - other).mean() < 0.2


def prepare(cache_dir: Path, num_proc: int = 1, **config) -> SyntheticFaces:
    builder = SyntheticFaces(cache_dir=str(cache_dir), **{**TINY, **config})
    builder.download_and_prepare(num_proc=num_proc)
    return builder


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="module")
def clips(cache_dir):
    return prepare(cache_dir).as_dataset()


@pytest.fixture(scope="module")
def factors() -> list[ClipFactors]:
    """The factors of 2,100 training clips at the default difficulty; nothing is rendered."""
    return [clip_factors(SyntheticFacesConfig(), "train", index) for index in range(2100)]


def test_pixels_do_not_depend_on_the_number_of_processes(clips, tmp_path):
    parallel = prepare(tmp_path, num_proc=2).as_dataset()
    for split in SPLITS:
        assert parallel[split]["clip_id"] == clips[split]["clip_id"]
        for one, two in zip(clips[split]["clip"], parallel[split]["clip"], strict=True):
            assert_alike(decode(one), decode(two))


def test_streaming_yields_the_same_clips(clips, cache_dir):
    stream = SyntheticFaces(cache_dir=str(cache_dir), **TINY).as_streaming_dataset(split="validation")
    for streamed, stored in zip(stream, clips["validation"], strict=True):
        assert_alike(decode(streamed.pop("clip")), decode(stored.pop("clip")))
        assert {name: value for name, value in streamed.items() if not isinstance(value, float)} == {
            name: value for name, value in stored.items() if not isinstance(value, float)
        }
        floats = [name for name, value in stored.items() if isinstance(value, float)]
        assert [streamed[name] for name in floats] == pytest.approx([stored[name] for name in floats], rel=1e-12)


def test_a_second_construction_reads_the_cache(cache_dir, clips):
    files = [Path(file["filename"]) for split in SPLITS for file in clips[split].cache_files]
    before = [file.stat().st_mtime_ns for file in files]
    again = prepare(cache_dir).as_dataset()
    assert [Path(file["filename"]) for split in SPLITS for file in again[split].cache_files] == files
    assert [file.stat().st_mtime_ns for file in files] == before


@pytest.mark.parametrize("change", [{"seed": 1}, {"difficulty": 0.5}, {"image_size": 34}, {"duration": 0.9}])
def test_another_configuration_has_another_cache(cache_dir, change):
    one, other = (SyntheticFaces(cache_dir=str(cache_dir), **{**TINY, **c}) for c in ({}, change))
    assert one.cache_dir != other.cache_dir


def test_a_default_written_out_shares_the_cache(cache_dir):
    implicit = SyntheticFaces(cache_dir=str(cache_dir))
    explicit = SyntheticFaces(cache_dir=str(cache_dir), seed=0, difficulty=1.0)
    assert implicit.cache_dir == explicit.cache_dir


def test_a_split_is_rendered_without_the_others_and_taken_from_the_whole_that_is_there(cache_dir, clips, tmp_path):
    builders = {}
    for folder in (tmp_path, cache_dir):
        fields = {**TINY, "cache_dir": str(folder)}
        builders[folder] = DataArguments().builder(fields, training=False, split="test")
        builders[folder].download_and_prepare(num_proc=1)
    alone = builders[tmp_path].as_dataset()
    assert list(alone) == ["test"] and not list(tmp_path.rglob("*train*"))
    assert builders[cache_dir].cache_dir == SyntheticFaces(cache_dir=str(cache_dir), **TINY).cache_dir
    assert alone["test"]["clip_id"] == clips["test"]["clip_id"]
    for one, other in zip(alone["test"]["clip"], clips["test"]["clip"], strict=True):
        assert_alike(decode(one), decode(other))
    whole = DataArguments().builder({**TINY, "cache_dir": str(tmp_path)}, split=None)
    assert whole.config.splits == SPLITS and whole.cache_dir != builders[tmp_path].cache_dir


def test_another_seed_gives_other_people_in_other_clips(factors):
    other = [clip_factors(SyntheticFacesConfig(seed=1), "train", index) for index in range(7)]
    assert [clip.label for clip in other] != [clip.label for clip in factors[:7]]
    assert {clip.onset for clip in other}.isdisjoint(clip.onset for clip in factors[:7])
    same = ClipFactors(label="surprise", identity=3)
    assert not np.array_equal(render_clip(same, 32, seed=0), render_clip(same, 32, seed=1))


def test_every_column_is_stored_as_it_was_drawn(clips):
    config = SyntheticFacesConfig(**TINY)
    features = clips["test"].features
    for index, row in enumerate(clips["test"]):
        drawn = clip_factors(config, "test", index)
        assert features["label"].int2str(row["label"]) == drawn.label
        assert features["background"].int2str(row["background"]) == drawn.background
        for name in ("onset", "speed", "intensity", "asymmetry", *(n for n in NUISANCE if n != "background")):
            assert row[name] == pytest.approx(getattr(drawn, name), rel=1e-12)
        assert row["clip"]["path"] == f"{row['clip_id']}.mp4"
        with av.open(io.BytesIO(row["clip"]["bytes"])) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.average_rate == row["fps"]
            assert (stream.width, stream.height) == (32, 32)
            assert stream.frames == round(drawn.duration * drawn.fps)


def test_age_and_gender_are_those_of_the_persons_shape(clips):
    """Found again in the drawn vertices: the mesh is linear in the shapes that the columns are shares of."""
    mesh, names = load_mesh(), np.load(ASSET_FILE)["macro_names"].tolist()
    pack = np.load(ASSET_FILE)
    shapes = [*pack["macro"], *pack["detail"]]
    design = np.stack([shape[mesh.kept].ravel() / 1000.0 for shape in shapes], axis=1)
    for row in clips["train"].select([0, 7]):
        person = make_identity(np.random.default_rng([0, IDENTITY_STREAM, row["identity"]]))
        found = np.linalg.lstsq(design, (person.vertices - mesh.rest).ravel(), rcond=None)[0]
        weights = {name: found[index] for index, name in enumerate(names) if not name.startswith("universal")}
        assert sum(weights.values()) == pytest.approx(1.0, abs=1e-2)
        assert sum(value for name, value in weights.items() if "-female-" in name) == pytest.approx(
            row["gender"], abs=1e-2
        )
        assert sum(value for name, value in weights.items() if name.endswith("-old")) == pytest.approx(
            row["age"], abs=1e-2
        )


def test_label_names_are_in_dfew_order(clips):
    names = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]
    assert clips["train"].features["label"].names == names


def test_nobody_appears_in_two_splits():
    config = SyntheticFacesConfig()
    people = {s: {clip_factors(config, s, i).identity for i in range(getattr(config, f"num_{s}"))} for s in SPLITS}
    assert {split: len(ids) for split, ids in people.items()} == {"train": 500, "validation": 50, "test": 100}
    assert sum(map(len, people.values())) == len(set.union(*people.values()))


def test_one_identity_is_one_face_and_two_are_two():
    first, again, other = (render_clip(ClipFactors(identity=i), 32)[0].astype(int) for i in (1, 1, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 2


def test_classes_are_balanced_and_every_person_shows_each(clips, factors):
    for split in SPLITS:
        assert set(Counter(clips[split]["label"]).values()) == {len(clips[split]) // 7}
    shown = defaultdict(set)
    for clip in factors:
        shown[clip.identity].add(clip.label)
    assert all(labels == set(EMOTIONS) for labels in shown.values())


def test_factors_say_nothing_about_the_label(factors):
    backgrounds = sorted({clip.background for clip in factors})
    numbers = ["duration", "onset", "speed", "intensity", "asymmetry", *NUISANCE]
    table = np.array(
        [[backgrounds.index(c.background) if n == "background" else getattr(c, n) for n in numbers] for c in factors]
    )
    label = np.array([EMOTIONS.index(clip.label) for clip in factors])
    overall, spread = table.mean(axis=0), table.std(axis=0)
    for k in range(7):
        # 300 clips a class: the standard error of a class mean is spread / sqrt(300).
        deviation = (table[label == k].mean(axis=0) - overall) / (spread / np.sqrt(300))
        assert np.abs(deviation).max() < 4.0, numbers[np.abs(deviation).argmax()]
    accuracy = cross_val_score(LinearDiscriminantAnalysis(), table, label, cv=5).mean()
    assert accuracy < 0.19  # chance is 0.143, three standard errors are 0.023


def test_factors_stay_in_their_documented_ranges(factors):
    ranges = {
        "duration": (1.44, 1.76), "intensity": (0.8, 1.2), "asymmetry": (-0.3, 0.3), "yaw": (-10, 10),
        "pitch": (-6, 6), "roll": (-4, 4), "head_motion": (0.5, 2.5), "zoom": (0.96, 1.04), "light": (-40, 40),
        "brightness": (2**-0.35, 2**0.35), "skin": (0, 1), "blinks": (0, 2), "talking": (0, 0.45), "noise": (1, 5),
        "compression": (18, 26), "fps": (7, 16),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        values = np.array([getattr(clip, name) for clip in factors])
        assert low <= values.min() and values.max() <= high, name
        # The whole range is used, at both ends.
        assert values.min() < low + 0.05 * (high - low) and values.max() > high - 0.05 * (high - low), name
    assert all(0.10 <= clip.onset / clip.duration <= 0.28 for clip in factors)
    assert all(3.0 <= clip.speed * clip.duration <= 6.0 for clip in factors)
    assert {clip.background for clip in factors} == {"grey", "colour", "gradient", "blobs"}
    assert np.mean([clip.talking == 0 for clip in factors]) == pytest.approx(0.6, abs=0.05)


def test_difficulty_zero_has_no_nuisance_and_two_has_twice_as_much(factors):
    clean = [clip_factors(SyntheticFacesConfig(difficulty=0.0), "train", index) for index in range(70)]
    for name in NUISANCE:
        assert {getattr(clip, name) for clip in clean} == {getattr(ClipFactors(), name)} or name == "fps", name
    assert {clip.fps for clip in clean} == {11}
    hard = [clip_factors(SyntheticFacesConfig(difficulty=2.0), "train", index) for index in range(2100)]
    for name in ("yaw", "pitch", "roll", "light", "head_motion", "noise"):
        ratio = np.std([getattr(c, name) for c in hard]) / np.std([getattr(c, name) for c in factors])
        assert ratio == pytest.approx(2.0, rel=0.05), name


def test_without_nuisance_a_neutral_clip_is_still():
    frames = render_clip(ClipFactors(label="neutral"), 32)
    assert np.abs(frames.astype(int) - frames[:1]).max() <= 1


@pytest.mark.parametrize(
    "change",
    [{"head_motion": 2.0}, {"noise": 3.0}, {"blinks": 2}, {"talking": 0.4}],
    ids=lambda change: next(iter(change)),
)
def test_nuisance_moves_a_neutral_face(change):
    frames = render_clip(ClipFactors(label="neutral", **change), 64).astype(int)
    assert np.abs(frames - frames[:1]).max() > 10


@pytest.mark.parametrize(
    "change",
    [{"yaw": 10.0}, {"pitch": 6.0}, {"roll": 4.0}, {"light": 40.0}, {"skin": 0.9}, {"zoom": 1.04}]
    + [{"brightness": 1.25}, {"background": "blobs"}, {"background": "gradient"}, {"background": "colour"}],
    ids=str,
)
def test_nuisance_changes_the_picture(change):
    plain, changed = (render_clip(ClipFactors(**c), 32)[0].astype(int) for c in ({}, change))
    assert np.abs(plain - changed).mean() > 1


@pytest.mark.parametrize("label", [label for label in EMOTIONS if label != "neutral"])
def test_an_expression_rises_from_the_first_frame_and_returns(label):
    factors = ClipFactors(label=label)
    frames = render_clip(factors, 64).astype(int)
    change = np.abs(frames - frames[:1]).mean(axis=(1, 2, 3))
    before = factors.times <= factors.onset
    assert before.sum() >= 2 and (change[before] < 0.01).all()
    apex = int(change.argmax())
    assert factors.onset < factors.times[apex] < factors.duration
    assert change[apex] > 0.5 and change[-1] < 0.5 * change[apex]


def test_expression_weights_are_zero_until_the_onset_and_reach_the_intensity(factors):
    for clip in factors[:200]:
        envelope = expression_envelope(clip)
        assert (envelope[clip.times <= clip.onset] == 0).all() and clip.onset > 1.0 / clip.fps * 0.5
        assert envelope.max() > 0.7 and envelope[-1] < 0.7
        for course in expression_weights(clip, np.random.default_rng(0)).values():
            assert course[0] == 0


def test_asymmetry_weakens_the_side_it_names():
    def smile(asymmetry: float) -> tuple[float, float]:
        weights = expression_weights(ClipFactors(label="happiness", asymmetry=asymmetry), np.random.default_rng(0))
        return weights["mouthSmileLeft"].max(), weights["mouthSmileRight"].max()

    left, right = smile(0.0)
    assert left == pytest.approx(right) and right > 0
    assert smile(0.3) == pytest.approx((0.7 * left, right))
    assert smile(-0.3) == pytest.approx((left, 0.7 * right))


def test_intensity_and_speed_shape_the_course():
    def course(**change) -> np.ndarray:
        clip = ClipFactors(label="happiness", fps=100, **change)
        return expression_weights(clip, np.random.default_rng(0))["mouthSmileLeft"]

    np.testing.assert_allclose(course(intensity=1.2), 1.5 * course(intensity=0.8))
    # A rise lasts 1 / speed seconds: 0.3 s + 0.25 s and 0.3 s + 0.5 s.
    assert course(speed=4.0).argmax() == 55
    assert course(speed=2.0).argmax() == 80


def test_first_frames_do_not_tell_the_label_and_later_frames_do():
    """A linear classifier on single decoded frames, tested on people it has not seen."""
    config = SyntheticFacesConfig(duration=0.8)
    first, later, labels = [], [], []
    for index in range(350):
        clip = clip_factors(config, "train", index)
        # At 4 frames per second the third frame lies at 0.5 s, near the apex.
        video = render_clip(replace(clip, fps=4), 32, clip_seed=(0, index))
        video = decode({"bytes": encode_mp4(video, 4, clip.compression)})[:3]
        blocks = video.reshape(3, 16, 2, 16, 2, 3).mean(axis=(2, 4, 5)).reshape(3, -1)
        first.append(blocks[0])
        later.append(blocks[2] - blocks[0])
        labels.append(clip.label)

    def accuracy(pixels: list[np.ndarray]) -> float:
        classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)
        return cross_val_score(classifier, np.array(pixels), labels, cv=GroupKFold(5), groups=people).mean()

    people = [index // 7 for index in range(350)]
    # Chance is 0.143 and one standard error 0.019.
    assert accuracy(first) < 0.21
    assert accuracy(later) > 0.30


def test_compression_of_the_first_frame_ignores_the_frames_that_follow():
    still, moving = (render_clip(ClipFactors(label=label, noise=3.0), 64) for label in ("neutral", "surprise"))
    moving[0] = still[0]
    first = [decode({"bytes": encode_mp4(frames, fps=12, crf=24.0)})[0] for frames in (still, moving)]
    np.testing.assert_array_equal(*first)


def test_encoding_keeps_frames_order_and_rate():
    frames = np.stack([np.full((32, 48, 3), 20 * i, np.uint8) for i in range(10)])
    data = encode_mp4(frames, fps=7, crf=10.0)
    with av.open(io.BytesIO(data)) as container:
        seconds = [float(frame.time) for frame in container.decode(video=0)]
    np.testing.assert_allclose(seconds, np.arange(10) / 7, atol=1e-3)
    np.testing.assert_allclose(decode({"bytes": data}).mean(axis=(1, 2, 3)), 20 * np.arange(10), atol=4)
    coarse, fine = (encode_mp4(render_clip(ClipFactors(noise=5.0), 64), 12, crf) for crf in (35.0, 15.0))
    assert len(coarse) < 0.5 * len(fine)


@pytest.mark.parametrize("frames", [np.zeros((2, 31, 32, 3), np.uint8), np.zeros((2, 32, 32, 3), np.float32)])
def test_encoding_refuses_what_it_cannot_store(frames):
    with pytest.raises(ValueError, match="frames"):
        encode_mp4(frames, fps=12)


@pytest.mark.parametrize(
    "field, value",
    [("difficulty", -0.1), ("difficulty", 5.0), ("num_train", 0), ("num_validation", 6), ("num_test", -1)]
    + [("image_size", 33), ("image_size", 16), ("duration", 0.1), ("seed", -1), ("splits", ("dev",)), ("splits", ())],
)
def test_a_bad_value_is_refused_by_name(cache_dir, field, value):
    with pytest.raises(ValueError, match=f"`{field}`"):
        SyntheticFaces(cache_dir=str(cache_dir), **{field: value})


def test_an_unknown_option_is_refused_by_name(cache_dir):
    with pytest.raises(TypeError, match="num_trian"):
        SyntheticFaces(cache_dir=str(cache_dir), num_trian=70)


def test_rendering_uses_every_usable_core_unless_told_otherwise(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        datasets.GeneratorBasedBuilder,
        "download_and_prepare",
        lambda self, *args, num_proc=None, **options: asked.append(num_proc),
    )
    builder = SyntheticFaces(cache_dir=str(tmp_path))
    builder.download_and_prepare()
    builder.download_and_prepare(num_proc=3)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert asked == [usable, 3]


@pytest.mark.skipif(multiprocess.get_start_method() != "fork", reason="only forked workers follow")
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_rendering_that_is_ended_leaves_no_process_behind(end, tmp_path):
    code = (
        "import sys; from modeling_hdf.data import SyntheticFaces; "
        "SyntheticFaces(cache_dir=sys.argv[1], num_train=7000).download_and_prepare(num_proc=2)"
    )
    rendering = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.DEVNULL)
    started, deadline = [], time.monotonic() + 120
    while len(started) < 3 and rendering.poll() is None and time.monotonic() < deadline:  # two workers, their manager
        started = psutil.Process(rendering.pid).children(recursive=True)
        time.sleep(0.1)
    rendering.send_signal(signal.Signals[end])
    assert rendering.wait(60) == -signal.Signals[end] and len(started) >= 3
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
