"""The temporal branch of DAM: a gate per frame, from the frame's distance to the clip's distribution."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def gate_dtype(parameter: torch.Tensor) -> torch.dtype:
    """The type in which gates are computed: at least float32, because sums over a map overflow half precision."""
    return torch.promote_types(parameter.dtype, torch.float32)


def with_own_gradient(function: type[torch.autograd.Function], *inputs) -> tuple[torch.Tensor, ...]:
    """Applies a function with a gradient of its own; for an exported graph, which needs none, its plain forward."""
    return (function.forward if torch.compiler.is_exporting() else function.apply)(*inputs)


class _MeanAndMax(torch.autograd.Function):
    """
    [`mean_and_max`] with its gradient in a single tensor of the size of the map. As for `amax`, places that share the
    maximum share its gradient.
    """

    @staticmethod
    def forward(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3), dtype=dtype), x.amax(2).amax(2).to(dtype)  # over both at once, a CPU is slow

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: tuple) -> None:
        ctx.save_for_backward(inputs[0], output[1].to(inputs[0].dtype))

    @staticmethod
    def backward(ctx, average: torch.Tensor, maximum: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Gradients `(B, T, C)` of both results to that of the map."""
        x, largest = ctx.saved_tensors
        is_largest = x == largest[:, :, None, None]  # (B, T, h, w, C)
        elsewhere = average / (x.shape[2] * x.shape[3])
        there = elsewhere + maximum / is_largest.sum((2, 3))
        there, elsewhere = (gradient[:, :, None, None].to(x.dtype) for gradient in (there, elsewhere))
        return torch.where(is_largest, there, elsewhere), None


