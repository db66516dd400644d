"""DAM as numpy loops, written from the equations of the method."""

import math

import numpy as np


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def reference_convolution(maps, filters):
    """7x7 correlation with padding 3: maps (B, I, h, w), filters (O, I, 7, 7) -> (B, O, h, w)."""
    batch, channels, height, width = maps.shape
    out = np.zeros((batch, len(filters), height, width))
    for row in range(height):
        for column in range(width):
            for i in range(7):
                for j in range(7):
                    r, c = row + i - 3, column + j - 3
                    if 0 <= r < height and 0 <= c < width:
                        out[:, :, row, column] += maps[:, :, r, c] @ filters[:, :, i, j].T
    return out


def reference_bank():
    bank = np.zeros((49, 1, 7, 7))
    for index in range(49):
        u, v = index % 7, index // 7
        for x in range(7):
            for y in range(7):
                scale = (math.sqrt(1 / 7) if u == 0 else math.sqrt(2 / 7)) * (
                    math.sqrt(1 / 7) if v == 0 else math.sqrt(2 / 7)
                )
                cosines = math.cos(math.pi * (x + 0.5) * u / 7) * math.cos(math.pi * (y + 0.5) * v / 7)
                bank[index, 0, x, y] = scale * cosines
    return bank


def reference_temporal_gate(x, p, variant):
    """Temporal branch as loops: x (B, T, h, w, C) -> (B, T)."""
    batch, steps, _, _, channels = x.shape
    gate = np.zeros((batch, steps))
    for b in range(batch):
        average, maximum = np.zeros((steps, steps)), np.zeros((steps, steps))
        for t in range(steps):
            for k in range(steps):
                start, end = math.floor(k * channels / steps), math.ceil((k + 1) * channels / steps)
                average[t, k] = x[b, t, :, :, start:end].mean()
                maximum[t, k] = x[b, t, :, :, start:end].max()
        score = np.zeros((steps, steps))
        for t in range(steps):
            for k in range(steps):
                if variant == "temporal":
                    wasserstein = math.sqrt(sum((average[t, j] - average[:, j].mean()) ** 2 for j in range(steps)))
                    change = 0.0
                    if t > 0:
                        change = math.sqrt(sum((average[t, j] - average[t - 1, j]) ** 2 for j in range(steps)))
                else:
                    wasserstein = math.sqrt(sum((average[t, j] - average[t].mean()) ** 2 for j in range(steps)))
                    change = abs(average[t, k] - average[t, k - 1]) if k > 0 else 0.0
                pooled = p["average_weight"] * average[t, k] + p["max_weight"] * maximum[t, k]
                score[t, k] = sigmoid(
                    p["pooled_gain"][t, k] * pooled + p["wasserstein_gain"][t, k] * wasserstein - change
                )
        mixed = np.zeros((steps, steps))
        for t in range(steps):
            for source in range(steps):
                mixed[t] += p["mix_weight"][t, source] * score[source]
        query, key, value = (
            np.stack([p[f"{name}_weight"] @ mixed[t] + p[f"{name}_bias"] for t in range(steps)])
            for name in ("query", "key", "value")
        )
        for t in range(steps):
            weights = np.array([math.exp(query[t] @ key[other] / math.sqrt(steps)) for other in range(steps)])
            weights /= weights.sum()
            gate[b, t] = sigmoid(sum(weights[other] * value[other] for other in range(steps)).mean())
    return gate


def reference_frequency_gate(x, p):
    """Frequency branch as loops over the filters: x (B, T, h, w, C) -> (B, h, w)."""
    response = reference_convolution(x.mean(1).sum(-1)[:, None], reference_bank())
    for b in range(len(x)):
        for i in range(49):
            d = response[b, i]
            radius = math.sqrt(((d - d.mean()) ** 2).sum())
            noise, noise_gain, radius_gain = (p[n][i, 0, 0] for n in ("noise", "noise_gain", "radius_gain"))
            perturbed = d + np.sign(d) * (noise * noise_gain + 0.05 * radius_gain * radius)
            response[b, i] = (p["clean_weight"] * d + p["perturbed_weight"] * perturbed) / 2
    spread = np.sqrt(response.var(axis=1, ddof=1, keepdims=True) + 1e-6)
    response = np.tanh(p["tanh_slope"] / (spread + 1e-6) * response) * p["tanh_gain"] + p["tanh_bias"]
    if "reduce_weight" in p:
        response = np.maximum(reference_convolution(response, p["reduce_weight"]), 0)
    return sigmoid(reference_convolution(response, p["attend_weight"])[:, 0])


