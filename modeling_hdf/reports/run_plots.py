"""Pictures of a run: confusion matrix and training curves."""

from pathlib import Path
from typing import BinaryIO

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)
import numpy as np  # noqa: E402


def plot_confusion_matrix(report: dict, path: str | Path | BinaryIO, title: str) -> None:
    """
    Draws a confusion matrix: rows are true classes, coloured by the share of the row, with counts.

    Args:
        report (`dict`): result of [`classification_report`].
        path (`str`, `Path` or binary file): where to write the PNG.
        title (`str`): heading, such as the name of the dataset and its split.
    """
    names = list(report["recall"])
    counts = np.array(report["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(1.6 + 0.75 * len(names), 1.4 + 0.65 * len(names)), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{title}\nWAR {report['war']:.3f}, UAR {report['uar']:.3f}, {report['num_clips']} clips")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_training_curves(log_history: list[dict], path: str | Path | BinaryIO) -> None:
    """
    Draws the losses, and WAR and UAR on the validation split, over the epochs.

    Args:
        log_history (`list[dict]`): `trainer.state.log_history`.
        path (`str`, `Path` or binary file): where to write the PNG.
    """
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
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
            # WAR and UAR coincide where classes are balanced: dashes let both be seen.
            style = {"marker": "." if len(points) < 40 else None, "linestyle": "--" if key == "eval_uar" else "-"}
            axes.plot(*zip(*points, strict=True), label=label, **style)
    losses.set(xlabel="epoch", ylabel="loss")
    scores.set(xlabel="epoch", ylabel="score", ylim=(0, 1))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


__all__ = ["plot_confusion_matrix", "plot_training_curves"]
