"""HDF model configuration."""

# First: it refuses a transformers that lacks names imported below.
from .requirements_hdf import LOWEST_TRANSFORMERS  # noqa: F401

# isort: split
import copy
import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .videomae_hdf import VideoMAEBackbone
from .x3d_hdf import X3DBackbone

# By `model_type` of the backbone's configuration.
BACKBONES = {"videomae": VideoMAEBackbone, "hdf_x3d": X3DBackbone}

# The classes, in DFEW's order.
EMOTIONS = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")

# Fields of the backbone that can also be read and set on `HDFConfig` itself.
_SHARED_FIELDS = ("num_frames", "image_size")


def default_dam_layers(num_layers: int) -> list[int]:
    """Layers (1-based) after which the paper's four stages end on a backbone of `num_layers` equal layers."""
    return sorted({max(1, (2 * k * num_layers + 4) // 8) for k in range(1, 5)})  # floor(k L / 4 + 1/2)


def refuse_unknown_backbone_fields(config: PreTrainedConfig, changes: dict) -> None:
    """Raises a `ValueError` if `changes` name fields that `config`, of a backbone, lacks: transformers would store
    them, and nothing would read them."""
    unknown = sorted(name for name in changes if not hasattr(config, name))
    if unknown:
        known = sorted(type(config).__annotations__)
        raise ValueError(f"Unknown fields {unknown} in `backbone_config`; {type(config).__name__} has {known}.")


def _comparable(size: int | list[int] | tuple[int, int]) -> tuple:
    """224, [224, 224] and (224, 224) as the same value."""
    return tuple(size) if isinstance(size, (list, tuple)) else (size, size)


@strict
class HDFConfig(PreTrainedConfig):
    r"""
    Configuration of [`HDFModel`] and [`HDFForVideoClassification`], the Heterogeneity-aware Distributional Framework
    for dynamic facial expression recognition (https://arxiv.org/abs/2507.15765).

    Args:
        backbone_config (`dict`, `VideoMAEConfig` or `X3DConfig`, *optional*):
            Configuration of the backbone. Defaults to VideoMAE-B. Supported model types: `"videomae"` and
            `"hdf_x3d"`.
        num_frames (`int`, *optional*):
            Frames of a clip. Reads and writes the backbone's own value; it must be a multiple of VideoMAE's
            `tubelet_size`.
        image_size (`int` or `list[int]`, *optional*):
            Height and width of a frame in pixels. Reads and writes the backbone's own value.
        dam_layers (`list[int]`, *optional*):
            Numbers (from 1) of the backbone layers that a DAM follows. Defaults to the ends of four equal groups of
            layers (paper, Figure 2: one DAM after each stage); an empty list switches DAM off.
        dam_variant (`str`, *optional*, defaults to `"temporal"`):
            How DAM computes its gates: `"temporal"` compares frames, as the paper describes; `"release"` compares
            channel bins, as the authors' published fragment does; `"normalized"` compares frames by normalised,
            projected features; `"static"` learns gates that are the same for every clip, as a control. None of them
            is shown to gain: see [`~dam_hdf.DAM`].
        dam_init (`"identity"` or `"paper"`, *optional*, defaults to `"identity"`):
            `"identity"` starts every DAM as `y = x`, so that a pretrained backbone keeps its predictions; `"paper"`
            starts at about `y = 0.83 x`. On the validation split of `benchmarks/ablation.py --tune` (2 seeds), they
            raised UAR by 2.8 and 1.2 points over a model without DAM.
        dam_temporal (`bool`, *optional*, defaults to `True`):
            Whether DAM has its temporal branch.
        dam_frequency (`bool`, *optional*, defaults to `True`):
            Whether DAM has its frequency branch.
        dam_reduction (`int`, *optional*, defaults to 1):
            Channel reduction of the frequency attention, 1 to 49. 1 is a single convolution, and the only value for
            `dam_variant="static"`, which has no convolution.
        classifier_dropout (`float`, *optional*, defaults to 0.0):
            Dropout probability before the classifier, at least 0 and below 1.
        drop_path_rate (`float`, *optional*, defaults to 0.0):
            Stochastic depth (https://arxiv.org/abs/1603.09382) of the backbone while training, 0 to 1: probability
            that a sample skips the attention, or the MLP, of the last layer; with X3D, the last block. It grows
            evenly from 0 at the first one. MAE-DFER fine-tunes with 0.1.
        calibration_temperature (`float`, *optional*, defaults to 1.0):
            Divisor of the logits outside training, above 0 (calibration of Guo et al. 2017,
            https://arxiv.org/abs/1706.04599). `hdf calibrate` fits it on validation clips. It changes the
            probabilities but never the predicted class.
        id2label (`dict[int, str]`, *optional*):
            Names of the classes, by number from 0. Defaults to happiness, sadness, neutral, anger, surprise, disgust,
            fear (DFEW's order).

    Raises:
        ValueError: for a backbone that is not supported, two different values of `num_frames` or `image_size`, and
            unknown fields that start with `dam_`.
        huggingface_hub.errors.StrictDataclassError: for values of a wrong type or out of range, frames, sizes or
            DAM layers that do not fit the backbone, and a `problem_type` other than one class per clip.

    Example:

    ```python
    >>> from modeling_hdf import HDFConfig, HDFForVideoClassification

    >>> config = HDFConfig(image_size=160)
    >>> config.dam_layers
    [3, 6, 9, 12]
    >>> model = HDFForVideoClassification(config)
    ```"""

    model_type = "hdf"
    sub_configs = {"backbone_config": AutoConfig}
    # `Trainer.predict` returns the logits alone.
    keys_to_ignore_at_inference = ["features", "hidden_states", "attentions"]

    backbone_config: dict | PreTrainedConfig | None = None
    dam_layers: list[int] | tuple[int, ...] | None = None
    dam_variant: Literal["temporal", "release", "normalized", "static"] = "temporal"
    dam_init: Literal["identity", "paper"] = "identity"
    dam_temporal: bool = True
    dam_frequency: bool = True
    dam_reduction: int = 1
    classifier_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    calibration_temperature: float | int = 1.0  # plain `temperature` is a generation parameter to transformers

    def __post_init__(self, **kwargs):
        self._refuse_unknown_dam_fields(kwargs)
        self._share_fields_with_backbone({name: kwargs.pop(name, None) for name in _SHARED_FIELDS})

        if self.id2label is None and self.label2id is not None:
            self.id2label = {int(index): name for name, index in self.label2id.items()}
        if self.id2label is None and kwargs.get("num_labels", len(EMOTIONS)) == len(EMOTIONS):
            self.id2label = dict(enumerate(EMOTIONS))
        if self.id2label is not None and self.label2id is None:
            self.label2id = {name: int(index) for index, name in self.id2label.items()}

        # A saved classifier lists only its own class; without this entry `AutoModel` cannot load it as remote code.
        auto_map = kwargs.setdefault("auto_map", {})
        auto_map.setdefault("AutoModel", "modeling_hdf.HDFModel")
        super().__post_init__(**kwargs)

        if self.dam_layers is None:
            self.dam_layers = default_dam_layers(self.num_hidden_layers)
        self.dam_layers = sorted(set(self.dam_layers))

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs) -> "HDFConfig":
        """Like [`~transformers.PreTrainedConfig.from_dict`], but one of `id2label` and `label2id` decides the other,
        and it raises a `ValueError` for another model's configuration, and for arguments that name unknown fields of
        DAM or, in `backbone_config`, of the backbone."""
        model_type = config_dict.get("model_type", cls.model_type)
        if model_type != cls.model_type:
            raise ValueError(
                f"This is the configuration of a {model_type!r} model, not of HDF. To build HDF on the weights of a "
                "backbone use `HDFForVideoClassification.from_backbone_pretrained`."
            )
        cls._refuse_unknown_dam_fields(kwargs)
        changes = kwargs.get("backbone_config")
        if isinstance(changes, dict):
            saved = cls(backbone_config=config_dict.get("backbone_config"))
            refuse_unknown_backbone_fields(saved.backbone_config, changes)
        labels = {name: kwargs.pop(name, None) for name in ("id2label", "label2id")}
        if any(labels.values()):
            config_dict = {**config_dict, **labels}  # transformers would leave the other one as it was saved
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def _refuse_unknown_dam_fields(cls, given: dict) -> None:
        known = [name for name in cls.__annotations__ if name.startswith("dam_")]
        unknown = [name for name in given if name.startswith("dam_") and name not in known]
        if unknown:
            raise ValueError(f"Unknown fields {unknown} in HDFConfig; the DAM fields are {known}.")

    def _share_fields_with_backbone(self, given: dict) -> None:
        """Writes the shared fields given at the top level into `backbone_config`, which holds the only copy."""
        backbone = self.backbone_config if self.backbone_config is not None else {}
        model_type = backbone.model_type if isinstance(backbone, PreTrainedConfig) else backbone.get("model_type")
        if (model_type or "videomae") not in BACKBONES:
            raise ValueError(
                f"`backbone_config` has model_type {model_type!r}; supported backbones are {sorted(BACKBONES)}."
            )
        if isinstance(backbone, PreTrainedConfig):
            # An object does not record which values its user set: values that differ from the defaults count as set.
            defaults = type(backbone)()
            explicit = {n: getattr(backbone, n) for n in given if getattr(backbone, n) != getattr(defaults, n)}
            backbone = copy.deepcopy(backbone)
        else:
            backbone = {"model_type": "videomae", **backbone}
            explicit = {name: backbone[name] for name in given if name in backbone}
        for name, value in given.items():
            if value is None:
                continue
            if _comparable(explicit.get(name, value)) != _comparable(value):
                raise ValueError(
                    f"`{name}` is {value}, but `backbone_config` says {explicit[name]}; set it in one place only."
                )
            if isinstance(backbone, PreTrainedConfig):
                setattr(backbone, name, value)
            else:
                backbone[name] = value
        if isinstance(backbone, dict):
            backbone = BACKBONES[backbone["model_type"]].model_class.config_class.from_dict(backbone)
        self.backbone_config = backbone

    def validate_architecture(self):
        """Checks that the settings of backbone, clip, DAM and classifier are in range and fit together."""
        super().validate_architecture()
        BACKBONES[self.backbone_config.model_type].feature_map_sizes(self.backbone_config)
        self._check_dam()
        self._check_classifier()

    def _check_dam(self) -> None:
        if self.dam_layers is None:
            raise ValueError("`dam_layers` was set to None after the model was configured; give a list of layers.")
        outside = [number for number in self.dam_layers if not 1 <= number <= self.num_hidden_layers]
        if outside:
            raise ValueError(
                f"`dam_layers` holds {outside}, but the backbone has layers 1 to {self.num_hidden_layers}; "
                "numbers count from 1, and an empty list means no DAM."
            )
        if self.dam_layers and not (self.dam_temporal or self.dam_frequency):
            raise ValueError(
                "`dam_temporal` and `dam_frequency` are both off; set `dam_layers=[]` for a model without DAM."
            )
        if not 1 <= self.dam_reduction <= 49:
            raise ValueError(f"`dam_reduction` is {self.dam_reduction}; it must be between 1 and 49.")
        if self.dam_variant == "static" and self.dam_reduction != 1:
            raise ValueError(
                f'`dam_reduction` is {self.dam_reduction}, but `dam_variant="static"` has no attention to reduce; '
                "leave it at 1."
            )

    def _check_classifier(self) -> None:
        for name in ("classifier_dropout", "drop_path_rate"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must be at least 0 and below 1.")
        if sorted(self.id2label) != list(range(self.num_labels)):
            raise ValueError(
                f"`id2label` has the keys {list(self.id2label)}; number its classes from 0 to {self.num_labels - 1}."
            )
        if self.problem_type not in (None, "single_label_classification"):
            raise ValueError(
                f"`problem_type` is {self.problem_type!r}, but HDF classifies a clip as one expression: leave it "
                'out, or set "single_label_classification".'
            )
        if not 0.0 < self.calibration_temperature < math.inf:
            raise ValueError(
                f"`calibration_temperature` is {self.calibration_temperature}; it must be a number above 0."
            )

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return self.backbone_config.num_frames

    @num_frames.setter
    def num_frames(self, value: int) -> None:
        self._set_in_backbone("num_frames", value)

    @property
    def image_size(self) -> int | list[int] | tuple[int, int]:
        """Height and width of a frame in pixels, as one number or as two."""
        return self.backbone_config.image_size

    @image_size.setter
    def image_size(self, value: int | list[int] | tuple[int, int]) -> None:
        self._set_in_backbone("image_size", value)

    def _set_in_backbone(self, name: str, value) -> None:
        changed = copy.deepcopy(self.backbone_config)
        setattr(changed, name, value)
        BACKBONES[changed.model_type].feature_map_sizes(changed)
        self.backbone_config = changed

    @property
    def hidden_size(self) -> int:
        """Size of the pooled features."""
        return BACKBONES[self.backbone_config.model_type].feature_size(self.backbone_config)

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the backbone."""
        return self.backbone_config.num_hidden_layers

    @property
    def feature_map_size(self) -> tuple[int, int, int]:
        """Size `(T, h, w)` of the feature map after the last layer."""
        return BACKBONES[self.backbone_config.model_type].feature_map_size(self.backbone_config)


__all__ = ["BACKBONES", "EMOTIONS", "HDFConfig", "refuse_unknown_backbone_fields"]
