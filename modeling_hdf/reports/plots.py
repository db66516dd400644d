"""
Pictures of a run: training curves, confusion matrix, calibration, features, and the gates of DAM layers.

They are drawn without `pyplot`, so no window opens and the backend of a notebook does not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from ..evaluation.gates import DAMGates

MIN_TSNE_CLIPS = 5
# Okabe and Ito's colours for colour-blind readers (https://jfly.uni-koeln.de/color/), without yellow, which is hard to
# see on white. The number of markers differs from the number of colours, so that their pairs repeat late.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
_GATE_COLORS = matplotlib.colormaps["RdBu_r"]


def plot_confusion_matrix(scores: dict, path: str | Path | BinaryIO, title: str) -> None:
    """
    Draws a confusion matrix: rows are true classes, coloured by the share of the row, with counts.

    The row of a class without clips holds dashes.

    Args:
        scores (`dict`): result of [`classification_scores`].
        path (`str`, `Path` or binary file): where to write the PNG.
        title (`str`): heading, such as the name of the dataset and its split.
    """
    names = list(scores["recall"])
    counts = np.array(scores["confusion_matrix"])
    totals = counts.sum(1)
    shares = counts / np.maximum(totals, 1)[:, None]
    figure = Figure(figsize=(1.6 + 0.75 * len(names), 1.4 + 0.65 * len(names)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{counts[row, column]}\n{shares[row, column]:.0%}" if totals[row] else "–"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    figures = f"WAR {scores['war']:.3f}, UAR {scores['uar']:.3f}, {scores['num_clips']} clips"
    axes.set_title(f"{title}\n{figures}", parse_math=False)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    figure.savefig(path, dpi=120)


def plot_training_curves(log_history: list[dict], path: str | Path | BinaryIO) -> None:
    """
    Draws the losses, and WAR and UAR on the validation split, over the epochs.

    Args:
        log_history (`list[dict]`): `trainer.state.log_history`.
        path (`str`, `Path` or binary file): where to write the PNG.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    losses, scores = figure.subplots(1, 2)
    curves = {
        "loss": (losses, "training loss"),
        "loss_ce": (losses, "cross-entropy part"),
        "loss_sc": (losses, "contrastive part"),
        "eval_loss": (losses, "validation cross-entropy"),
        "eval_war": (scores, "validation WAR"),
        "eval_uar": (scores, "validation UAR"),
    }
    for key, (axes, label) in curves.items():
        points = [(entry["epoch"], entry[key]) for entry in log_history if key in entry]
        if points:
            # WAR and UAR coincide for balanced classes; dashes keep both visible.
            style = {"marker": "." if len(points) < 40 else None, "linestyle": "--" if key == "eval_uar" else "-"}
            axes.plot(*zip(*points, strict=True), label=label, **style)
    losses.set(xlabel="epoch", ylabel="loss")
    scores.set(xlabel="epoch", ylabel="score", ylim=(0, 1))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=120)


def plot_reliability(panels: dict[str, dict], path: str | Path | BinaryIO) -> None:
    """
    Draws reliability diagrams side by side: the accuracy of each confidence bin, and below its number of clips.

    Args:
        panels (`dict[str, dict]`): by heading, `reliability` (see [`reliability`]) and `ece`.
        path (`str`, `Path` or binary file): where to write the PNG.
    """
    figure = Figure(figsize=(1 + 4.4 * len(panels), 5.6), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 1))
    for (diagram, histogram), (title, panel) in zip(axes.T, panels.items(), strict=True):
        points = panel["reliability"]
        counts = np.array(points["num_clips"])
        accuracy, confidence = (np.array(points[name], dtype=float) for name in ("accuracy", "confidence"))
        width = 1 / len(counts)
        centers = (np.arange(len(counts)) + 0.5) * width
        diagram.bar(centers, accuracy, width, color="#56B4E9", edgecolor="white", label="accuracy")
        diagram.bar(
            *(centers, confidence - accuracy, width * 0.5, accuracy),
            **{"color": "none", "edgecolor": "#D55E00", "hatch": "////", "label": "gap to the mean confidence"},
        )
        diagram.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="perfect calibration")
        diagram.set(title=f"{title}\nECE {panel['ece']:.3f}", xlim=(0, 1), ylim=(0, 1))
        bars = histogram.bar(centers, counts, width, color="#0072B2", edgecolor="white")
        histogram.bar_label(bars, [count or "" for count in counts], fontsize=7, padding=1)
        histogram.set(xlabel="confidence", xticks=np.linspace(0, 1, 6))
        histogram.margins(y=0.2)
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("clips")
    axes[0, 0].legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=120)


def tsne_perplexity(num_clips: int) -> float:
    """scikit-learn's default of 30, or less for few clips: the perplexity must be smaller than their number."""
    return min(30.0, (num_clips - 1) / 3)


