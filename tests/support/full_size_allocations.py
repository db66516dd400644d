"""Which operations make a tensor of a given size."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class FullSizeAllocations(TorchDispatchMode):
    """Records the operations whose result fills a new storage of at least `numel` elements."""

    def __init__(self, numel: int, *known: torch.Tensor):
        super().__init__()
        self.numel = numel
        self.seen = {tensor.untyped_storage().data_ptr() for tensor in known}
        self.kept = []  # alive, so that no address comes twice
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()  # of a broadcast view: small
                large = storage.nbytes() >= self.numel * tensor.element_size()
                if large and storage.data_ptr() not in self.seen:
                    self.seen.add(storage.data_ptr())
                    self.kept.append(tensor)
                    self.operations.append(str(func))
        return result
