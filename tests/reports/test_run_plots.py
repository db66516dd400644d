import numpy as np
import pytest
from PIL import Image

from modeling_hdf.evaluation.metrics import classification_report
from modeling_hdf.reports.run_plots import plot_confusion_matrix, plot_training_curves

NAMES = ["happiness", "sadness", "neutral"]


def test_confusion_matrix_shows_its_numbers_and_names(tmp_path, monkeypatch):
    texts = []
    from matplotlib.axes import Axes

    draw = Axes.text
    monkeypatch.setattr(Axes, "text", lambda self, x, y, s, **kw: texts.append((x, y, s)) or draw(self, x, y, s, **kw))
    report = classification_report(np.array([0, 0, 0, 2]), np.array([0, 0, 1, 2]), NAMES)
    plot_confusion_matrix(report, tmp_path / "matrix.png", "demo")
    # x is the predicted class, y the true one; sadness has no clips.
    assert {(0, 0, "2\n67%"), (1, 0, "1\n33%"), (2, 2, "1\n100%"), (1, 1, "0\n0%")} <= set(texts)
    assert Image.open(tmp_path / "matrix.png").format == "PNG"


@pytest.mark.parametrize("with_dsm", [True, False])
def test_training_curves_draw_what_the_log_holds(tmp_path, monkeypatch, with_dsm):
    from matplotlib.axes import Axes

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
