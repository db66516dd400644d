"""Which weights decay, and layer-wise learning-rate decay, as BEiT (https://arxiv.org/abs/2106.08254) fine-tunes.

Each layer of a pretrained backbone learns more slowly than the one above it: the early ones hold general features that
a small dataset would only spoil.
"""

from collections.abc import Iterable

from torch import nn

from ..dam_hdf import DAM
from ..modeling_hdf import HDFModel

# Parameters of DAM that scale or shift. Like biases and the gains of norms, they should not decay towards zero.
_DAM_GAINS = (
    *("pooled_gain", "wasserstein_gain"),
    *("noise", "noise_gain", "radius_gain", "tanh_gain", "tanh_bias"),
    "gate_logits",
)


def without_gains(model: nn.Module, names: Iterable[str]) -> list[str]:
    """
    Selects from `names` the parameters that weight decay applies to: matrices and kernels.

    It leaves out scalars and vectors, and in [`DAM`] the gains of bins, the parameters with one value per filter and
    the static gates.
    """
    modules = {name: module for name, module in model.named_modules() if isinstance(module, DAM)}
    gains = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, dam in modules.items()
        for name, _ in dam.named_parameters()
        if name.rsplit(".", 1)[-1] in _DAM_GAINS
    }
    return [name for name in names if model.get_parameter(name).ndim >= 2 and name not in gains]


def learning_rate_scales(model: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """
    Share of the learning rate that each parameter of a model takes.

    In a backbone with L layers, layer k (from 1) takes `decay ** (L + 1 - k)`, and the stem before layer 1 takes
    `decay ** (L + 1)`. All other parameters take 1: classifier and norms after the last layer, as in BEiT, and every
    DAM. A DAM starts as the identity, without pretrained weights; at the rate of its layer, an early DAM would stay
    close to the identity.

    Args:
        model: an [`HDFPreTrainedModel`], also in a wrapper; its backbone says which modules are layers.
        decay (`float`): above 0, at most 1.

    Returns:
        `dict[nn.Parameter, float]`: a scale for every parameter of the model.
    """
    base = next(module for module in model.modules() if isinstance(module, HDFModel))
    layers = base.backbone_kind.layers(base.backbone)
    scales = dict.fromkeys(model.parameters(), 1.0)
    for depth, module in enumerate([base.backbone_kind.stem(base.backbone), *layers]):
        scales.update(dict.fromkeys(module.parameters(), decay ** (len(layers) + 1 - depth)))
    return scales


def split_by_scale(param_groups: Iterable[dict], scales: dict[nn.Parameter, float]) -> list[dict]:
    """
    Parameter groups of an optimizer, each cut into one group per learning rate, the largest first.

    Args:
        param_groups (`Iterable[dict]`): groups with `params` and `lr`; other entries are kept.
        scales (`dict[nn.Parameter, float]`): from [`learning_rate_scales`].

    Returns:
        `list[dict]`: the groups that hold a parameter.
    """
    groups = []
    for group in param_groups:
        for scale in sorted(set(scales.values()), reverse=True):
            params = [parameter for parameter in group["params"] if scales[parameter] == scale]
            if params:
                groups.append({**group, "params": params, "lr": group["lr"] * scale})
    return groups


__all__ = ["learning_rate_scales", "split_by_scale", "without_gains"]
