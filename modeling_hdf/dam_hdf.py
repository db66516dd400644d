"""DAM: Time-Frequency Distributional Attention Module.

Source: "Learning from Heterogeneity: Generalizing Dynamic Facial Expression Recognition via Distributionally Robust
Optimization" (ACM MM 2025), https://arxiv.org/abs/2507.15765, section 3.2 and the overview figure.

DAM multiplies a feature map by a gate with one number per frame and one per position, so it fits after any stage of
any video backbone. This file and the other three `dam_*_hdf.py` need only PyTorch, not the rest of the package.
"""

import torch
from torch import nn

from .dam_frequency_hdf import NUM_FILTERS, DAMFrequencyBranch
from .dam_normalized_hdf import DAMNormalizedTemporalBranch, DAMProjection
from .dam_temporal_hdf import DAMTemporalBranch, gate_dtype

VARIANTS = ("temporal", "release", "normalized", "static")
INITS = ("identity", "paper")


class DAMStaticBranch(nn.Module):
    """
    A branch of `variant="static"`: `g = sigmoid(gate_logits)`, the same for every clip. `gate_logits` starts at 0.

    Args:
        *shape (`int`): shape of the gate of one clip: (T,) in place of the temporal branch, (h, w) of the frequency
            branch.
    """

    def __init__(self, *shape: int):
        super().__init__()
        self.gate_logits = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the parameters to their start values."""
        nn.init.zeros_(self.gate_logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature map `(B, T, h, w, C)` to the gate `(B, *shape)`, between 0 and 1."""
        gate = torch.sigmoid(self.gate_logits.to(gate_dtype(self.gate_logits)))
        return gate.expand(x.shape[0], *gate.shape)  # `len` would fix the batch of an exported model


