"""The expression network of the npm package `@vladmandic/face-api` (MIT) in torch, with the weights of the package.

The network sees a face of 112 x 112 pixels through four dense blocks of separable convolutions. The package runs it in
JavaScript; here it runs in torch, so that it can be timed beside other models in one process.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MANIFEST = "face_expression_model-weights_manifest.json"
EDGE, MEAN = 112, (122.782, 117.001, 104.298)  # pixels; of red, green and blue
LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")


class FaceExpressionNet(nn.Module):
    """
    Args:
        folder (`str` or `Path`): the unpacked package, or its folder `model`.

    Raises:
        FileNotFoundError: if the folder does not hold the weights.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self.weights = read_weights(Path(folder))

    @torch.inference_mode()
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Probabilities `(N, 7)` in the order of `LABELS`, of pictures `(N, 3, H, W)` from 0 to 255."""
        x = F.interpolate(pictures, size=(EDGE, EDGE), mode="bilinear", align_corners=False, antialias=True)
        x = (x - torch.tensor(MEAN)[:, None, None]) / 255
        for block in range(4):
            x = self._dense_block(x, f"dense{block}", is_first=block == 0)  # (N, C, 112 / 2 ** (block + 1), ...)
        x = F.avg_pool2d(x, 7).flatten(1)  # (N, 256)
        return (x @ self.weights["fc/weights"] + self.weights["fc/bias"]).softmax(1)

    def _dense_block(self, x: torch.Tensor, name: str, is_first: bool) -> torch.Tensor:
        total = x = self._convolution(x, f"{name}/conv0", stride=2, separable=not is_first).relu()
        for index in range(1, 4):
            total = total + self._convolution(x, f"{name}/conv{index}", stride=1)
            x = total.relu()
        return x

    def _convolution(self, x: torch.Tensor, name: str, stride: int, separable: bool = True) -> torch.Tensor:
        # TensorFlow's padding "same": of an even edge with stride 2, only the right and the bottom are padded.
        x = F.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))
        bias = self.weights[f"{name}/bias"]
        if not separable:
            return F.conv2d(x, self.weights[f"{name}/filters"].permute(3, 2, 0, 1), bias, stride)
        depthwise = self.weights[f"{name}/depthwise_filter"].permute(2, 3, 0, 1)
        pointwise = self.weights[f"{name}/pointwise_filter"].permute(3, 2, 0, 1)
        return F.conv2d(F.conv2d(x, depthwise, stride=stride, groups=x.shape[1]), pointwise, bias)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of the package by name, as TensorFlow lays them out."""
    found = [path for path in (folder / MANIFEST, folder / "model" / MANIFEST) if path.exists()]
    if not found:
        raise FileNotFoundError(f"{folder}: holds no {MANIFEST}; give the folder `package` of the unpacked package.")
    (group,) = json.loads(found[0].read_text())
    content = b"".join((found[0].parent / path).read_bytes() for path in group["paths"])
    weights, start = {}, 0
    for entry in group["weights"]:
        count, stored = int(np.prod(entry["shape"])), entry.get("quantization", {"dtype": "float32"})
        values = np.frombuffer(content, stored["dtype"], count, start)
        start += values.nbytes
        tensor = torch.from_numpy(values.astype(np.float32)).reshape(entry["shape"])
        weights[entry["name"]] = tensor * stored.get("scale", 1.0) + stored.get("min", 0.0)
    return weights


__all__ = ["LABELS", "FaceExpressionNet"]
