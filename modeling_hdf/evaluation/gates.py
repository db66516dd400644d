"""Records the gates that a model's DAM layers use in the forward pass, without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..dam_hdf import DAM
from ..modeling_hdf import HDFPreTrainedModel


@dataclass
class DAMGates:
    """
    Gates of one DAM layer for a batch of clips.

    Args:
        temporal_weight, frequency_weight (`float` or `None`): the learned w_t and w_s; None for a branch that is off.
        temporal (`torch.Tensor` of shape `(B, T)`, *optional*): g_t, 0 to 1; None before the first forward pass.
        frequency (`torch.Tensor` of shape `(B, h, w)`, *optional*): g_s, 0 to 1; None before the first forward pass.
    """

    temporal_weight: float | None
    frequency_weight: float | None
    temporal: torch.Tensor | None = None
    frequency: torch.Tensor | None = None


@contextmanager
def recorded_gates(model: HDFPreTrainedModel) -> Iterator[dict[int, DAMGates]]:
    """
    Records the gates of every DAM layer while the context is open.

    Args:
        model ([`HDFPreTrainedModel`]): the model, on one device; its outputs do not change.

    Yields:
        `dict[int, DAMGates]`: by number (from 1) of the backbone layer before the DAM, in order; empty for a model
        without DAM. Holds the gates of the latest forward pass, on the model's device, without gradient.

    Example:

    ```python
    >>> from modeling_hdf.evaluation.gates import recorded_gates

    >>> with recorded_gates(model) as gates:
    ...     model(pixel_values)
    >>> gates[12].temporal.shape  # (B, T)
    torch.Size([1, 8])
    ```"""
    layers = dam_layers(model)
    gates = {
        number: DAMGates(_value(dam.temporal_weight), _value(dam.frequency_weight)) for number, dam in layers.items()
    }
    handles = [
        branch.register_forward_hook(_keep(gates[number], name))
        for number, dam in layers.items()
        for name, branch in branches(dam).items()
    ]
    try:
        yield gates
    finally:
        for handle in handles:
            handle.remove()


def dam_layers(model: HDFPreTrainedModel) -> dict[int, DAM]:
    """The DAM layers of a model, by number (from 1) of the backbone layer before them."""
    return {int(number): dam for number, dam in model.base_model.dam.items()}


def branches(dam: DAM) -> dict[str, nn.Module]:
    """The branches of a DAM that are on, by name; each returns a gate."""
    named = {"temporal": dam.temporal, "frequency": dam.frequency}
    return {name: branch for name, branch in named.items() if branch is not None}


def _value(weight: nn.Parameter | None) -> float | None:
    return None if weight is None else weight.item()


def _keep(gates: DAMGates, name: str):
    def hook(branch: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        setattr(gates, name, output.detach())

    return hook


__all__ = ["DAMGates", "branches", "dam_layers", "recorded_gates"]
