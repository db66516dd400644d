"""Every picture: what it draws, by the calls of matplotlib and by other means of counting."""

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.manifold import TSNE

from modeling_hdf.evaluation.gates import DAMGates
from modeling_hdf.evaluation.metrics import classification_scores, expected_calibration_error, reliability
from modeling_hdf.reports import (
    GatedClip,
    plot_confusion_matrix,
    plot_features,
    plot_gates,
    plot_reliability,
    plot_training_curves,
)
from modeling_hdf.reports.plots import tsne_perplexity

CLASSES = ["happiness", "sadness", "neutral"]
LONG_NAMES = ["happiness", "helplessness", "disappointment"]


@pytest.fixture
def drawn(monkeypatch) -> dict[str, list]:
    """Arguments of the calls of matplotlib that draw."""
    calls = {}
    for owner, name in [(Axes, "bar"), (Axes, "imshow"), (Axes, "scatter"), (Axes, "set"), (Figure, "text")]:
        calls[name] = []
        monkeypatch.setattr(owner, name, recording(getattr(owner, name), calls[name]))
    return calls


def recording(draw, calls: list):
    def record(self, *args, **kwargs):
        calls.append((args, kwargs))
        return draw(self, *args, **kwargs)

    return record


def is_png(file: BytesIO) -> bool:
    return Image.open(file).format == "PNG"


def test_confusion_matrix_shows_its_numbers_and_names(tmp_path, monkeypatch):
    texts = []
    draw = Axes.text
    monkeypatch.setattr(Axes, "text", lambda self, x, y, s, **kw: texts.append((x, y, s)) or draw(self, x, y, s, **kw))
    scores = classification_scores(np.array([0, 0, 0, 2]), np.array([0, 0, 1, 2]), CLASSES)
    plot_confusion_matrix(scores, tmp_path / "matrix.png", "demo")
    # x is the predicted class, y the true one; sadness has no clips.
    assert {(0, 0, "2\n67%"), (1, 0, "1\n33%"), (2, 2, "1\n100%"), (1, 1, "–")} <= set(texts)
    assert Image.open(tmp_path / "matrix.png").format == "PNG"


@pytest.mark.parametrize("with_dsm", [True, False])
def test_training_curves_draw_what_the_log_holds(tmp_path, monkeypatch, with_dsm):
    curves = {}
    draw = Axes.plot
    monkeypatch.setattr(
        Axes,
        "plot",
        lambda self, x, y, **kw: curves.update({kw["label"]: (list(x), list(y))}) or draw(self, x, y, **kw),
    )
    history = [
        {"epoch": 0.5, "loss": 2.0} | ({"loss_ce": 1.5, "loss_sc": -1.0} if with_dsm else {}),
        {"epoch": 1.0, "eval_loss": 1.9, "eval_war": 0.3, "eval_uar": 0.2},
        {"epoch": 1.5, "loss": 1.0} | ({"loss_ce": 0.5, "loss_sc": -2.0} if with_dsm else {}),
    ]
    plot_training_curves(history, tmp_path / "curves.png")
    assert curves["training loss"] == ([0.5, 1.5], [2.0, 1.0])
    assert curves["validation UAR"] == ([1.0], [0.2])
    assert ("contrastive part" in curves) == with_dsm
    assert Image.open(tmp_path / "curves.png").format == "PNG"


def test_reliability_diagram_draws_what_a_loop_over_clips_finds(drawn):
    generator = np.random.default_rng(0)
    probabilities, labels = generator.dirichlet(np.ones(4), 200), generator.integers(0, 4, 200)
    error = expected_calibration_error(labels, probabilities)
    file = BytesIO()
    plot_reliability({"before": {"reliability": reliability(labels, probabilities), "ece": error}}, file)
    counts, right, confidence = np.zeros(15, int), np.zeros(15), np.zeros(15)
    for label, row in zip(labels, probabilities, strict=True):
        number = next(i for i in range(15) if i / 15 < row.max() <= (i + 1) / 15)
        counts[number] += 1
        right[number] += row.argmax() == label
        confidence[number] += row.max()
    filled = counts > 0
    (accuracy, gaps, histogram) = [np.array(args[1], dtype=float) for args, _ in drawn["bar"]]
    np.testing.assert_allclose(accuracy[filled], right[filled] / counts[filled])
    np.testing.assert_allclose(gaps[filled], (confidence - right)[filled] / counts[filled])
    assert np.isnan(accuracy[~filled]).all() and histogram.tolist() == counts.tolist()
    assert any(kwargs.get("title") == f"before\nECE {error:.3f}" for _, kwargs in drawn["set"])
    assert is_png(file)


def test_features_are_drawn_by_their_true_class(drawn):
    labels = np.repeat([2, 0], 8)  # the second class has no clips
    features = np.random.default_rng(0).normal(size=(16, 6)) + 20 * labels[:, None]
    file = BytesIO()
    plot_features(features, [LONG_NAMES[label] for label in labels], LONG_NAMES, file)
    groups = {kwargs["label"]: (np.stack(args, 1), kwargs) for args, kwargs in drawn["scatter"]}
    assert list(groups) == ["happiness (8)", "disappointment (8)"]
    first, second = (places for places, _ in groups.values())
    inside = np.linalg.norm(first - first.mean(0), axis=1).max()
    assert inside < np.linalg.norm(first.mean(0) - second.mean(0))  # two groups far apart stay so
    assert len({(kwargs["color"], kwargs["marker"]) for _, kwargs in groups.values()}) == 2
    assert is_png(file)


