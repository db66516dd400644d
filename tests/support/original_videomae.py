"""VideoMAE as its original code computes it, in plain torch on a dictionary of weights, and random such weights."""

import numpy as np
import torch
from torch.nn import functional as F

FRAMES, SIZE, TUBELET, PATCH, WIDTH, HEADS, HIDDEN, LAYERS = 4, 16, 2, 8, 12, 3, 20, 2
DECODER_WIDTH, DECODER_HEADS, DECODER_HIDDEN, DECODER_LAYERS = 8, 2, 10, 1
NUM_TOKENS = FRAMES // TUBELET * (SIZE // PATCH) ** 2


def random_tensor(*shape: int, std: float = 0.3) -> torch.Tensor:
    return torch.randn(*shape) * std


def norm_weights(prefix: str, width: int) -> dict[str, torch.Tensor]:
    return {f"{prefix}.weight": 1 + random_tensor(width), f"{prefix}.bias": random_tensor(width)}


def linear_weights(prefix: str, rows: int, columns: int) -> dict[str, torch.Tensor]:
    return {f"{prefix}.weight": random_tensor(rows, columns), f"{prefix}.bias": random_tensor(rows)}


def block_weights(prefix: str, width: int, hidden: int, qkv_bias: bool = True) -> dict[str, torch.Tensor]:
    biases = {f"{prefix}.attn.q_bias": random_tensor(width), f"{prefix}.attn.v_bias": random_tensor(width)}
    return {
        **norm_weights(f"{prefix}.norm1", width),
        **(biases if qkv_bias else {}),
        f"{prefix}.attn.qkv.weight": random_tensor(3 * width, width),
        **linear_weights(f"{prefix}.attn.proj", width, width),
        **norm_weights(f"{prefix}.norm2", width),
        **linear_weights(f"{prefix}.mlp.fc1", hidden, width),
        **linear_weights(f"{prefix}.mlp.fc2", width, hidden),
    }


def encoder_weights(prefix: str = "", qkv_bias: bool = True) -> dict[str, torch.Tensor]:
    weights = {
        f"{prefix}patch_embed.proj.weight": random_tensor(WIDTH, 3, TUBELET, PATCH, PATCH, std=0.1),
        f"{prefix}patch_embed.proj.bias": random_tensor(WIDTH),
    }
    for number in range(LAYERS):
        weights |= block_weights(f"{prefix}blocks.{number}", WIDTH, HIDDEN, qkv_bias)
    return weights


def classifier_weights(mean_pooling: bool = True, qkv_bias: bool = True, classes: int = 5) -> dict[str, torch.Tensor]:
    """A fine-tuned checkpoint."""
    norm = norm_weights("fc_norm" if mean_pooling else "norm", WIDTH)
    return encoder_weights(qkv_bias=qkv_bias) | norm | linear_weights("head", classes, WIDTH)


def pretraining_weights() -> dict[str, torch.Tensor]:
    """A pretraining checkpoint."""
    weights = {"mask_token": random_tensor(1, 1, DECODER_WIDTH)}
    weights |= encoder_weights("encoder.") | norm_weights("encoder.norm", WIDTH)
    for number in range(DECODER_LAYERS):
        weights |= block_weights(f"decoder.blocks.{number}", DECODER_WIDTH, DECODER_HIDDEN)
    weights |= norm_weights("decoder.norm", DECODER_WIDTH)
    weights |= linear_weights("decoder.head", 3 * TUBELET * PATCH**2, DECODER_WIDTH)
    return weights | {"encoder_to_decoder.weight": random_tensor(DECODER_WIDTH, WIDTH)}