class DAM(nn.Module):
    r"""
    Time-Frequency Distributional Attention Module:
    `y = x * (w_t * (1 + g_t[b, t]) + w_s * (1 + g_s[b, h, w])) / 2`, with learned scalars `w_t` and `w_s`.

    The variants compute g_t and g_s by different branches:

    - `"temporal"`: [`DAMTemporalBranch`], which compares frames, as the paper says, and [`DAMFrequencyBranch`].
    - `"release"`: the same, but compares channel bins, as the authors' published fragment does.
    - `"normalized"`: [`DAMNormalizedTemporalBranch`] and [`DAMFrequencyBranch`], on a [`DAMProjection`] of normalised
      features: K channels for the first and one for the second.
    - `"static"`: two [`DAMStaticBranch`], free parameters that are the same for every clip. This is a control: what
      another variant gains over it, that variant gains by looking at the clip. It is also a cheap alternative.

    Measured on rendered faces, 8 seeds (`benchmarks/controlled_ablation.py`), differences in UAR on corrupted clips,
    in points with 95 % intervals, with a small X3D and with a small VideoMAE: `"temporal"` less `"static"`
    +0.1 (-1.5 to +1.7) and -0.4 (-2.4 to +1.5), less no DAM +0.5 (-1.4 to +2.4) and +0.5 (-1.3 to +2.3);
    `"normalized"` less `"static"` +0.6 (-1.4 to +2.5) and -0.6 (-2.1 to +1.0). So no gain is shown.

    Args:
        num_steps (`int`): time steps T of the feature map, at least 1.
        num_channels (`int`, *optional*): channels C of the feature map. Needed by `"normalized"`; the others take any.
        map_size (`tuple[int, int]`, *optional*): (h, w) of the feature map. Needed by `"static"`; the others take any.
        variant (`str`): `"temporal"`, `"release"`, `"normalized"` or `"static"`.
        init (`"identity"` or `"paper"`): `"identity"` starts as `y = x`; `"paper"` with w_t 0.8 and w_s 0.3.
        temporal (`bool`): whether to build the temporal branch g_t.
        frequency (`bool`): whether to build the frequency branch g_s. With one branch alone,
            `y = x * w * (1 + g)`.
        reduction (`int`): channel reduction of the frequency attention, 1 to 49; `"static"` has none.

    Raises:
        ValueError: for arguments outside these ranges, and in `forward` for a map of another shape.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hdf import DAM

    >>> dam = DAM(num_steps=8)
    >>> x = torch.randn(2, 8, 14, 14, 768)  # (B, T, h, w, C)
    >>> torch.allclose(dam(x), x)
    True
    ```"""

    def __init__(
        self,
        num_steps: int,
        *,
        num_channels: int | None = None,
        map_size: tuple[int, int] | None = None,
        variant: str = "temporal",
        init: str = "identity",
        temporal: bool = True,
        frequency: bool = True,
        reduction: int = 1,
    ):
        super().__init__()
        if num_steps < 1:
            raise ValueError(f"`num_steps` is {num_steps}; a feature map has at least 1 time step.")
        if variant not in VARIANTS:
            raise ValueError(f"`variant` is {variant!r}; choose one of {VARIANTS}.")
        if variant == "normalized" and num_channels is None:
            raise ValueError(
                "`variant='normalized'` projects the channels of the map; give their number, `num_channels`."
            )
        if variant == "static" and map_size is None:
            raise ValueError("`variant='static'` has one parameter per place; give the map's (h, w), `map_size`.")
        if init not in INITS:
            raise ValueError(f"`init` is {init!r}; choose one of {INITS}.")
        if not (temporal or frequency):
            raise ValueError("`temporal` and `frequency` are both off; turn on at least one branch.")
        if not 1 <= reduction <= NUM_FILTERS:
            raise ValueError(f"`reduction` is {reduction}; it must be between 1 and {NUM_FILTERS}.")
        self.num_steps = num_steps
        self.variant = variant
        self.num_channels = num_channels if variant == "normalized" else None
        self.map_size = tuple(map_size) if variant == "static" else None
        self.init = init
        projected = (int(frequency), num_steps * temporal)  # channels for each branch
        self.projection = DAMProjection(num_channels, *projected) if variant == "normalized" else None
        self.temporal = self._temporal_branch() if temporal else None
        self.temporal_weight = nn.Parameter(torch.empty(())) if temporal else None
        self.frequency = self._frequency_branch(reduction) if frequency else None
        self.frequency_weight = nn.Parameter(torch.empty(())) if frequency else None
        self.reset_parameters()

    def _temporal_branch(self) -> nn.Module:
        if self.variant == "static":
            return DAMStaticBranch(self.num_steps)
        if self.variant == "normalized":
            return DAMNormalizedTemporalBranch(self.num_steps, self.init)
        return DAMTemporalBranch(self.num_steps, self.variant, self.init)

    def _frequency_branch(self, reduction: int) -> nn.Module:
        return (
            DAMStaticBranch(*self.map_size) if self.variant == "static" else DAMFrequencyBranch(reduction, self.init)
        )

    def reset_parameters(self) -> None:
        """Sets `w_t` and `w_s` to their start values; each branch sets its own parameters."""
        identity = self.init == "identity"
        if self.temporal_weight is not None:
            nn.init.constant_(self.temporal_weight, 2 / 3 if identity else 0.8)
        if self.frequency_weight is not None:
            nn.init.constant_(self.frequency_weight, 2 / 3 if identity else 0.3)

    def gates(self, x: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """
        Gates g_t `(B, T)` and g_s `(B, h, w)` of the map `x` `(B, T, h, w, C)`; None for a branch that is off. In
        at least float32, because sums over a feature map overflow half precision.
        """
        with torch.autocast(x.device.type, enabled=False):
            for_frequency, for_temporal = (x, x)
            if self.projection is not None:
                for_frequency, for_temporal = self.projection(x)
            return (
                None if self.temporal is None else self.temporal(for_temporal),
                None if self.frequency is None else self.frequency(for_frequency),
            )

    def _check_shape(self, x: torch.Tensor) -> None:
        fits = x.ndim == 5 and x.shape[1] in (1, self.num_steps)
        if fits and self.map_size is not None:
            fits = tuple(x.shape[2:4]) == self.map_size
        if fits and self.num_channels is not None:
            fits = x.shape[4] == self.num_channels
        if not fits:
            height, width = self.map_size or ("h", "w")
            raise ValueError(
                f"DAM takes maps of shape (B, T, {height}, {width}, {self.num_channels or 'C'}) with "
                f"T = {self.num_steps}, or T = 1 for a still, but got {tuple(x.shape)}."
            )

    def forward(self, x: torch.Tensor, step: torch.Tensor | None = None) -> torch.Tensor:
        """
        Feature map `(B, T, h, w, C)` to a feature map of the same shape and dtype. Any B; any h, w and C but those
        that the variant fixes. A map of one step is that of a still, as if T such steps followed each other: g_t is
        the mean of their gates or, with `step` `(B,)` from 0 to T - 1, the gate of this one.
        """
        self._check_shape(x)
        temporal_gate, frequency_gate = self.gates(x)
        if temporal_gate is not None and x.shape[1] == 1:
            temporal_gate = (
                temporal_gate.mean(1, keepdim=True) if step is None else temporal_gate.gather(1, step[:, None])
            )
        scales = []
        if temporal_gate is not None:
            scales.append((self.temporal_weight * (1 + temporal_gate))[:, :, None, None, None])  # (B, T, 1, 1, 1)
        if frequency_gate is not None:
            scales.append((self.frequency_weight * (1 + frequency_gate))[:, None, :, :, None])  # (B, 1, h, w, 1)
        # Summing the small gates first leaves the product as the only full-size tensor.
        scale = scales[0] if len(scales) == 1 else (scales[0] + scales[1]) / 2
        return x * scale.to(x.dtype)


# The modules with start values of their own, for a model that initialises its parts.
DAM_MODULES = (
    *(DAM, DAMTemporalBranch, DAMFrequencyBranch, DAMStaticBranch),
    *(DAMNormalizedTemporalBranch, DAMProjection),
)

__all__ = ["DAM", "DAM_MODULES"]
