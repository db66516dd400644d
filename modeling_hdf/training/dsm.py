"""DSM: Distribution-aware Scaling Module.

Source: "Learning from Heterogeneity: Generalizing Dynamic Facial Expression Recognition via Distributionally Robust
Optimization" (ACM MM 2025), https://arxiv.org/abs/2507.15765, section 3.3 and the overview figure.

DSM trains on `lambda_CE * CE + lambda_SC * (DSC + ib_weight * IB)`: cross-entropy, a robust supervised contrastive
loss and an information bottleneck, weighted by gradient norms. All computations use float32, for any input type.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .distributed import gather_rows, num_processes

# Similarity of a sample with itself: finite, but so low that it adds nothing to a sum of exponentials.
_NO_PAIR = torch.finfo(torch.float32).min / 2
SCALINGS = ("parameters", "features", "ratio", "fixed")
MEASURED_SCALINGS = ("features", "ratio")  # at the features of the present batch
# Added to the norm in a denominator: a gradient that is only rounding noise must not be scaled up.
_LEAST_NORM = 1e-6


def _normalize(features: torch.Tensor) -> torch.Tensor:
    """Rows `(N, C)` of unit length, in float32; a zero row stays zero."""
    if features.ndim != 2:
        raise ValueError(f"`features` has shape {tuple(features.shape)}; expected (N, C).")
    return F.normalize(features.float(), dim=1, eps=1e-6)


def _check_widths(temperature: float, eta: float) -> None:
    for name, value in (("temperature", temperature), ("eta", eta)):
        if not 0 < value < math.inf:
            raise ValueError(f"`{name}` (`dsm_{name}`) is {value}; it must be a number above 0.")


def robust_contrastive_loss(
    features: torch.Tensor,
    labels: torch.Tensor,
    *,
    temperature: float = 0.07,
    eta: float = 0.2,
) -> torch.Tensor:
    r"""
    Supervised contrastive loss that weighs each pair by the distance of its cosine from `eta`.

        z_i  = f_i / ||f_i||                                        unit features                (N, C)
        c_ij = z_i . z_j,   s_ij = c_ij / temperature               cosines, similarities        (N, N)
        P(i) = the other samples of the class of i                  positives
        w_ia = exp(-(c_ia - eta)^2 / (2 eta^2))                     no gradient through it       (N, N)
        L(i) = -1/|P(i)| sum_{p in P(i)} log( exp(s_ip) / sum_{a != i} w_ia exp(s_ia) )          (N,)
        L    = mean of L(i) over the i with |P(i)| > 0                                           scalar

    Computed as one `logsumexp(s_ia + log w_ia)`. The weights shrink the denominator, so L can be negative; it does not
    measure progress.

    Args:
        features (`torch.Tensor` of shape `(N, C)`): features f, not normalised.
        labels (`torch.Tensor` of shape `(N,)`): classes; samples of the same class are positives.
        temperature (`float`): above 0.
        eta (`float`): cosine with the largest weight, and the width of the weighting; above 0.

    Returns:
        `torch.Tensor`: float32 scalar, the mean over the anchors that have a positive; 0 if no anchor has a positive.

    Raises:
        ValueError: for features that are not `(N, C)`, or numbers out of range.
    """
    _check_widths(temperature, eta)
    with torch.autocast(features.device.type, enabled=False):
        normalized = _normalize(features)
        cosine = normalized @ normalized.T  # (N, N)
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = (labels[:, None] == labels[None, :]) & ~itself
        num_positives = positive.sum(1)  # (N,)
        similarity = cosine / temperature
        # log w is a polynomial, so the weighted sum is one logsumexp without any underflow.
        log_weight = -(cosine.detach() - eta).square() / (2 * eta**2)
        # -inf would give a NaN gradient in a row without any pair.
        log_denominator = (similarity + log_weight).masked_fill(itself, _NO_PAIR).logsumexp(1)  # (N,)
        log_probability = similarity - log_denominator[:, None]
        anchor_loss = -torch.where(positive, log_probability, 0.0).sum(1) / num_positives.clamp(min=1)
        return anchor_loss.sum() / (num_positives > 0).sum().clamp(min=1)


def _has_positives(labels: torch.Tensor, is_mixed: torch.Tensor | None) -> torch.Tensor:
    """Whether two of the samples that are not mixed share a class, a boolean scalar."""
    if is_mixed is not None:
        labels = labels[~is_mixed]
    return (labels[:, None] == labels[None, :]).sum() > len(labels)


def information_bottleneck(features: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """
    Trace of the covariance (1/N) of the normalised features, between 0 and 1:
    `IB = Tr(Cov(Z)) = mean_i || z_i - mean_j z_j ||^2`, with `z_i` the unit features of [`robust_contrastive_loss`].

    With labels, the mean is that of the class of i: only the scatter within classes counts, and the term no longer
    pulls the classes together.

    Args:
        features (`torch.Tensor` of shape `(N, C)`): features, not normalised.
        labels (`torch.Tensor` of shape `(N,)`, *optional*): classes.

    Returns:
        `torch.Tensor`: float32 scalar.
    """
    normalized = _normalize(features)
    if labels is None:
        return (normalized - normalized.mean(0)).square().sum(1).mean()
    same = (labels[:, None] == labels[None, :]).to(normalized.dtype)  # (N, N)
    with torch.autocast(features.device.type, enabled=False):
        means = same @ normalized / same.sum(1, keepdim=True)  # (N, C), the mean of each sample's class
    return (normalized - means).square().sum(1).mean()


def adaptive_weights(
    grad_norm: torch.Tensor | float, *, alpha: float, beta: float
) -> tuple[torch.Tensor | float, torch.Tensor | float]:
    """
    Weights of the two losses from a gradient norm `g >= 0`, a scalar:
    `lambda_CE = alpha * g / (g + 1)` and `lambda_SC = beta / (g + 1)`. Large gradients put weight on classification,
    small ones on the structure of the features.

    Returns:
        `(lambda_ce, lambda_sc)`, of the type of `grad_norm`.
    """
    return alpha * (grad_norm / (grad_norm + 1)), beta / (grad_norm + 1)


@dataclass
class DSMOutput:
    """Result of [`DSM`]: `loss` carries the gradient, the other float32 scalars are detached."""

    loss: torch.Tensor
    loss_ce: torch.Tensor
    loss_sc: torch.Tensor
    lambda_ce: torch.Tensor
    lambda_sc: torch.Tensor
    grad_norm: torch.Tensor


class DSM(nn.Module):
    """
    The scaled training loss of HDF, a scalar for the N clips of a batch:

        L_SC = L_DSC + ib_weight * IB
        L    = lambda_CE * CE + lambda_SC * L_SC

    CE is the cross-entropy of the logits `(N, num_labels)`, L_DSC [`robust_contrastive_loss`] and IB
    [`information_bottleneck`] of the features `(N, C)`; [`adaptive_weights`] gives both lambdas from a gradient norm
    g. With `scaling="ratio"`, `lambda_CE = 1` and `lambda_SC = ratio * ||grad CE|| / ||grad SC||`, both gradients at
    the features of the present batch and both norms constants: the contrastive part has the same share of the gradient
    whatever the batch size, the number of channels and the time of the training. In a batch without positives, which
    leaves nothing but the bottleneck, `lambda_SC` is 0.

    Measured on rendered faces, 8 seeds, ratio 0.3 and the bottleneck within classes: on corrupted clips, the UAR is
    +0.3 (-1.1 to +1.7) points from that of cross-entropy alone with a small X3D, and -0.2 (-3.4 to +2.9) with a small
    VideoMAE (95 % intervals), so no gain is shown (`benchmarks/controlled_ablation.py`).

    Under `torch.distributed` every process computes the same loss from the batches of all processes: all must call it
    at the same time, with batches of equal size. Data-parallel training takes the mean of their gradients, which
    equals the gradient of a single process with the whole batch.

    Args:
        scaling (`str`): source of g. `"parameters"`: the last norm given to [`DSM.update`], 1 at the start.
            `"features"`: the norm of the gradient of the unscaled CE + SC with respect to the features of the present
            batch. `"ratio"`: g is the norm of the gradient of CE there, and the weights are those above. `"fixed"`: no
            g; the weights are `alpha` and `beta`.
        alpha (`float`): weight of cross-entropy, not negative.
        beta (`float`): weight of the contrastive loss with its bottleneck, not negative.
        temperature, eta (`float`): see [`robust_contrastive_loss`].
        ib_weight (`float`): weight of the bottleneck relative to the contrastive loss. The paper's figure adds the
            bottleneck; a negative value subtracts it, as the authors' release does.
        ib_within_classes (`bool`): whether the bottleneck measures the scatter within classes instead of that of the
            whole batch, which is the figure's.
        ratio (`float`): share r of `scaling="ratio"`, not negative.
        label_smoothing (`float`): label smoothing of the cross-entropy, 0 to 1.

    Raises:
        ValueError: for values outside these ranges.
    """

    def __init__(
        self,
        *,
        scaling: str = "features",
        alpha: float = 10.0,
        beta: float = 0.1,
        temperature: float = 0.07,
        eta: float = 0.2,
        ib_weight: float = 0.1,
        ib_within_classes: bool = False,
        ratio: float = 0.1,
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        if scaling not in SCALINGS:
            raise ValueError(f"`scaling` (`dsm_scaling`) is {scaling!r}; choose one of {SCALINGS}.")
        _check_widths(temperature, eta)
        for name, value in (("alpha", alpha), ("beta", beta), ("ratio", ratio)):
            if not 0 <= value < math.inf:
                raise ValueError(f"`{name}` (`dsm_{name}`) is {value}; it must be a finite number, 0 or above.")
        if not math.isfinite(ib_weight):
            raise ValueError(f"`ib_weight` (`dsm_ib_weight`) is {ib_weight}; it must be a finite number.")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"`label_smoothing` (`label_smoothing_factor`) is {label_smoothing}; it must be between 0 and 1."
            )
        self.scaling = scaling
        self.alpha = alpha
        self.beta = beta
        self.temperature = temperature
        self.eta = eta
        self.ib_weight = ib_weight
        self.ib_within_classes = ib_within_classes
        self.ratio = ratio
        self.label_smoothing = label_smoothing
        self.register_buffer("grad_norm", torch.ones(()))

    def update(self, grad_norm: torch.Tensor | float) -> None:
        """Sets g for the next batches (`scaling="parameters"`); a norm that is not finite leaves it unchanged."""
        grad_norm = torch.as_tensor(grad_norm, dtype=torch.float32, device=self.grad_norm.device).detach()
        self.grad_norm.copy_(torch.where(grad_norm.isfinite(), grad_norm, self.grad_norm))

    def forward(
        self,
        logits: torch.Tensor,
        features: torch.Tensor,
        labels: torch.Tensor,
        soft_labels: torch.Tensor | None = None,
        is_mixed: torch.Tensor | None = None,
        sources: Sequence[torch.Tensor] | None = None,
    ) -> DSMOutput:
        """
        Args:
            logits (`torch.Tensor` of shape `(N, num_labels)`): scores computed from `features`.
            features (`torch.Tensor` of shape `(N, C)`): pooled features, not normalised.
            labels (`torch.LongTensor` of shape `(N,)`): classes.
            soft_labels (`torch.Tensor` of shape `(N, num_labels)`, *optional*): targets of the cross-entropy in place
                of `labels`, for mixup and cutmix; each row adds up to 1.
            is_mixed (`torch.BoolTensor` of shape `(N,)`, *optional*): samples mixed from two clips. They count only
                in the cross-entropy, not in the contrastive loss or the bottleneck.
            sources (`Sequence[torch.Tensor]`, *optional*): tensors at which the scalings "features" and "ratio"
                measure g; default: `features`. `features` and `logits` are both computed from them; together they are
                `(N, C)`. Needed if `logits` does not depend on `features`, as with the copies that
                `DistributedDataParallel` returns.

        Raises:
            ValueError: if every sample is mixed, or features that have no gradient to measure.
        """
        all_labels = gather_rows(labels)  # (num_processes * N,); all gathered tensors have this length
        targets = all_labels if soft_labels is None else gather_rows(soft_labels)
        loss_ce = F.cross_entropy(gather_rows(logits.float()), targets, label_smoothing=self.label_smoothing)
        all_mixed = None if is_mixed is None else gather_rows(is_mixed)
        loss_sc = self._feature_loss(gather_rows(features.float()), all_labels, all_mixed)
        lambda_ce, lambda_sc, grad_norm = self._weights(loss_ce, loss_sc, [features] if sources is None else sources)
        if self.scaling == "ratio":
            lambda_sc = torch.where(_has_positives(all_labels, all_mixed), lambda_sc, 0.0)
        return DSMOutput(
            loss=lambda_ce * loss_ce + lambda_sc * loss_sc,
            loss_ce=loss_ce.detach(),
            loss_sc=loss_sc.detach(),
            lambda_ce=lambda_ce,
            lambda_sc=lambda_sc,
            grad_norm=grad_norm,
        )

    def _feature_loss(
        self, features: torch.Tensor, labels: torch.Tensor, is_mixed: torch.Tensor | None
    ) -> torch.Tensor:
        """Contrastive loss and bottleneck of the samples that are not mixed, a float32 scalar."""
        if is_mixed is not None:
            features, labels = features[~is_mixed], labels[~is_mixed]
            if not len(labels):
                raise ValueError("Every sample is mixed: DSM needs samples with a class of their own.")
        loss_sc = robust_contrastive_loss(features, labels, temperature=self.temperature, eta=self.eta)
        return loss_sc + self.ib_weight * information_bottleneck(features, labels if self.ib_within_classes else None)

    def _weights(
        self, loss_ce: torch.Tensor, loss_sc: torch.Tensor, sources: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """lambda_CE, lambda_SC and the present g, detached float32 scalars."""
        if self.scaling == "fixed":
            weights = (torch.full_like(self.grad_norm, weight) for weight in (self.alpha, self.beta))
            return *weights, self.grad_norm.clone()
        if self.scaling == "ratio":
            grad_norm, structure_norm = self._norm_at(sources, loss_ce), self._norm_at(sources, loss_sc)
            return torch.ones_like(grad_norm), self.ratio * grad_norm / (structure_norm + _LEAST_NORM), grad_norm
        is_measured = self.scaling == "features"
        grad_norm = self._norm_at(sources, loss_ce + loss_sc) if is_measured else self.grad_norm.clone()
        return *adaptive_weights(grad_norm, alpha=self.alpha, beta=self.beta), grad_norm

    def _norm_at(self, sources: Sequence[torch.Tensor], unscaled_loss: torch.Tensor) -> torch.Tensor:
        """The norm of the gradient of a loss at the features, a detached float32 scalar."""
        if not all(features.requires_grad for features in sources):
            raise ValueError(
                f'`scaling="{self.scaling}"` (`dsm_scaling`) measures a gradient at features that take none: compute '
                'the logits from `features.detach().requires_grad_()` and pass that, or use "fixed".'
            )
        # The backward pass ends at the features, so it only runs through the head. Autocast would round the gradient.
        with torch.autocast(unscaled_loss.device.type, enabled=False):
            gradients = torch.autograd.grad(unscaled_loss, sources, retain_graph=True)
        # They belong to the features of this process, and are sums over the losses of all processes.
        gradient = torch.cat([part.float().to(unscaled_loss.device) for part in gradients])
        return torch.linalg.vector_norm(gather_rows(gradient) / num_processes())


__all__ = ["DSM", "DSMOutput", "adaptive_weights", "information_bottleneck", "robust_contrastive_loss"]