def position_table(num_tokens: int, width: int) -> torch.Tensor:
    """Sine at even channels and cosine at odd ones, of shape `(1, num_tokens, width)`."""
    table = np.empty((num_tokens, width))
    for position in range(num_tokens):
        for channel in range(width):
            angle = position / 10000 ** (2 * (channel // 2) / width)
            table[position, channel] = np.cos(angle) if channel % 2 else np.sin(angle)
    return torch.tensor(table, dtype=torch.float32)[None]


def normalised(weights: dict, prefix: str, x: torch.Tensor, epsilon: float = 1e-6) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()
    return centred / scale * weights[f"{prefix}.weight"] + weights[f"{prefix}.bias"]


def linear(weights: dict, prefix: str, x: torch.Tensor) -> torch.Tensor:
    return x @ weights[f"{prefix}.weight"].T + weights[f"{prefix}.bias"]


def block(weights: dict, prefix: str, x: torch.Tensor, heads: int) -> torch.Tensor:
    batch, tokens, width = x.shape
    inputs = normalised(weights, f"{prefix}.norm1", x)
    qkv = inputs @ weights[f"{prefix}.attn.qkv.weight"].T
    if f"{prefix}.attn.q_bias" in weights:
        q_bias, v_bias = weights[f"{prefix}.attn.q_bias"], weights[f"{prefix}.attn.v_bias"]
        qkv = qkv + torch.cat((q_bias, torch.zeros_like(v_bias), v_bias))
    q, k, v = qkv.reshape(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    attention = (q * (width // heads) ** -0.5 @ k.transpose(-2, -1)).softmax(-1)
    x = x + linear(weights, f"{prefix}.attn.proj", (attention @ v).transpose(1, 2).reshape(batch, tokens, width))
    hidden = F.gelu(linear(weights, f"{prefix}.mlp.fc1", normalised(weights, f"{prefix}.norm2", x)))
    return x + linear(weights, f"{prefix}.mlp.fc2", hidden)


def tokens(weights: dict, prefix: str, clips: torch.Tensor) -> torch.Tensor:
    """Clips `(B, 3, F, H, W)` to tokens with their positions."""
    kernel, bias = weights[f"{prefix}patch_embed.proj.weight"], weights[f"{prefix}patch_embed.proj.bias"]
    x = F.conv3d(clips, kernel, bias, stride=kernel.shape[2:]).flatten(2).transpose(1, 2)
    return x + position_table(x.shape[1], x.shape[2])


def classify(weights: dict, clips: torch.Tensor, heads: int = HEADS, last_epsilon: float = 1e-6) -> torch.Tensor:
    """Logits of a fine-tuned checkpoint; `last_epsilon` is that of the norm before the classifier."""
    x = tokens(weights, "", clips)
    for number in range(LAYERS):
        x = block(weights, f"blocks.{number}", x, heads)
    if "fc_norm.weight" in weights:
        return linear(weights, "head", normalised(weights, "fc_norm", x.mean(1), last_epsilon))
    return linear(weights, "head", normalised(weights, "norm", x)[:, 0])


def reconstruct(weights: dict, clips: torch.Tensor, mask: torch.Tensor, last_epsilon: float = 1e-6) -> torch.Tensor:
    """What a pretraining checkpoint says of the hidden tokens; `last_epsilon` is that of the decoder's last norm."""
    batch = len(clips)
    x = tokens(weights, "encoder.", clips)[~mask].reshape(batch, -1, WIDTH)
    for number in range(LAYERS):
        x = block(weights, f"encoder.blocks.{number}", x, HEADS)
    x = normalised(weights, "encoder.norm", x) @ weights["encoder_to_decoder.weight"].T
    positions = position_table(mask.shape[1], DECODER_WIDTH).expand(batch, -1, -1)
    shown = x + positions[~mask].reshape(batch, -1, DECODER_WIDTH)
    hidden = weights["mask_token"] + positions[mask].reshape(batch, -1, DECODER_WIDTH)
    x = torch.cat([shown, hidden], dim=1)
    for number in range(DECODER_LAYERS):
        x = block(weights, f"decoder.blocks.{number}", x, DECODER_HEADS)
    x = x[:, -hidden.shape[1] :]
    return linear(weights, "decoder.head", normalised(weights, "decoder.norm", x, last_epsilon))
