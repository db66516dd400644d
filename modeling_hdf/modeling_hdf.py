"""PyTorch HDF model: a video backbone with DAM layers and a classifier of facial expressions."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_hdf import BACKBONES, HDFConfig, refuse_unknown_backbone_fields
from .dam_hdf import DAM, DAM_MODULES

# Fields of every configuration that a caller may set here; those such as `dtype` are arguments of `from_pretrained`.
_GENERAL_FIELDS = (
    *("id2label", "label2id", "num_labels", "problem_type"),
    *("output_attentions", "output_hidden_states", "return_dict"),
)
# Arguments of `from_pretrained` that locate a checkpoint; loading the configuration needs them too.
_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


@dataclass
class HDFVideoClassifierOutput(ModelOutput):
    """
    Output of [`HDFForVideoClassification`].

    Args:
        loss (scalar `torch.Tensor`, *optional*, returned when `labels` is given):
            Cross-entropy of `logits`, the mean over the batch.
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Classification scores before softmax; in evaluation mode divided by `config.calibration_temperature`.
        features (`torch.Tensor` of shape `(batch_size, hidden_size)`):
            Pooled features before the classifier and its dropout.
        hidden_states (`tuple[torch.Tensor]`, *optional*, returned with `output_hidden_states=True`):
            Input of the first backbone layer and the output of each, after the DAM that may follow it, each of shape
            `(batch_size, T*h*w, C)`; with X3D, h, w and C differ between the stages.
        attentions (`tuple[torch.Tensor]`, *optional*, returned with `output_attentions=True`):
            Attention weights of each backbone layer, each of shape `(batch_size, num_heads, T*h*w, T*h*w)`; empty
            with an attention implementation that does not return them, such as sdpa.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    features: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class HDFPreTrainedModel(PreTrainedModel):
    """Weight initialisation and loading shared by the HDF models."""

    config_class = HDFConfig
    base_model_prefix = "hdf"
    main_input_name = "pixel_values"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean over the batch, so gradient accumulation must average it
    _no_split_modules = ["DAM", *{name for backbone in BACKBONES.values() for name in backbone.no_split_modules}]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # The backbone records its attentions; hidden states are collected in `HDFModel.forward`, behind each DAM.
    _can_record_outputs = {"attentions": OutputRecorder(nn.Module, layer_name="backbone")}

    def _init_weights(self, module: nn.Module) -> None:
        # The backbone initialises itself. transformers guards `torch.nn.init`, so loaded parameters stay unchanged.
        if module is getattr(self, "classifier", None):
            init.normal_(module.weight, std=self.config.backbone_config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, (*DAM_MODULES, nn.LayerNorm, nn.Linear)):  # the last two: of the pooling
            module.reset_parameters()

    def save_pretrained(self, save_directory, *, save_original_format: bool = False, **kwargs) -> None:
        """Like [`~transformers.PreTrainedModel.save_pretrained`], but saves weights under the names of the parameters.

        transformers would write a backbone's weights under the names of older checkpoints. The Trainer does not find
        these names when it resumes or loads the best checkpoint, and would lose the query and value biases.
        """
        super().save_pretrained(save_directory, save_original_format=save_original_format, **kwargs)

    @classmethod
    def from_backbone_pretrained(cls, name_or_path: str, **kwargs) -> "HDFPreTrainedModel":
        """
        Builds a model on the weights of a backbone checkpoint. DAM starts fresh; so does a head that the checkpoint
        lacks.

        A checkpoint of the backbone's own classifier keeps its head and labels, unless `id2label`, `label2id` or
        `num_labels` is given. Any other checkpoint gets a new head on the mean of all tokens, for the given labels or
        the seven emotions.

        Args:
            name_or_path (`str`): folder or Hub repository of a checkpoint of VideoMAE (pretraining, base or
                classification) or of [`X3DModel`], such as `hdf convert` writes.
            kwargs: fields of [`HDFConfig`], where `backbone_config` is a `dict` of changes to the backbone's
                configuration; other arguments go to `from_pretrained` (`dtype`, `revision`, `attn_implementation`,
                ...).

        Raises:
            ValueError: if the backbone is not supported, a field does not fit the checkpoint, or `device_map` is given
                (the model is built on the CPU).

        Example:

        ```python
        >>> from modeling_hdf import HDFForVideoClassification

        >>> model = HDFForVideoClassification.from_backbone_pretrained("MCG-NJU/videomae-base", image_size=160)
        ```"""
        if "device_map" in kwargs:
            raise ValueError("`from_backbone_pretrained` builds on the CPU: omit `device_map`, then move the model.")
        hub_arguments = {name: kwargs[name] for name in _HUB_ARGUMENTS if name in kwargs}
        backbone_config = AutoConfig.from_pretrained(name_or_path, **hub_arguments)
        if backbone_config.model_type not in BACKBONES:
            raise ValueError(
                f"{name_or_path} is a {backbone_config.model_type!r} checkpoint; supported are {sorted(BACKBONES)}."
            )
        kind = BACKBONES[backbone_config.model_type]
        has_head = any(name.endswith("ForVideoClassification") for name in backbone_config.architectures or ())
        if cls is not HDFModel and not has_head:
            kind.prepare_for_new_head(backbone_config)
        fields = {*HDFConfig.__annotations__, *_GENERAL_FIELDS, "num_frames", "image_size"}
        given = {name: kwargs.pop(name) for name in list(kwargs) if name in fields}
        keeps_labels = has_head and not given.keys() & {"id2label", "label2id", "num_labels"}
        if keeps_labels:
            given |= {"id2label": backbone_config.id2label, "label2id": backbone_config.label2id}
        shared = {name: given.pop(name) for name in ("num_frames", "image_size") if name in given}
        changes = given.pop("backbone_config", {})
        refuse_unknown_backbone_fields(backbone_config, changes)
        for name, value in {**changes, **shared}.items():
            setattr(backbone_config, name, value)
        config = HDFConfig(backbone_config=backbone_config, **given)

        # The checkpoint goes through the backbone's own class, which knows its older formats.
        source_class = kind.classifier_class if has_head else kind.model_class
        source = source_class.from_pretrained(name_or_path, config=backbone_config, **kwargs)
        model = cls._from_config(config, dtype=source.dtype, attn_implementation=source.config._attn_implementation)
        model.config.backbone_config._name_or_path = ""  # otherwise the path of a local folder would go to the Hub
        model.base_model.backbone.load_state_dict(source.base_model.state_dict())
        if has_head and isinstance(model, HDFForVideoClassification):
            model.load_head(source, with_classifier=keeps_labels)
        return model.eval()  # as `from_pretrained` does


