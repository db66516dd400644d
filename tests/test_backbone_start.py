"""Starting HDF from checkpoints of its backbone."""

import pytest
import torch
from tiny_models import BACKBONE_LABELS, move_dam_weights, tiny_backbone_config, tiny_config
from torch import nn
from transformers import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel, ViTConfig

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFModel
from modeling_hdf.configuration_hdf import EMOTIONS


def test_backbone_checkpoint_gives_its_weights(backbone_checkpoint, clips):
    kind, folder = backbone_checkpoint
    model = HDFForVideoClassification.from_backbone_pretrained(folder)
    stock = VideoMAEModel.from_pretrained(folder)
    for name, value in stock.state_dict().items():
        assert model.hdf.backbone.get_parameter(name).equal(value), name
    expected = BACKBONE_LABELS if kind == "classification" else dict(enumerate(EMOTIONS))
    assert model.config.id2label == expected
    assert model.config.label2id == {name: index for index, name in expected.items()}
    assert model.classifier.weight.shape == (len(expected), 12)
    assert not model.training
    assert model(clips).logits.isfinite().all()


def test_classification_checkpoint_keeps_its_predictions(classification_checkpoint, clips):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint)
    stock = VideoMAEForVideoClassification.from_pretrained(classification_checkpoint)
    assert model.config.dam_init == "identity" and len(model.hdf.dam) == 2
    torch.testing.assert_close(model(clips).logits, stock(clips).logits, rtol=0, atol=1e-5)


def test_paper_start_changes_the_predictions(classification_checkpoint, clips):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, dam_init="paper")
    stock = VideoMAEForVideoClassification.from_pretrained(classification_checkpoint)
    assert (model(clips).logits - stock(clips).logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"id2label": {0: "calm", 1: "tense"}}, {0: "calm", 1: "tense"}),
        ({"num_labels": 3}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
        ({"num_labels": 7}, dict(enumerate(EMOTIONS))),
        ({"id2label": {i: f"class {i}" for i in range(5)}}, {i: f"class {i}" for i in range(5)}),
        ({"label2id": {"calm": 0, "tense": 1}}, {0: "calm", 1: "tense"}),
    ],
)
def test_labels_given_replace_the_head_of_the_checkpoint(classification_checkpoint, labels, expected):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, **labels)
    stock = VideoMAEForVideoClassification.from_pretrained(classification_checkpoint)
    assert model.config.id2label == expected
    assert model.config.label2id == {name: index for index, name in expected.items()}
    assert model.classifier.weight.shape == (len(expected), 12)
    if len(expected) == 5:
        assert not model.classifier.weight.equal(stock.classifier.weight)
    assert not model.classifier.bias.any()
    assert model.fc_norm.weight.equal(stock.fc_norm.weight)  # belongs to the features, not to the labels


def test_backbone_checkpoint_takes_configuration_fields_and_loading_options(backbone_checkpoint):
    _, folder = backbone_checkpoint
    model = HDFForVideoClassification.from_backbone_pretrained(
        folder, num_frames=8, image_size=32, dam_layers=[2], dam_variant="release", classifier_dropout=0.1
    )
    assert model.config.feature_map_size == (4, 4, 4)
    assert list(model.hdf.dam) == ["2"] and model.hdf.dam["2"].temporal.variant == "release"
    assert model.dropout.p == 0.1
    assert model(torch.randn(1, 8, 3, 32, 32)).logits.isfinite().all()

    half = HDFModel.from_backbone_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half.config._attn_implementation == half.backbone.config._attn_implementation == "eager"


def test_backbone_checkpoint_takes_the_fields_of_every_configuration(backbone_checkpoint, clips):
    _, folder = backbone_checkpoint
    start = HDFForVideoClassification.from_backbone_pretrained
    fields = {"output_attentions": True, "attn_implementation": "eager", "problem_type": "single_label_classification"}
    model = start(folder, **fields)
    assert model.config.problem_type == "single_label_classification"
    assert len(model(clips).attentions) == model.config.backbone_config.num_hidden_layers
    assert isinstance(start(folder, return_dict=False)(clips), tuple)


def test_model_without_head_starts_from_a_backbone(backbone_checkpoint, clips):
    _, folder = backbone_checkpoint
    model = HDFModel.from_backbone_pretrained(folder, dam_layers=[])
    stock = VideoMAEModel.from_pretrained(folder)
    torch.testing.assert_close(model(clips).last_hidden_state, stock(clips).last_hidden_state)


def test_backbone_start_survives_saving(classification_checkpoint, clips, tmp_path):
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint)
    move_dam_weights(model).save_pretrained(tmp_path)
    loaded = HDFForVideoClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(clips).logits, model(clips).logits)
    assert loaded.config.id2label == BACKBONE_LABELS


def test_checkpoint_of_another_model_raises_and_names_the_supported_ones(tmp_path):
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'vit' checkpoint; supported are \['hdf_x3d', 'videomae'\]"):
        HDFForVideoClassification.from_backbone_pretrained(str(tmp_path))


def test_backbone_start_refuses_a_device_map(classification_checkpoint):
    with pytest.raises(ValueError, match="omit `device_map`"):
        HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, device_map="auto")


def test_a_pretraining_checkpoint_that_pools_one_token_is_classified_by_the_mean_of_all(tmp_path, clips):
    VideoMAEForPreTraining(tiny_backbone_config(use_mean_pooling=False)).save_pretrained(tmp_path)
    model = HDFForVideoClassification.from_backbone_pretrained(tmp_path)
    outputs = model(clips, output_hidden_states=True)
    expected = nn.functional.layer_norm(outputs.hidden_states[-1].mean(1), (12,))
    torch.testing.assert_close(outputs.features, expected)


def test_backbone_start_takes_changes_to_the_backbone(tmp_path, classification_checkpoint):
    fields = {"hidden_dropout_prob": 0.25}
    model = HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, backbone_config=fields)
    assert model.hdf.backbone.encoder.layer[0].output.dropout.p == 0.25


def test_changes_to_fields_that_the_backbone_lacks_are_refused(tmp_path, classification_checkpoint):
    message = r"Unknown fields \['hiden_size'\] in `backbone_config`; VideoMAEConfig has \[.*'hidden_size'"
    fields = {"hiden_size": 24, "hidden_size": 12}
    with pytest.raises(ValueError, match=message):
        HDFForVideoClassification.from_backbone_pretrained(classification_checkpoint, backbone_config=fields)
    tiny_config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        HDFConfig.from_pretrained(tmp_path, backbone_config=fields)
    assert HDFConfig.from_pretrained(tmp_path, backbone_config={"num_frames": 8}).num_frames == 8


def test_a_backbone_checkpoint_loaded_as_hdf_points_to_the_right_call(classification_checkpoint):
    with pytest.raises(ValueError, match="from_backbone_pretrained"):
        HDFForVideoClassification.from_pretrained(classification_checkpoint)
