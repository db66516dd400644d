"""SAM: Sharpness-Aware Minimisation (Foret et al. 2021, https://arxiv.org/abs/2010.01412), without an optimizer.

SAM steps with the gradient taken at `w + rho * g / ||g||`, the worst point nearby, instead of at `w`. An optimizer
wrapper does not fit `accelerate` (no closure reaches the optimizer), so this class only perturbs the parameters; the
trainer runs the two passes.
"""

from collections.abc import Iterable

import torch
from torch import nn


class SAMPerturbation:
    """
    Moves parameters to the worst point within `rho` and back to exactly where they were.

    Args:
        parameters (`Iterable[nn.Parameter]`): parameters; those without a gradient stay where they are.
        rho (`float`): radius of the ball, above 0.

    Example:

    ```python
    >>> loss_function(model).backward()
    >>> perturbation = SAMPerturbation(model.parameters(), rho=0.05)
    >>> if perturbation.apply().isfinite():
    ...     model.zero_grad()
    ...     loss_function(model).backward()
    ...     perturbation.undo()
    ```"""

    def __init__(self, parameters: Iterable[nn.Parameter], rho: float):
        if rho <= 0:
            raise ValueError(f"`rho` is {rho}; it must be above 0.")
        self.parameters = [parameter for parameter in parameters if parameter.grad is not None]
        self.rho = rho
        self.originals: list[torch.Tensor] = []

    @torch.no_grad()
    def apply(self) -> torch.Tensor:
        """
        Adds `rho * g / ||g||` to the parameters; g holds the present gradients of all parameters together.

        Gradients multiplied by a loss scaler give the same perturbation.

        Returns:
            `torch.Tensor`: `||g||`, a scalar. If it is not finite, the parameters do not move.
        """
        norm = nn.utils.get_total_norm([parameter.grad for parameter in self.parameters])
        if norm.isfinite():
            self.originals = [parameter.detach().clone() for parameter in self.parameters]
            # A gradient of zero has no direction: the perturbation is then zero.
            scale = self.rho / norm.clamp(min=1e-12)
            for parameter in self.parameters:
                parameter.add_(parameter.grad * scale)
        return norm

    @torch.no_grad()
    def undo(self) -> None:
        """Puts the saved values back, bit for bit."""
        for parameter, original in zip(self.parameters, self.originals, strict=True):
            parameter.copy_(original)
        self.originals = []


__all__ = ["SAMPerturbation"]