class HDFModel(HDFPreTrainedModel):
    """
    Backbone with DAM layers and no head.

    Args:
        config ([`HDFConfig`]): configuration of the model.

    Example:

    ```python
    >>> import torch
    >>> from modeling_hdf import HDFConfig, HDFModel

    >>> model = HDFModel(HDFConfig())
    >>> outputs = model(torch.randn(1, 16, 3, 224, 224))
    >>> list(outputs.last_hidden_state.shape)
    [1, 1568, 768]
    ```"""

    def __init__(self, config: HDFConfig):
        config.validate()  # again: `from_pretrained(..., dam_layers=...)` sets fields of a finished configuration
        super().__init__(config)
        self.backbone_kind = BACKBONES[config.backbone_config.model_type]
        self.backbone = self.backbone_kind.model_class(config.backbone_config)
        if config.drop_path_rate > 0:
            self.backbone_kind.add_drop_path(self.backbone, config.drop_path_rate)
        sizes = self.backbone_kind.feature_map_sizes(config.backbone_config)  # (T, h, w, C) after each layer
        self.dam = nn.ModuleDict(
            {
                str(number): DAM(
                    sizes[number - 1][0],
                    num_channels=sizes[number - 1][3],
                    map_size=sizes[number - 1][1:3],
                    variant=config.dam_variant,
                    init=config.dam_init,
                    temporal=config.dam_temporal,
                    frequency=config.dam_frequency,
                    reduction=config.dam_reduction,
                )
                for number in config.dam_layers
            }
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's patch embedding."""
        return self.backbone.get_input_embeddings()

    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        place: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_frames, 3, height, width)`):
                Clips prepared by [`HDFVideoProcessor`]. X3D also takes clips of one frame, which DAM treats as one of
                `num_frames` equal frames.
            output_hidden_states (`bool`, *optional*, defaults to `config.output_hidden_states`):
                Whether to return the hidden states.
            place (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                For clips of one frame: which of `num_frames` frames it is, from 0. By default DAM takes the mean over
                all.

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutput`]: `last_hidden_state` of shape
            `(batch_size, T*h*w, C)`; viewed as `(batch_size, T, h, w, C)` it is the feature map.

        Raises:
            ValueError: if `pixel_values` has another shape than the configuration asks for, or holds whole numbers.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        kind, backbone = self.backbone_kind, self.config.backbone_config
        kind.check_clips(backbone, pixel_values)

        pixel_values = pixel_values.to(self.dtype)  # video processors give float32
        hidden_states = kind.embed(self.backbone, pixel_values)  # as the backbone lays it out
        all_hidden_states = ()
        if output_hidden_states:
            tokens, hidden_states = self._by_way_of_tokens(hidden_states)
            all_hidden_states += (tokens,)
        for number, layer in enumerate(kind.layers(self.backbone), start=1):
            hidden_states = layer(hidden_states)
            if str(number) in self.dam:
                feature_map = kind.feature_map(backbone, hidden_states)  # (B, T, h, w, C), a view
                dam = self.dam[str(number)]
                step = None if place is None else place * dam.num_steps // backbone.num_frames
                hidden_states = kind.from_feature_map(dam(feature_map, step))
            if output_hidden_states:
                tokens, hidden_states = self._by_way_of_tokens(hidden_states)
                all_hidden_states += (tokens,)

        return BaseModelOutput(
            last_hidden_state=self._by_way_of_tokens(kind.finish(self.backbone, hidden_states))[0],
            hidden_states=all_hidden_states if output_hidden_states else None,
        )

    def _by_way_of_tokens(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states as tokens `(B, T*h*w, C)`, and again as the backbone lays them out, computed from the tokens:
        these then have a gradient."""
        feature_map = self.backbone_kind.feature_map(self.config.backbone_config, hidden_states)
        tokens = feature_map.flatten(1, 3)
        return tokens, self.backbone_kind.from_feature_map(tokens.view(feature_map.shape))


class HDFForVideoClassification(HDFPreTrainedModel):
    """
    HDF with a linear classifier on the pooled features: classifies a clip of a face as one of seven expressions.

    Args:
        config ([`HDFConfig`]): configuration of the model.

    Example:

    ```python
    >>> from modeling_hdf import HDFForVideoClassification, HDFVideoProcessor

    >>> processor = HDFVideoProcessor.from_pretrained("org/hdf-dfew")
    >>> model = HDFForVideoClassification.from_pretrained("org/hdf-dfew")
    >>> logits = model(**processor("face.mp4", return_tensors="pt")).logits
    >>> model.config.id2label[logits.argmax(-1).item()]
    'happiness'
    ```"""

    def __init__(self, config: HDFConfig):
        super().__init__(config)
        self.hdf = HDFModel(config)
        self.fc_norm = self.hdf.backbone_kind.pooling_norm(config.backbone_config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def load_head(self, source: PreTrainedModel, with_classifier: bool) -> None:
        """Copies the pooling norm of the backbone's own classification model, and its classifier if
        `with_classifier`."""
        if self.fc_norm is not None:
            self.fc_norm.load_state_dict(source.fc_norm.state_dict())
        if with_classifier:
            self.classifier.load_state_dict(source.classifier.state_dict())

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> HDFVideoClassifierOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_frames, 3, height, width)`):
                Clips prepared by [`HDFVideoProcessor`].
            labels (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Classes, 0 to `config.num_labels - 1`; with them the output holds the cross-entropy. DSM belongs to
                [`HDFTrainer`].
            kwargs: further arguments of [`HDFModel`], such as `output_hidden_states` and `place`.

        Returns:
            [`HDFVideoClassifierOutput`]: logits `(batch_size, num_labels)`, features `(batch_size, hidden_size)` and,
            with `labels`, the loss.

        Raises:
            ValueError: if `pixel_values` has another shape than the configuration asks for, `labels` another shape or
                type, or, on the CPU, a label lies outside the range (on a GPU the check would stall the device).
        """
        outputs: BaseModelOutput = self.hdf(pixel_values, return_dict=True, **kwargs)
        features = self.hdf.backbone_kind.pool(self.fc_norm, outputs.last_hidden_state)  # (B, C)
        logits = self.classifier(self.dropout(features))  # (B, num_labels)
        if not self.training:
            # Pipelines apply a plain softmax to the logits, so the logits are divided here.
            logits = logits / self.config.calibration_temperature

        loss = None
        if labels is not None:
            self._check_labels(labels, len(features))
            loss = F.cross_entropy(logits.float(), labels)
        return HDFVideoClassifierOutput(
            loss=loss,
            logits=logits,
            features=features,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _check_labels(self, labels: torch.Tensor, batch_size: int) -> None:
        if torch.compiler.is_compiling():
            return
        if labels.shape != (batch_size,) or labels.dtype not in (torch.int64, torch.uint8):
            raise ValueError(
                f"`labels` has shape {tuple(labels.shape)} and type {labels.dtype}, but this batch takes one class "
                f"for each clip: shape ({batch_size},) and type torch.int64."
            )
        if labels.device.type != "cpu":
            return
        wrong = labels[(labels < 0) | (labels >= self.config.num_labels)]
        if len(wrong):
            raise ValueError(
                f"`labels` holds {wrong.tolist()}, but the model has classes 0 to {self.config.num_labels - 1}; "
                "check that the labels of the dataset count from 0 and fit `id2label`."
            )


__all__ = ["HDFForVideoClassification", "HDFModel", "HDFPreTrainedModel", "HDFVideoClassifierOutput"]
