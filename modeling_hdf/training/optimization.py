"""Which weights decay, and layer-wise learning-rate decay, as BEiT (https://arxiv.org/abs/2106.08254) fine-tunes.

Each layer of a pretrained backbone learns more slowly than the one above it: the early ones hold general features that
a small dataset would only spoil.
"""

from collections.abc import Iterable

from torch import nn

from ..dam_hdf import DAM
from ..modeling_hdf import HDFPreTrainedModel

# Of DAM, what scales or shifts: to decay it would pull a gate to a value, as it would a bias or the gain of a norm.
_DAM_GAINS = (
    *("pooled_gain", "wasserstein_gain"),
    *("noise", "noise_gain", "radius_gain", "tanh_gain", "tanh_bias"),
)


def without_gains(model: nn.Module, names: Iterable[str]) -> list[str]:
    """
    Those of the parameters `names` of a model that weight decay is for: matrices and kernels.

    Left out are scalars and vectors, and in [`DAM`] the gains of bins and what holds one value per filter.
    """
    modules = {name: module for name, module in model.named_modules() if isinstance(module, DAM)}
    gains = {
        f"{prefix}.{name}".lstrip(".")
        for prefix, dam in modules.items()
        for name, _ in dam.named_parameters()
        if name.rsplit(".", 1)[-1] in _DAM_GAINS
    }
    return [name for name in names if model.get_parameter(name).ndim >= 2 and name not in gains]


def learning_rate_scales(model: HDFPreTrainedModel, decay: float) -> dict[nn.Parameter, float]:
    """
    Share of the learning rate that each parameter of a model takes.

    Of a backbone with L layers, layer k (from 1) takes `decay ** (L + 1 - k)`, and what makes the tokens before it
    `decay ** (L + 1)`. Everything else takes 1: classifier and norms after the last layer, as in BEiT, and every DAM,
    wherever it sits. A DAM starts fresh as the identity and has nothing pretrained to keep; at the rate of its layer
    the early ones would stay close to the identity.

    Args:
        model ([`HDFPreTrainedModel`]): the model; its backbone says which modules are layers.
        decay (`float`): above 0, at most 1.

    Returns:
        `dict[nn.Parameter, float]`: a scale for every parameter of the model.
    """
    base = model.base_model
    layers = base.backbone_kind.layers(base.backbone)
    scales = dict.fromkeys(model.parameters(), 1.0)
    for depth, module in enumerate([base.backbone_kind.stem(base.backbone), *layers]):
        scales.update(dict.fromkeys(module.parameters(), decay ** (len(layers) + 1 - depth)))
    return scales


def split_by_scale(param_groups: Iterable[dict], scales: dict[nn.Parameter, float]) -> list[dict]:
    """
    Parameter groups of an optimizer, each cut into one group per learning rate, the largest first.

    Args:
        param_groups (`Iterable[dict]`): groups with `params` and `lr`; what else they hold is kept.
        scales (`dict[nn.Parameter, float]`): of [`learning_rate_scales`].

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
