"""From the parameters of DAM as the authors released it to ours."""

import torch

NUM_FILTERS = 49

# Names in the authors' released fragment -> names here.
NAMES = {
    "t_weight": "temporal_weight",
    "s_weight": "frequency_weight",
    "temporal_robust.alpha": "temporal.average_weight",
    "temporal_robust.beta": "temporal.max_weight",
    "temporal_robust.gamma": "temporal.pooled_gain",
    "temporal_robust.delta": "temporal.wasserstein_gain",
    "fc_t.weight": "temporal.mix_weight",
    **{
        f"temporal_attn.{short}.{kind}": f"temporal.{name}_{kind}"
        for short, name in (("q", "query"), ("k", "key"), ("v", "value"))
        for kind in ("weight", "bias")
    },
    "adv_branch.noise": "frequency.noise",
    "adv_branch.alpha": "frequency.noise_gain",
    "adv_branch.beta": "frequency.radius_gain",
    "al": "frequency.clean_weight",
    "be": "frequency.perturbed_weight",
    "dynamic_tanh.alpha": "frequency.tanh_slope",
    "dynamic_tanh.gamma": "frequency.tanh_gain",
    "dynamic_tanh.beta": "frequency.tanh_bias",
    "freq_attn.net.weight": "frequency.attend_weight",
    "freq_attn.net.0.weight": "frequency.reduce_weight",
    "freq_attn.net.2.weight": "frequency.attend_weight",
}


def convert_release_state_dict(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames and reshapes the parameters of one released DAM module for `DAM.load_state_dict`.

    Args:
        state (`dict[str, torch.Tensor]`): parameters under their names in the authors' released fragment, such as
            `"temporal_robust.gamma"` of shape `(1, T, K, 1, 1)`.

    Returns:
        `dict[str, torch.Tensor]`: the same numbers under this module's names and shapes.

    Raises:
        KeyError: for a name that the release does not have.
    """
    unknown = sorted(set(state) - set(NAMES))
    if unknown:
        raise KeyError(f"Not parameters of the released DAM: {unknown}; known are {sorted(NAMES)}.")
    return {NAMES[name]: reshape(NAMES[name], tensor) for name, tensor in state.items()}


def reshape(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Drops the release's singleton axes: scalars, `(T, K)` maps and one value per filter."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf in ("pooled_gain", "wasserstein_gain"):
        return tensor.reshape(tensor.shape[1], tensor.shape[2])
    if leaf in ("noise", "noise_gain", "radius_gain", "tanh_gain", "tanh_bias"):
        return tensor.reshape(NUM_FILTERS, 1, 1)
    scalars = ("temporal_weight", "frequency_weight", "average_weight", "max_weight", "clean_weight")
    return tensor.reshape(()) if leaf in (*scalars, "perturbed_weight", "tanh_slope") else tensor