def mean_and_max(x: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and maximum over the places of a map `(B, T, h, w, C)`, each `(B, T, C)` of type `dtype`."""
    return with_own_gradient(_MeanAndMax, x, dtype)


class DAMTemporalAttention(nn.Module):
    """
    What the temporal branches share: the parameters of the score S and of the attention over the time steps.

    Args:
        num_steps (`int`): time steps T, and bins K.
        init (`str`): `"identity"` or `"paper"`, for the branch.
    """

    def __init__(self, num_steps: int, init: str):
        super().__init__()
        self.num_steps = num_steps
        self.init = init
        self.average_weight = nn.Parameter(torch.empty(()))
        self.max_weight = nn.Parameter(torch.empty(()))
        self.pooled_gain = nn.Parameter(torch.empty(num_steps, num_steps))  # gamma (T, K)
        self.wasserstein_gain = nn.Parameter(torch.empty(num_steps, num_steps))  # delta (T, K)
        self.mix_weight = nn.Parameter(torch.empty(num_steps, num_steps))
        self.query_weight = nn.Parameter(torch.empty(num_steps, num_steps))
        self.query_bias = nn.Parameter(torch.empty(num_steps))
        self.key_weight = nn.Parameter(torch.empty(num_steps, num_steps))
        self.key_bias = nn.Parameter(torch.empty(num_steps))
        self.value_weight = nn.Parameter(torch.empty(num_steps, num_steps))
        self.value_bias = nn.Parameter(torch.empty(num_steps))

    def reset_parameters(self) -> None:
        """Sets the parameters to their start values, all but those of the value."""
        nn.init.constant_(self.average_weight, 0.5)
        nn.init.constant_(self.max_weight, 0.5)
        nn.init.ones_(self.pooled_gain)
        nn.init.zeros_(self.wasserstein_gain)
        self._draw(self.mix_weight, self.query_weight, self.query_bias, self.key_weight, self.key_bias)

    def _draw(self, *parameters: nn.Parameter, is_last: bool = False) -> None:
        """PyTorch's own start of linear layers; 0 for the last one of the branch at the identity."""
        bound = 1 / math.sqrt(self.num_steps)
        for parameter in parameters:
            if is_last and self.init == "identity":
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def _distribution_terms(self, average: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Wasserstein and Compensate terms of `average` `(B, T, K)`, broadcastable to its shape."""
        raise NotImplementedError

    def _score(self, average: torch.Tensor, maximum: torch.Tensor) -> torch.Tensor:
        """The score S `(B, T, K)` of `average` and `maximum`, of the same shape or, for a still, `(B, 1, K)`."""
        if average.shape[1] == 1:  # a still: the same map at every step
            average, maximum = (pooled.expand(-1, self.num_steps, -1) for pooled in (average, maximum))
        wasserstein, change = self._distribution_terms(average)
        pooled = self.average_weight * average + self.max_weight * maximum
        return torch.sigmoid(self.pooled_gain * pooled + self.wasserstein_gain * wasserstein - change)

    def _attended(self, score: torch.Tensor) -> torch.Tensor:
        """Mixes the steps of a score `(B, T, K)`; then single-head attention over them, of the same shape."""
        mix = self.mix_weight.to(score.dtype).expand(score.shape[0], -1, -1)
        mixed = torch.bmm(mix, score)  # over the time axis
        # As one layer: on a GPU, these small products cost no more than the time to launch each.
        weight = torch.cat([self.query_weight, self.key_weight, self.value_weight]).to(score.dtype)  # (3 K, K)
        bias = torch.cat([self.query_bias, self.key_bias, self.value_bias]).to(score.dtype)  # (3 K,)
        query, key, value = F.linear(mixed, weight, bias).chunk(3, dim=-1)
        attention = torch.softmax(torch.bmm(query, key.transpose(1, 2)) / math.sqrt(self.num_steps), dim=-1)
        return torch.bmm(attention, value)  # attention (B, T, T)


class DAMTemporalBranch(DAMTemporalAttention):
    """
    Temporal branch: one gate per frame, computed from the frame's distance to the clip's distribution.

    With `x (B, T, h, w, C)`, the channels in K = T bins, k one bin and c one channel:

        A[b,t,k] = mean of x[b,t,:,:,c] over space and the channels c of bin k                  (B, T, K)
        M[b,t,k] = the maximum over the same                                                    (B, T, K)
        W[b,t]   = || A[b,t,:] - mean_t' A[b,t',:] ||_2     Wasserstein term                    (B, T, 1)
        D[b,t]   = || A[b,t,:] - A[b,t-1,:] ||_2, D[b,0] = 0     Compensate term                (B, T, 1)
        S        = sigmoid(gamma * (alpha * A + beta * M) + delta * W - D)                      (B, T, K)
        S'       = mix @ S, over the T steps                                                    (B, T, K)
        H        = softmax(query key^T / sqrt(K)) value, all three linear in S'                 (B, T, K)
        g_t      = sigmoid(mean_k H)                                                            (B, T)

    `variant="release"` computes both terms along the bins of one frame:
    `W[b,t] = || A[b,t,:] - mean_k A[b,t,k] ||_2` and `D[b,t,k] = | A[b,t,k] - A[b,t,k-1] |`, `D[b,t,0] = 0`.

    | symbol | parameter | shape | start |
    |---|---|---|---|
    | alpha, beta | `average_weight`, `max_weight` | scalars | 0.5 |
    | gamma, delta | `pooled_gain`, `wasserstein_gain` | (T, K) | 1, 0 |
    | mix | `mix_weight` | (T, T) | uniform within 1/sqrt(T) |
    | query, key | `query_*`, `key_*` | weights (K, K), biases (K,) | as mix |
    | value | `value_*` | weight (K, K), bias (K,) | as mix; `"identity"`: 0 |

    Args:
        num_steps (`int`): time steps T of the feature map; the channels are pooled into as many bins.
        variant (`str`): `"temporal"` compares frames, `"release"` compares the bins of one frame.
        init (`str`): `"identity"` starts with a gate of exactly 1/2, `"paper"` with PyTorch's start values.
    """

    def __init__(self, num_steps: int, variant: str, init: str):
        super().__init__(num_steps, init)
        self.variant = variant
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the parameters to their start values."""
        super().reset_parameters()
        self._draw(self.value_weight, self.value_bias, is_last=True)

    def _distribution_terms(self, average: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.variant == "release":
            wasserstein = torch.linalg.vector_norm(average - average.mean(2, keepdim=True), dim=2, keepdim=True)
            return wasserstein, F.pad(average.diff(dim=2).abs(), (1, 0))  # (B, T, 1), (B, T, K)
        mean = average.mean(1, keepdim=True).expand_as(average)
        # Mean and previous frame of each frame; the first frame is its own, at distance 0.
        others = torch.cat([mean, average[:, :1], average[:, :-1]], dim=1).unflatten(1, (2, -1))  # (B, 2, T, K)
        distance = torch.linalg.vector_norm(average[:, None] - others, dim=3, keepdim=True)
        return distance.unbind(1)  # both (B, T, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Feature map `(B, T, h, w, C)` to the gate `(B, T)`, between 0 and 1."""
        # Space first: the mean over space and bin is the mean of means, and the small tensors stay small.
        average, maximum = mean_and_max(x, gate_dtype(self.mix_weight))  # (B, T, C)
        average = F.adaptive_avg_pool1d(average, self.num_steps)  # (B, T, K)
        maximum = F.adaptive_max_pool1d(maximum, self.num_steps)
        return torch.sigmoid(self._attended(self._score(average, maximum)).mean(2))  # (B, T)


__all__ = ["DAMTemporalAttention", "DAMTemporalBranch", "gate_dtype", "mean_and_max", "with_own_gradient"]
