"""The parts of DAM that `variant="normalized"` adds: a projection of normalised features, and a temporal branch on it.

On a pre-norm transformer the sum of the channels is deleted by the LayerNorm of the next block, and its raw maxima
saturate the sigmoids of DAM's temporal branch. This variant reads what the next block reads: normalised features.
"""

import math

import torch
from torch import nn

from .dam_temporal_hdf import DAMTemporalAttention, gate_dtype, mean_and_max, with_own_gradient


class _Moments(torch.autograd.Function):
    """[`channel_moments`] with its gradient in a single tensor of the size of the map."""

    @staticmethod
    def forward(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype).square() / x.shape[-1]
        return x.mean(-1, keepdim=True, dtype=dtype), mean_square

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, mean: torch.Tensor, mean_square: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Gradients `(..., 1)` of both results to that of the map: `(mean + 2 x mean_square) / C`."""
        (x,) = ctx.saved_tensors
        constant, slope = mean / x.shape[-1], mean_square * (2 / x.shape[-1])
        return torch.addcmul(constant.to(x.dtype), slope.to(x.dtype), x), None


def channel_moments(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and mean square over the channels of a map `(..., C)`, each `(..., 1)` of type `dtype`."""
    return with_own_gradient(_Moments, x, dtype)


class DAMProjection(nn.Module):
    """
    A learned projection of features that are normalised over the channels, as LayerNorm without gain and bias does.

    With `x (B, T, h, w, C)`, n one output channel:

        p[n] = sum_c weight[n,c] * (x[c] - mean_c x) / sqrt(var_c x + 1e-6)                     (B, T, h, w, N)

    Computed with centred rows of the weight in place of centred features, which gives the same numbers and makes no
    tensor of the size of `x`. `weight` (N, C) starts as N(0, 1/C), so that `p` has a variance of about 1.

    Args:
        num_channels (`int`): channels C of the map.
        *num_outputs (`int`): output channels of each of the returned maps, N in all.
    """

    def __init__(self, num_channels: int, *num_outputs: int):
        super().__init__()
        self.num_outputs = num_outputs
        self.weight = nn.Parameter(torch.empty(sum(num_outputs), num_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the weight to its start values."""
        nn.init.normal_(self.weight, std=1 / math.sqrt(self.weight.shape[1]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Feature map `(B, T, h, w, C)` to a map `(B, T, h, w, n)` for each of `num_outputs`, in at least float32."""
        dtype = gate_dtype(self.weight)
        num_channels = x.shape[-1]
        weight = self.weight.to(dtype)
        # Divided by C before the product, because a sum over the channels leaves the range of float16.
        weight = ((weight - weight.mean(1, keepdim=True)) / num_channels).to(x.dtype)
        frames = x.flatten(2, 3).flatten(0, 1)  # (B*T, h*w, C), a view also of the permuted frames of a CNN
        projected = torch.bmm(frames, weight.T.expand(frames.shape[0], -1, -1)).view(*x.shape[:4], -1).to(dtype)
        mean, mean_square = channel_moments(x, dtype)  # (B, T, h, w, 1)
        variance = (mean_square - mean.square()).clamp(min=0)  # (B, T, h, w, 1)
        scale = num_channels / torch.sqrt(variance + 1e-6)
        # Scaled apart, each lies whole in memory: a CPU is slow at the maximum of some channels among others.
        return tuple(part * scale for part in projected.split(self.num_outputs, dim=-1))


class DAMNormalizedTemporalBranch(DAMTemporalAttention):
    """
    Temporal branch of `variant="normalized"`: one gate per frame, from normalised features.

    With `p (B, T, h, w, K)` from [`DAMProjection`], K = T, all norms divided by sqrt(K):

        A[b,t,k] = mean of p[b,t,:,:,k] over space                                              (B, T, K)
        M[b,t,k] = the maximum over the same                                                    (B, T, K)
        W[b,t]   = || A[b,t,:] - mean_t' A[b,t',:] ||_2, then z-scored over the clip's frames   (B, T, 1)
        D[b,t]   = the smaller of || A[b,t,:] - A[b,t-1,:] ||_2 and || A[b,t,:] - A[b,t+1,:] ||_2; the first and last
                   frame have one neighbour, a single frame none (0)                            (B, T, 1)
        S        = sigmoid(gamma * (alpha * A + beta * M) + delta * W - D)                      (B, T, K)
        S'       = mix @ S, over the T steps                                                    (B, T, K)
        H        = S + softmax(query key^T / sqrt(K)) value, all three linear in S'             (B, T, K)
        g_t      = sigmoid(H out + bias)                                                        (B, T)

    A frame far from both neighbours is an outlier; one far from the frame before alone is an onset, and D leaves it.

    | symbol | parameter | shape | start |
    |---|---|---|---|
    | alpha, beta | `average_weight`, `max_weight` | scalars | 0.5 |
    | gamma, delta | `pooled_gain`, `wasserstein_gain` | (T, K) | 1, 0 |
    | mix | `mix_weight` | (T, T) | uniform within 1/sqrt(T) |
    | query, key, value | `query_*`, `key_*`, `value_*` | weights (K, K), biases (K,) | as mix |
    | out, bias | `output_weight`, `output_bias` | (K,), scalar | as mix; `"identity"`: 0 |

    Args:
        num_steps (`int`): time steps T of the map, which has as many channels K.
        init (`str`): `"identity"` starts with a gate of exactly 1/2, `"paper"` with PyTorch's start values.
    """

    def __init__(self, num_steps: int, init: str):
        super().__init__(num_steps, init)
        self.output_weight = nn.Parameter(torch.empty(num_steps))
        self.output_bias = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the parameters to their start values."""
        super().reset_parameters()
        self._draw(self.value_weight, self.value_bias)
        self._draw(self.output_weight, self.output_bias, is_last=True)

    def _distribution_terms(self, average: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Wasserstein and Compensate terms `(B, T, 1)` of `average` `(B, T, K)`."""
        root = math.sqrt(self.num_steps)
        distance = torch.linalg.vector_norm(average - average.mean(1, keepdim=True), dim=2, keepdim=True) / root
        centred = distance - distance.mean(1, keepdim=True)
        wasserstein = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-6)
        if self.num_steps == 1:
            return wasserstein, torch.zeros_like(wasserstein)
        change = torch.linalg.vector_norm(average.diff(dim=1), dim=2, keepdim=True) / root  # (B, T-1, 1)
        to_previous = torch.cat([change[:, :1], change], dim=1)  # the first frame has its next one alone
        to_next = torch.cat([change, change[:, -1:]], dim=1)
        return wasserstein, torch.minimum(to_previous, to_next)

    def forward(self, projected: torch.Tensor) -> torch.Tensor:
        """Projected map `(B, T, h, w, K)` to the gate `(B, T)`, between 0 and 1."""
        score = self._score(*mean_and_max(projected, gate_dtype(self.mix_weight)))  # (B, T, K)
        summed = score + self._attended(score)  # (B, T, K)
        weight, bias = self.output_weight.to(score.dtype), self.output_bias.to(score.dtype)
        return torch.sigmoid(summed @ weight + bias)  # (B, T)


__all__ = ["DAMNormalizedTemporalBranch", "DAMProjection", "channel_moments"]