def normalized_projection(x, weight):
    """DAMProjection as loops over the places: x (B, T, h, w, C), weight (N, C) -> (B, T, h, w, N)."""
    out = np.zeros((*x.shape[:4], len(weight)))
    for place in np.ndindex(*x.shape[:4]):
        feature = x[place]
        normalized = (feature - feature.mean()) / math.sqrt(feature.var() + 1e-6)
        for n in range(len(weight)):
            out[place][n] = sum(weight[n, c] * normalized[c] for c in range(len(feature)))
    return out


def reference_normalized_temporal_gate(projected, p):
    """Temporal branch of the variant "normalized" as loops: projected (B, T, h, w, K) -> (B, T)."""
    batch, steps = projected.shape[:2]
    gate = np.zeros((batch, steps))

    def distance(one, other):
        return math.sqrt(sum((one[k] - other[k]) ** 2 for k in range(steps)) / steps)

    for b in range(batch):
        average, maximum = projected[b].mean((1, 2)), projected[b].max((1, 2))  # (T, K)
        to_mean = np.array([distance(average[t], average.mean(0)) for t in range(steps)])
        z_score = (to_mean - to_mean.mean()) / math.sqrt(to_mean.var() + 1e-6)
        score = np.zeros((steps, steps))
        for t in range(steps):
            neighbours = [distance(average[t], average[n]) for n in (t - 1, t + 1) if 0 <= n < steps]
            change = min(neighbours, default=0.0)
            for k in range(steps):
                pooled = p["average_weight"] * average[t, k] + p["max_weight"] * maximum[t, k]
                gains = p["pooled_gain"][t, k], p["wasserstein_gain"][t, k]
                score[t, k] = sigmoid(gains[0] * pooled + gains[1] * z_score[t] - change)
        mixed = p["mix_weight"] @ score
        query, key, value = (
            np.stack([p[f"{name}_weight"] @ mixed[t] + p[f"{name}_bias"] for t in range(steps)])
            for name in ("query", "key", "value")
        )
        for t in range(steps):
            weights = np.array([math.exp(query[t] @ key[other] / math.sqrt(steps)) for other in range(steps)])
            attended = sum(weights[other] / weights.sum() * value[other] for other in range(steps))
            gate[b, t] = sigmoid((score[t] + attended) @ p["output_weight"] + p["output_bias"])
    return gate


def reference_gates(x, parameters, variant):
    """Gates (B, T) and (B, h, w), or None for a branch without parameters, of a float64 array x (B, T, h, w, C)."""
    temporal, frequency = (
        {name.removeprefix(f"{prefix}."): value for name, value in parameters.items() if prefix + "." in name}
        for prefix in ("temporal", "frequency")
    )
    if variant == "static":
        static = [
            np.stack([sigmoid(branch["gate_logits"])] * len(x)) if branch else None for branch in (temporal, frequency)
        ]
        return tuple(static)
    if variant == "normalized":
        projected = normalized_projection(x, parameters["projection.weight"])
        for_frequency, for_temporal = projected[..., :1], projected[..., int(bool(frequency)) :]
        return (
            reference_normalized_temporal_gate(for_temporal, temporal) if temporal else None,
            reference_frequency_gate(for_frequency, frequency) if frequency else None,
        )
    return (
        reference_temporal_gate(x, temporal, variant) if temporal else None,
        reference_frequency_gate(x, frequency) if frequency else None,
    )


def reference_dam(x, parameters, variant):
    """DAM on a float64 array x (B, T, h, w, C), from its parameters by name."""
    temporal, frequency = reference_gates(x, parameters, variant)
    scales = []
    if temporal is not None:
        scales.append(parameters["temporal_weight"] * (1 + temporal)[:, :, None, None, None])
    if frequency is not None:
        scales.append(parameters["frequency_weight"] * (1 + frequency)[:, None, :, :, None])
    return x * sum(scales) / len(scales)
