"""The frequency branch of DAM: a gate per position, from the responses to fixed DCT filters."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from .dam_temporal_hdf import gate_dtype

_DCT_SIZE = 7
NUM_FILTERS = _DCT_SIZE * _DCT_SIZE


def dct_bank() -> torch.Tensor:
    """Orthonormal 7x7 DCT-II filters, of shape `(49, 1, 7, 7)`; filter `i` has row frequency `i % 7` and column
    frequency `i // 7`."""
    position = torch.arange(_DCT_SIZE, dtype=torch.float64) + 0.5
    frequency = torch.arange(_DCT_SIZE, dtype=torch.float64)[:, None]
    basis = torch.cos(math.pi * position * frequency / _DCT_SIZE) * math.sqrt(2 / _DCT_SIZE)
    basis[0] /= math.sqrt(2)  # (frequency, position), rows of unit norm
    bank = torch.einsum("ux,vy->vuxy", basis, basis)
    return bank.reshape(NUM_FILTERS, 1, _DCT_SIZE, _DCT_SIZE).float()


class DAMFrequencyBranch(nn.Module):
    """
    Frequency branch: one gate per position, computed from DCT responses that are perturbed within a small ball.

    With `x (B, T, h, w, C)` and i one of 49 filters:

        m        = sum_c mean_t x                                                               (B, 1, h, w)
        d_i      = m filtered with F_i (cross-correlation, padding 3)                           (B, 49, h, w)
        F_i[p,q] = a(u) a(v) cos(pi (p + 1/2) u / 7) cos(pi (q + 1/2) v / 7), p, q = 0 ... 6    (49, 1, 7, 7)
                   u = i % 7, v = i // 7, a(0) = sqrt(1/7), else a = sqrt(2/7)
        r_i      = || d_i - mean_hw d_i ||_2                                                    (B, 49, 1, 1)
        P_i      = d_i + sign(d_i) * (noise_i * a_i + 0.05 * b_i * r_i)     the perturbation    (B, 49, h, w)
        e        = (p * d + q * P) / 2                                                          (B, 49, h, w)
        f_i      = tanh(c / (std_i(e) + 1e-6) * e_i) * gain_i + bias_i                          (B, 49, h, w)
        g_s      = sigmoid(conv7x7(f))                                                          (B, h, w)

    `std_i(e)` is `sqrt(var_i(e) + 1e-6)`, with the unbiased variance over a position's 49 responses, `(B, 1, h, w)`.
    With `reduction` r > 1 the last convolution becomes `conv7x7(relu(conv7x7(f)))`, 49 -> 49 // r -> 1 channels.

    | symbol | parameter | shape | start |
    |---|---|---|---|
    | F | `dct_bank` (fixed) | (49, 1, 7, 7) | the formula |
    | noise, a, b | `noise`, `noise_gain`, `radius_gain` | (49, 1, 1) | 0.1 N(0, 1), 1, 0 |
    | p, q, c | `clean_weight`, `perturbed_weight`, `tanh_slope` | scalars | 0.5 |
    | gain, bias | `tanh_gain`, `tanh_bias` | (49, 1, 1) | 1, 0 |
    | last conv7x7 | `attend_weight` | (1, 49 // r, 7, 7) | PyTorch's; `"identity"`: 0 |
    | first conv7x7, if r > 1 | `reduce_weight` | (49 // r, 49, 7, 7) | PyTorch's |

    Args:
        reduction (`int`): channel reduction r of the attention; 1 is a single convolution.
        init (`str`): `"identity"` starts with a gate of exactly 1/2, `"paper"` with PyTorch's start values.
    """

    def __init__(self, reduction: int, init: str):
        super().__init__()
        self.init = init
        # Not saved, because a formula gives it. `reset_parameters` fills it, also after a load from the meta device.
        self.register_buffer("dct_bank", torch.empty(NUM_FILTERS, 1, _DCT_SIZE, _DCT_SIZE), persistent=False)
        self.noise = nn.Parameter(torch.empty(NUM_FILTERS, 1, 1))
        self.noise_gain = nn.Parameter(torch.empty(NUM_FILTERS, 1, 1))
        self.radius_gain = nn.Parameter(torch.empty(NUM_FILTERS, 1, 1))
        self.clean_weight = nn.Parameter(torch.empty(()))
        self.perturbed_weight = nn.Parameter(torch.empty(()))
        self.tanh_slope = nn.Parameter(torch.empty(()))
        self.tanh_gain = nn.Parameter(torch.empty(NUM_FILTERS, 1, 1))
        self.tanh_bias = nn.Parameter(torch.empty(NUM_FILTERS, 1, 1))
        hidden = NUM_FILTERS // reduction
        self.reduce_weight = (
            nn.Parameter(torch.empty(hidden, NUM_FILTERS, _DCT_SIZE, _DCT_SIZE)) if reduction > 1 else None
        )
        self.attend_weight = nn.Parameter(torch.empty(1, hidden, _DCT_SIZE, _DCT_SIZE))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the parameters and the DCT bank to their start values."""
        with torch.no_grad():
            self.dct_bank.copy_(dct_bank())
        nn.init.normal_(self.noise, std=0.1)
        nn.init.ones_(self.noise_gain)
        nn.init.zeros_(self.radius_gain)
        for weight in (self.clean_weight, self.perturbed_weight, self.tanh_slope):
            nn.init.constant_(weight, 0.5)
        nn.init.ones_(self.tanh_gain)
        nn.init.zeros_(self.tanh_bias)
        if self.reduce_weight is not None:
            nn.init.kaiming_uniform_(self.reduce_weight, a=math.sqrt(5))  # PyTorch's own default for convolutions
        if self.init == "identity":
            nn.init.zeros_(self.attend_weight)
        else:
            nn.init.kaiming_uniform_(self.attend_weight, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature map `(B, T, h, w, C)` to the gate `(B, h, w)`, between 0 and 1."""
        # All channels use the same filters, so the sum over channels can come first.
        pooled = x.sum(-1, dtype=gate_dtype(self.attend_weight)).mean(1, keepdim=True)  # (B, 1, h, w)
        response = _filter(pooled, self.dct_bank)  # (B, 49, h, w)
        centred = response - response.mean((2, 3), keepdim=True)
        radius = torch.linalg.vector_norm(centred.flatten(2), dim=2)[..., None, None]  # (B, 49, 1, 1)
        step = torch.addcmul(self.noise * self.noise_gain, self.radius_gain, radius, value=0.05)
        # (p d + q (d + sign(d) step)) / 2, without a gradient through the sign
        response = torch.addcmul(
            0.5 * (self.clean_weight.to(response.dtype) + self.perturbed_weight) * response,
            response.detach().sign(),
            self.perturbed_weight * step,
            value=0.5,
        )
        centred = response - response.mean(1, keepdim=True)  # a CPU is slow at `var`, over the filters most of all
        variance = centred.square().sum(1, keepdim=True) / (NUM_FILTERS - 1)  # (B, 1, h, w)
        slope = self.tanh_slope / (torch.sqrt(variance + 1e-6) + 1e-6)
        response = torch.addcmul(self.tanh_bias, torch.tanh(slope * response), self.tanh_gain)
        if self.reduce_weight is not None:
            response = F.relu(_filter(response, self.reduce_weight))
        return torch.sigmoid(_filter_to_one(response, self.attend_weight))  # (B, h, w)


def _filter(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x, weight.to(x.dtype), padding=_DCT_SIZE // 2)


def _filter_to_one(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """
    `_filter` to one channel, `(B, N, h, w)` to `(B, h, w)`: each row of the weight filters the rows of the map, and
    the results are added up, shifted. A CPU trains this faster than a convolution to one channel.
    """
    height, padding = x.shape[2], _DCT_SIZE // 2
    rows = F.conv2d(x, weight.transpose(0, 2).to(x.dtype), padding=(0, padding))  # (B, 7, h, w)
    rows = F.pad(rows, (0, 0, padding, padding)).flatten(1, 2)  # (B, 7 * (h + 6), w)
    # Windows of h rows: the first starts at row 0 of the first of the 7 maps, the next at row 1 of the second.
    filtered = rows.unfold(1, height, height + 2 * padding + 1).sum(1)  # (B, w, h)
    return filtered.transpose(1, 2).contiguous()  # a product with the whole map is slow on transposed numbers


__all__ = ["NUM_FILTERS", "DAMFrequencyBranch", "dct_bank"]
