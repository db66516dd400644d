"""One optimizer step; on a GPU as a CUDA graph, because the many small kernels of X3D take longer to start than to
run."""

import torch
from torch import nn
from torch.nn import functional as F

_EAGER_STEPS = 5  # before the graph is captured, so that every library has chosen its kernels


class Step:
    """
    Steps of AdamW on the cross-entropy with soft targets, under bfloat16.

    Args:
        model: on its device, in training mode whenever the step is called.
        weight_decay: of matrices and kernels alone.
    """

    def __init__(self, model: nn.Module, weight_decay: float):
        self.model = model
        self.device = next(model.parameters()).device
        named = list(model.named_parameters())
        decayed = [p for name, p in named if p.ndim >= 2 and "dam" not in name]
        others = [p for name, p in named if not (p.ndim >= 2 and "dam" not in name)]
        on_gpu = self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=torch.zeros((), device=self.device) if on_gpu else 0.0,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self.graph: torch.cuda.CUDAGraph | None = None
        self.taken = 0

    def __call__(self, clips: torch.Tensor, targets: torch.Tensor, learning_rate: float) -> torch.Tensor:
        """Takes a step on clips `(B, T, 3, H, W)` and targets `(B, num_labels)`; returns the loss, a scalar."""
        for group in self.optimizer.param_groups:
            if self.device.type == "cuda":
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate
        self.taken += 1
        if self.device.type != "cuda":
            return self._step(clips, targets)
        if self.taken <= _EAGER_STEPS:
            return self._on_side_stream(clips, targets)
        if self.graph is None:
            self.clips, self.targets = clips.clone(), targets.clone()
            self.optimizer.zero_grad(set_to_none=True)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.loss = self._step(self.clips, self.targets)
        self.clips.copy_(clips)
        self.targets.copy_(targets)
        self.graph.replay()
        return self.loss

    def _on_side_stream(self, clips: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._step(clips, targets)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _step(self, clips: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            logits = self.model(clips).logits
        loss = F.cross_entropy(logits.float(), targets)
        if not torch.cuda.is_available() or not torch.cuda.is_current_stream_capturing():
            self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.detach()


__all__ = ["Step"]
