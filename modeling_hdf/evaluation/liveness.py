"""Whether the gates of a model's DAM layers act: how far they differ between clips, and whether answers need that.

A gate that is nearly the same for every clip is a fixed mask, however well the model does. It can be replaced by its
mean over the clips, and no answer changes.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import DataLoader

from ..data.clips import ClipCollator, ClipDataset
from ..data.frame_sampling import TemporalSampling
from ..modeling_hdf import HDFForVideoClassification
from ..video_processing_hdf import HDFVideoProcessor
from .gates import branches, dam_layers, recorded_gates

MAX_CLIPS = 256  # more make a standard deviation and a share hardly more precise
_BATCH_SIZE = 16
_SEED = 0

Gates = dict[int, dict[str, torch.Tensor]]


def gate_liveness(model: HDFForVideoClassification, clips: Iterable[torch.Tensor]) -> dict[str, Any]:
    """
    Measures how far the gates of a model differ between clips, and whether its answers depend on that.

    Args:
        model ([`HDFForVideoClassification`]): the model, on one device. Measured in evaluation mode.
        clips (`Iterable[torch.Tensor]`): batches `(B, F, 3, H, W)` as [`HDFVideoProcessor`] prepares them. It is read
            twice and must give the same clips both times, as a list or a `DataLoader` without shuffling does.

    Returns:
        `dict`, plain JSON:

        - `num_clips` (`int`);
        - `layers`: by number (from 1) of the layer before the DAM, for each of its branches (`temporal`, `frequency`)
          the standard deviation of the gate over the clips (1/N), averaged over its frames or places, divided by the
          mean of the gate. 0 is a gate that is the same for every clip;
        - `flipped`: share (0 to 1) of clips whose predicted class changes if every gate is replaced by its mean over
          the clips. None for a model without DAM.

    Raises:
        ValueError: if there is no clip.

    Example:

    ```python
    >>> from modeling_hdf.evaluation import gate_liveness

    >>> gate_liveness(model, [pixel_values])
    {'num_clips': 64, 'layers': {'3': {'temporal': 0.011, 'frequency': 0.046}}, 'flipped': 0.0156}
    ```"""
    was_training = model.training
    model.eval()
    try:
        gates, answers = _observed(model, clips)
        means = {layer: {name: gate.mean(0) for name, gate in kept.items()} for layer, kept in gates.items()}
        with replaced_gates(model, means):
            _, without = _observed(model, clips)
    finally:
        model.train(was_training)
    spreads = {
        str(layer): {name: (gate.std(0, correction=0).mean() / gate.mean()).item() for name, gate in kept.items()}
        for layer, kept in gates.items()
    }
    flipped = (answers != without).float().mean().item() if gates else None
    return {"num_clips": len(answers), "layers": spreads, "flipped": flipped}


@torch.no_grad()
def _observed(model: HDFForVideoClassification, clips: Iterable[torch.Tensor]) -> tuple[Gates, torch.Tensor]:
    """The gates of each layer and branch, `(N, ...)`, and the predicted classes `(N,)`."""
    kept: dict[int, dict[str, list]] = {}
    answers = []
    with recorded_gates(model) as gates:
        for pixel_values in clips:
            answers.append(model(pixel_values.to(model.device)).logits.argmax(-1).cpu())
            for layer, recorded in gates.items():
                for name in branches(dam_layers(model)[layer]):
                    kept.setdefault(layer, {}).setdefault(name, []).append(getattr(recorded, name).cpu())
    if not answers:
        raise ValueError("There is no clip to measure gates on.")
    joined = {layer: {name: torch.cat(parts) for name, parts in each.items()} for layer, each in kept.items()}
    return joined, torch.cat(answers)


@contextmanager
def replaced_gates(model: HDFForVideoClassification, gates: Gates) -> Iterator[None]:
    """
    Replaces the gates of DAM layers while the context is open.

    Args:
        model ([`HDFForVideoClassification`]): the model.
        gates (`dict[int, dict[str, torch.Tensor]]`): by number (from 1) of the layer before the DAM and by branch
            (`temporal`, `frequency`), the gate of one clip, `(T,)` or `(h, w)`, which every clip then gets.
    """
    handles = [
        branches(dam_layers(model)[layer])[name].register_forward_hook(
            lambda _, inputs, output, gate=gate: gate.to(output).expand_as(output)
        )
        for layer, replacements in gates.items()
        for name, gate in replacements.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def liveness_on_rows(
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    rows: datasets.Dataset,
    sampling: TemporalSampling,
) -> dict[str, Any] | None:
    """
    [`gate_liveness`] on at most `MAX_CLIPS` random clips of a dataset, one view of each.

    Args:
        model ([`HDFForVideoClassification`]), processor ([`HDFVideoProcessor`]): the model and its video processor.
        rows (`datasets.Dataset`): rows of a builder of [`modeling_hdf.data`], without clips that cannot be read.
        sampling ([`TemporalSampling`]): frame sampling.

    Returns:
        The result, or None for a model without DAM.
    """
    if not dam_layers(model):
        return None
    chosen = np.sort(np.random.default_rng(_SEED).permutation(len(rows))[:MAX_CLIPS])
    clips = ClipDataset(rows.select(chosen), processor, sampling=sampling)
    collator = ClipCollator(processor, num_labels=len(rows.features["label"].names))
    return gate_liveness(
        model, DataLoader(clips, _BATCH_SIZE, collate_fn=lambda items: collator(items)["pixel_values"])
    )


def spread_text(spread: float) -> str:
    """A spread of [`gate_liveness`] in percent, with two digits or as a whole number."""
    return f"{100 * spread:.0f} %" if spread >= 0.995 else f"{100 * spread:.2g} %"


__all__ = ["MAX_CLIPS", "gate_liveness", "liveness_on_rows", "replaced_gates", "spread_text"]