def plot_features(
    features: np.ndarray, labels: Sequence[str], names: Sequence[str], path: str | Path | BinaryIO, seed: int = 0
) -> None:
    """
    Draws a t-SNE map of features, coloured and marked by the true class.

    Args:
        features (`np.ndarray` of shape `(N, C)`): features of at least `MIN_TSNE_CLIPS` clips.
        labels (`Sequence[str]`): true class of each clip.
        names (`Sequence[str]`): the classes, in the order of the legend, which omits classes without clips.
        path (`str`, `Path` or binary file): where to write the PNG.
        seed (`int`, *optional*, defaults to 0): seed of t-SNE.

    Raises:
        ValueError: for fewer clips.
    """
    if len(features) < MIN_TSNE_CLIPS:
        raise ValueError(f"t-SNE needs at least {MIN_TSNE_CLIPS} clips, got {len(features)}.")
    from sklearn.manifold import TSNE  # here, because it takes seconds to import

    tsne = TSNE(perplexity=tsne_perplexity(len(features)), init="pca", random_state=seed)
    places, labels = tsne.fit_transform(np.asarray(features, dtype=np.float32)), np.array(labels)
    figure = Figure(figsize=(8.6, max(6, 1 + 0.27 * len(names))), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(names):
        of_class = places[labels == name]
        if len(of_class):
            style = {"color": _COLORS[number % len(_COLORS)], "marker": _MARKERS[number % len(_MARKERS)]}
            axes.scatter(*of_class.T, s=22, alpha=0.75, linewidths=0, label=f"{name} ({len(of_class)})", **style)
    axes.set(xticks=[], yticks=[], title=f"t-SNE of the features of {len(features)} clips")
    legend = axes.legend(title="true class (clips)", loc="center left", bbox_to_anchor=(1.01, 0.5), markerscale=1.6)
    for text in legend.get_texts():
        text.set_parse_math(False)  # class names are not formulas
    figure.savefig(path, dpi=120)


@dataclass
class GatedClip:
    """
    One clip with the gates of a model's DAM layers.

    Args:
        clip_id (`str`): name of the clip.
        label, predicted (`str`): true and predicted class.
        probability (`float`): probability of the predicted class.
        frames (`np.ndarray` of shape `(F, H, W, 3)`): the model's input frames, uint8.
        gates (`dict[int, DAMGates]`): gates by layer, from [`recorded_gates`] on this clip alone.
    """

    clip_id: str
    label: str
    predicted: str
    probability: float
    frames: np.ndarray
    gates: dict[int, DAMGates]


def plot_gates(clip: GatedClip, path: str | Path | BinaryIO, show_frames: bool = True) -> None:
    """
    Draws the gates of every DAM layer over the frames of a clip.

    The first row shows the frames. Each layer adds two rows: the frames under the spatial gate g_s, which is the same
    for all frames, and the temporal gate g_t, aligned in time. Both gates are drawn from 0 to 1 around 1/2.

    Args:
        clip ([`GatedClip`]): the clip, with the gates of at least one layer.
        path (`str`, `Path` or binary file): where to write the PNG.
        show_frames (`bool`, *optional*, defaults to `True`): whether to draw the frames; otherwise the gates are drawn
            over an empty area.
    """
    num_frames, height, width = clip.frames.shape[:3]
    sheet = _Sheet(num_frames, height / width)
    grey = clip.frames.mean(-1) if show_frames else np.full((num_frames, height, width), 255.0)
    rows = [("frames", None, clip.frames)] if show_frames else []
    for number, gates in clip.gates.items():
        if gates.frequency is not None:
            rows.append((f"layer {number}: $g_s$\n$w_s$ = {gates.frequency_weight:.2f}", gates.frequency[0], grey))
        if gates.temporal is not None:
            rows.append((f"layer {number}: $g_t$\n$w_t$ = {gates.temporal_weight:.2f}", gates.temporal[0], None))
    figure = sheet.figure([images is not None for _, _, images in rows])
    for (label, gate, images), axes in zip(rows, figure.axes, strict=True):
        if images is None:
            _draw_temporal(axes, gate.float().cpu().numpy(), num_frames)
        else:
            for index, image in enumerate(images):
                place = (index + 0.02, index + 0.98, 0, 1)
                axes.imshow(image / 255, cmap="gray", vmin=0, vmax=1, extent=place, aspect="auto")
                if gate is not None:
                    style = {"cmap": _GATE_COLORS, "vmin": 0, "vmax": 1, "alpha": 0.6, "interpolation": "bilinear"}
                    axes.imshow(gate.float().cpu().numpy(), extent=place, aspect="auto", **style)
            axes.set(xlim=(0, num_frames), ylim=(0, 1), xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        x = -(sheet.ticks if images is None else 0.1) / sheet.width
        axes.text(x, 0.5, label, transform=axes.transAxes, ha="right", va="center")
    figure.axes[-1].set_xticks(np.arange(num_frames) + 0.5, np.arange(num_frames) + 1)
    figure.axes[-1].set_xlabel("frame, in the order of time")
    sheet.finish(figure, f"{clip.clip_id}: true {clip.label}, predicted {clip.predicted} ({clip.probability:.0%})")
    figure.savefig(path, dpi=90)


def _draw_temporal(axes: Axes, gate: np.ndarray, num_frames: int) -> None:
    """Bars of g_t `(T,)` that start at 1/2, each under the frames of its time step."""
    width = num_frames / len(gate)
    centers = (np.arange(len(gate)) + 0.5) * width
    axes.bar(centers, gate - 0.5, width * 0.92, bottom=0.5, color=_GATE_COLORS(gate), edgecolor="0.4", linewidth=0.6)
    for center, value in zip(centers, gate, strict=True):
        # On the side of the neutral line without a bar.
        axes.text(center, 0.47 if value > 0.5 else 0.53, f"{value:.2f}", ha="center", fontsize=8,
                  va="top" if value > 0.5 else "bottom")  # fmt: skip
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set(xlim=(0, num_frames), ylim=(0, 1), xticks=[], yticks=[0, 0.5, 1])
    axes.spines[["top", "right"]].set_visible(False)


class _Sheet:
    """Rows of equal width in inches, so that frames keep their shape and bars are aligned with them."""

    left, right, top, bottom, gap, bars, ticks = 1.65, 1.1, 0.5, 0.55, 0.12, 0.75, 0.45

    def __init__(self, num_frames: int, aspect: float):
        self.width = max(6.0, min(11.0, num_frames * 1.1))
        self.images = self.width / num_frames * aspect

    def figure(self, is_images: list[bool]) -> Figure:
        """A figure with empty axes for each row."""
        heights = [self.images if images else self.bars for images in is_images]
        self.size = (
            self.left + self.width + self.right,
            self.top + sum(heights) + self.gap * (len(heights) - 1) + self.bottom,
        )
        figure = Figure(figsize=self.size)
        y = self.size[1] - self.top
        for height in heights:
            y -= height
            figure.add_axes(self._place(self.left, y, self.width, height))
            y -= self.gap
        return figure

    def finish(self, figure: Figure, title: str) -> None:
        """Adds the title and the scale of the colours."""
        height = min(3.0, self.size[1] - self.top - self.bottom)
        place = self._place(self.left + self.width + 0.15, self.size[1] - self.top - height, 0.16, height)
        scale = ScalarMappable(cmap=_GATE_COLORS)
        bar = figure.colorbar(scale, cax=figure.add_axes(place), ticks=[0, 0.25, 0.5, 0.75, 1])
        bar.set_label("gate (1/2: neutral)")
        figure.text(
            self.left / self.size[0],
            1 - 0.3 / self.size[1],
            title,
            ha="left",
            va="center",
            fontsize=12,
            parse_math=False,
        )

    def _place(self, left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / self.size[0], bottom / self.size[1], width / self.size[0], height / self.size[1]


def plot_robustness(result: dict, path: str | Path | BinaryIO) -> None:
    """
    Draws UAR over the severity, one line per corruption: corruptions of the sequence left, of the style right.

    Args:
        result (`dict`): result of [`measure_robustness`], with `title`.
        path (`str`, `Path` or binary file): where to write the PNG.
    """
    kinds = list(result["kinds"])
    figure = Figure(figsize=(5 * len(kinds), 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        named = {name: each for name, each in result["corruptions"].items() if each["kind"] == kind}
        for number, (name, each) in enumerate(named.items()):
            levels = [0, *map(int, each["severities"])]
            values = [result["clean"]["uar"], *(score["uar"] for score in each["severities"].values())]
            style = {"color": _COLORS[number % len(_COLORS)], "marker": _MARKERS[number % len(_MARKERS)]}
            axes.plot(levels, values, label=name.replace("_", " "), markersize=4, **style)
        axes.set(xlabel="severity (0: clean)", title=kind, ylim=(0, 1))
        axes.legend(fontsize=7)
    figure.axes[0].set_ylabel("UAR")
    figure.suptitle(result["title"], parse_math=False)
    figure.savefig(path, dpi=120)


__all__ = [
    "MIN_TSNE_CLIPS",
    "GatedClip",
    "plot_confusion_matrix",
    "plot_features",
    "plot_gates",
    "plot_reliability",
    "plot_robustness",
    "plot_training_curves",
    "tsne_perplexity",
]