def test_the_map_is_seeded(monkeypatch):
    # By its arguments: of so few clips any seed gives the same map.
    settings = []
    monkeypatch.setattr("sklearn.manifold.TSNE", lambda **kwargs: settings.append(kwargs) or TSNE(**kwargs))
    plot_features(np.eye(5), ["a"] * 5, ["a"], BytesIO(), seed=7)
    assert settings == [{"perplexity": 4 / 3, "init": "pca", "random_state": 7}]


def test_every_class_of_a_large_label_set_looks_different(drawn):
    names = [f"class {number}" for number in range(40)]
    plot_features(np.random.default_rng(0).normal(size=(40, 5)), names, names, BytesIO())
    assert len({(kwargs["color"], kwargs["marker"]) for _, kwargs in drawn["scatter"]}) == 40


@pytest.mark.parametrize(("count", "expected"), [(5, 4 / 3), (31, 10), (91, 30), (5000, 30)])
def test_perplexity_fits_the_number_of_clips(count, expected):
    assert tsne_perplexity(count) == pytest.approx(expected)


def test_five_clips_are_enough_for_a_map_and_four_are_not():
    features = np.random.default_rng(0).normal(size=(5, 3))
    plot_features(features, ["a"] * 5, ["a"], BytesIO())
    with pytest.raises(ValueError, match="got 4"):
        plot_features(features[:4], ["a"] * 4, ["a"], BytesIO())


def gated_clip(**gates) -> GatedClip:
    frames = np.random.default_rng(0).integers(0, 200, (6, 10, 8, 3), dtype=np.uint8)
    layer = DAMGates(0.61, 0.72, **gates)
    return GatedClip("clip_$x$_1", "disappointment", "helplessness", 0.534, frames, {3: layer})


def test_gates_are_drawn_as_they_are_over_the_frames_and_along_time(drawn):
    temporal, frequency = torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
    clip, file = gated_clip(temporal=temporal, frequency=frequency), BytesIO()
    plot_gates(clip, file)
    plain, overlays = drawn["imshow"][:6], drawn["imshow"][6:]
    for index in range(6):
        (image,), place = plain[index][0], plain[index][1]["extent"]
        np.testing.assert_allclose(image, clip.frames[index] / 255)
        (grey,), (heat,) = overlays[2 * index][0], overlays[2 * index + 1][0]
        np.testing.assert_allclose(grey, clip.frames[index].mean(-1) / 255)
        np.testing.assert_array_equal(heat, frequency[0].numpy())
        style = overlays[2 * index + 1][1]
        assert (style["vmin"], style["vmax"], style["extent"]) == (0, 1, place)
        assert index < place[0] < place[1] < index + 1
    ((centers, heights, width), style) = drawn["bar"][0]
    np.testing.assert_allclose(centers, [1, 3, 5])  # each of three steps below two of six frames
    np.testing.assert_allclose(heights, [0.4, 0, -0.4], atol=1e-7)
    assert style["bottom"] == 0.5 and 1.5 < width <= 2
    (_, _, title), style = drawn["text"][0]
    assert title == "clip_$x$_1: true disappointment, predicted helplessness (53%)" and not style["parse_math"]
    assert is_png(file)


def test_without_leave_no_pixel_of_a_clip_is_drawn(drawn):
    clip = gated_clip(temporal=torch.rand(1, 3), frequency=torch.rand(1, 2, 2))
    plot_gates(clip, BytesIO(), show_frames=False)
    images = [args[0] for args, _ in drawn["imshow"]]
    assert len(images) == 12 and all((image == 1).all() for image in images[::2])
    np.testing.assert_array_equal(images[1], clip.gates[3].frequency[0].numpy())


@pytest.mark.parametrize(("branch", "images", "bars"), [("temporal", 6, 1), ("frequency", 18, 0)])
def test_a_branch_that_is_off_is_not_drawn(drawn, branch, images, bars):
    gates = {"temporal": torch.rand(1, 3), "frequency": torch.rand(1, 2, 2)}
    plot_gates(gated_clip(**{branch: gates[branch]}), BytesIO())
    assert (len(drawn["imshow"]), len(drawn["bar"])) == (images, bars)


_DRAW_IN_A_NOTEBOOK = """
import io
import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from modeling_hdf.evaluation import DAMGates
from modeling_hdf.evaluation.metrics import classification_scores, reliability
from modeling_hdf.reports import GatedClip, plot_confusion_matrix, plot_features, plot_gates
from modeling_hdf.reports import plot_reliability, plot_training_curves

labels = np.array([0, 1, 2, 0, 1, 2])
plot_confusion_matrix(classification_scores(labels, labels, ["a", "b", "c"]), io.BytesIO(), "title")
plot_training_curves([{"epoch": 1.0, "loss": 2.0}], io.BytesIO())
points = reliability(labels, np.eye(3)[labels] * 0.4 + 0.2)
plot_reliability({"one": {"reliability": points, "ece": 0.4}}, io.BytesIO())
plot_features(np.eye(6), list("abcabc"), list("abc"), io.BytesIO())
gates = DAMGates(0.5, 0.5, torch.rand(1, 2), torch.rand(1, 2, 2))
plot_gates(GatedClip("clip", "a", "b", 0.5, np.zeros((4, 8, 8, 3), np.uint8), {1: gates}), io.BytesIO())
print(matplotlib.get_backend(), plt.get_fignums())
"""


def test_drawing_leaves_backend_and_figures_of_a_notebook_alone():
    done = subprocess.run([sys.executable, "-c", _DRAW_IN_A_NOTEBOOK], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "svg []"


def test_importing_reports_loads_neither_pyplot_nor_what_maps_the_features():
    code = "import sys, modeling_hdf.reports; print({'matplotlib.pyplot', 'sklearn.manifold'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
