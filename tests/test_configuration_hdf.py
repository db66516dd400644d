"""HDFConfig: what it takes, what it shares with the backbone, and what it refuses."""

import json
import math
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny_models import tiny_backbone_config, tiny_config
from transformers import AutoConfig, VideoMAEConfig, ViTConfig

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFModel
from modeling_hdf.configuration_hdf import default_dam_layers

PRESETS = sorted((Path(__file__).parents[1] / "configuration" / "model").glob("*.json"))
DFEW_ORDER = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]


def test_defaults():
    config = HDFConfig()
    assert config.model_type == "hdf"
    assert isinstance(config.backbone_config, VideoMAEConfig)
    assert (config.num_frames, config.image_size, config.hidden_size, config.num_hidden_layers) == (16, 224, 768, 12)
    assert config.feature_map_size == (8, 14, 14)
    assert config.dam_layers == [3, 6, 9, 12]
    assert (config.dam_variant, config.dam_init) == ("temporal", "identity")
    assert (config.dam_temporal, config.dam_frequency, config.dam_reduction) == (True, True, 1)
    assert config.classifier_dropout == config.drop_path_rate == 0


def test_labels_default_to_the_seven_classes_in_dfew_order():
    config = HDFConfig()
    assert config.id2label == dict(enumerate(DFEW_ORDER))
    assert config.label2id == {name: index for index, name in enumerate(DFEW_ORDER)}
    assert config.num_labels == 7


def test_other_label_sets():
    named = HDFConfig(id2label={0: "calm", 1: "tense"})
    assert (named.num_labels, named.label2id) == (2, {"calm": 0, "tense": 1})
    counted = HDFConfig(num_labels=3)
    assert (counted.num_labels, len(counted.id2label), len(counted.label2id)) == (3, 3, 3)
    assert HDFConfig(num_labels=7).id2label == dict(enumerate(DFEW_ORDER))


def test_labels_of_the_backbone_configuration_are_not_taken_over():
    config = HDFConfig(backbone_config=tiny_backbone_config(id2label={0: "clapping", 1: "waving"}))
    assert config.id2label == dict(enumerate(DFEW_ORDER))


@pytest.mark.parametrize("layers", range(1, 50))
def test_default_dam_layers_end_four_equal_groups(layers):
    expected = sorted({max(1, math.floor(k * layers / 4 + 1 / 2)) for k in (1, 2, 3, 4)})
    assert default_dam_layers(layers) == expected
    assert HDFConfig(backbone_config={"num_hidden_layers": layers}).dam_layers == expected


def test_default_dam_layers_of_known_depths():
    assert default_dam_layers(1) == [1]
    assert default_dam_layers(2) == [1, 2]
    assert default_dam_layers(3) == [1, 2, 3]
    assert default_dam_layers(24) == [6, 12, 18, 24]


def test_dam_layers_are_sorted_and_unique():
    assert HDFConfig(dam_layers=(9, 3, 9)).dam_layers == [3, 9]


@pytest.mark.parametrize("dam_layers", [[], [2]])
def test_dam_follows_the_layers_asked_for(dam_layers):
    model = HDFModel(tiny_config(dam_layers=dam_layers))
    assert list(model.dam) == [str(number) for number in dam_layers]
    assert HDFConfig(**json.loads(model.config.to_json_string())).dam_layers == dam_layers


@pytest.mark.parametrize("make", [dict, lambda **fields: VideoMAEConfig(**fields)], ids=["dict", "object"])
def test_top_level_frames_and_size_set_those_of_the_backbone(make):
    config = HDFConfig(backbone_config=make(hidden_size=96), num_frames=8, image_size=160)
    assert (config.backbone_config.num_frames, config.backbone_config.image_size) == (8, 160)
    assert config.backbone_config.hidden_size == 96
    assert config.feature_map_size == (4, 10, 10)


def test_frames_and_size_of_the_backbone_are_seen_at_the_top_level():
    config = HDFConfig(backbone_config={"num_frames": 8, "image_size": [160, 96]})
    assert (config.num_frames, config.image_size) == (8, [160, 96])
    assert config.feature_map_size == (4, 10, 6)


def test_setting_frames_and_size_later_reaches_the_backbone():
    config = HDFConfig()
    config.num_frames, config.image_size = 8, 160
    assert (config.backbone_config.num_frames, config.backbone_config.image_size) == (8, 160)
    with pytest.raises(ValueError, match="`num_frames` is 7"):
        config.num_frames = 7
    with pytest.raises(ValueError, match="`image_size` is 100"):
        config.image_size = 100
    assert (config.num_frames, config.image_size) == (8, 160)


def test_configurations_do_not_share_a_backbone_configuration():
    backbone_config = VideoMAEConfig()
    config = HDFConfig(backbone_config=backbone_config, num_frames=8)
    HDFConfig(backbone_config=backbone_config).num_frames = 4
    assert (backbone_config.num_frames, config.num_frames) == (16, 8)


@pytest.mark.parametrize("name, in_backbone, at_top", [("num_frames", 8, 16), ("image_size", 160, 224)])
@pytest.mark.parametrize("make", [dict, lambda **fields: VideoMAEConfig(**fields)], ids=["dict", "object"])
def test_two_different_explicit_values_raise(make, name, in_backbone, at_top):
    with pytest.raises(ValueError, match=f"`{name}` is {at_top}, but `backbone_config` says {in_backbone}"):
        HDFConfig(backbone_config=make(**{name: in_backbone}), **{name: at_top})


@pytest.mark.parametrize("size, same", [(160, 160), (160, [160, 160]), ([160, 96], (160, 96))])
def test_the_same_value_twice_is_fine(size, same):
    config = HDFConfig(backbone_config={"image_size": size, "num_frames": 8}, image_size=same, num_frames=8)
    assert config.feature_map_size[:2] == (4, 10)


def test_fields_survive_saving(tmp_path):
    config = tiny_config(
        num_frames=4,
        dam_layers=[2],
        dam_variant="release",
        dam_init="paper",
        dam_temporal=False,
        dam_reduction=7,
        classifier_dropout=0.25,
        drop_path_rate=0.1,
        id2label={0: "calm", 1: "tense"},
    )
    config.save_pretrained(tmp_path)
    loaded = HDFConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert isinstance(loaded.backbone_config, VideoMAEConfig)
    assert loaded.id2label == {0: "calm", 1: "tense"}
    assert (loaded.dam_layers, loaded.dam_reduction, loaded.classifier_dropout) == ([2], 7, 0.25)


def test_fields_can_be_changed_while_loading(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    config = HDFConfig.from_pretrained(tmp_path, num_frames=8, image_size=32, dam_layers=[])
    assert (config.feature_map_size, config.dam_layers) == ((4, 4, 4), [])


@pytest.mark.parametrize(
    "given",
    [
        {"id2label": {0: "calm", 1: "tense"}},
        {"id2label": {"0": "calm", "1": "tense"}},
        {"label2id": {"calm": 0, "tense": 1}},
    ],
)
def test_labels_given_while_loading_replace_both_tables(tmp_path, given):
    tiny_config().save_pretrained(tmp_path)
    for config in (HDFConfig.from_pretrained(tmp_path, **given), AutoConfig.from_pretrained(tmp_path, **given)):
        assert config.id2label == {0: "calm", 1: "tense"} and config.label2id == {"calm": 0, "tense": 1}
        assert config.num_labels == 2


def test_every_dam_field_reaches_the_module():
    fields = {"dam_variant": "release", "dam_init": "paper", "dam_reduction": 7}
    dam = HDFModel(tiny_config(**fields)).dam["1"]
    assert (dam.temporal.variant, dam.init, len(dam.frequency.reduce_weight)) == ("release", "paper", 7)
    assert dam.num_steps == 2
    assert HDFModel(tiny_config(dam_variant="normalized")).dam["1"].projection.weight.shape == (3, 12)
    assert HDFModel(tiny_config(dam_variant="static")).dam["2"].frequency.gate_logits.shape == (2, 3)
    assert HDFModel(tiny_config(dam_temporal=False)).dam["1"].temporal is None
    assert HDFModel(tiny_config(dam_frequency=False)).dam["1"].frequency is None


def test_dropout_reaches_the_head():
    assert HDFForVideoClassification(tiny_config()).dropout.p == 0
    assert HDFForVideoClassification(tiny_config(classifier_dropout=0.5)).dropout.p == 0.5


@pytest.mark.parametrize("backbone_config", [{"model_type": "vit"}, ViTConfig()], ids=["dict", "object"])
def test_another_backbone_raises_and_names_the_supported_ones(backbone_config):
    with pytest.raises(ValueError, match=r"model_type 'vit'; supported backbones are \['hdf_x3d', 'videomae'\]"):
        HDFConfig(backbone_config=backbone_config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_frames": 5}, "`num_frames` is 5"),
        ({"num_frames": 0}, "`num_frames` is 0"),
        ({"backbone_config": {"num_frames": 16, "tubelet_size": 3}}, "`num_frames` is 16"),
        ({"image_size": 230}, "`image_size` is 230"),
        ({"image_size": [224, 8]}, r"`image_size` is \[224, 8\]"),
        ({"image_size": 0}, "`image_size` is 0"),
        ({"dam_layers": [0, 3]}, r"`dam_layers` holds \[0\]"),
        ({"dam_layers": [3, 13]}, r"`dam_layers` holds \[13\], but the backbone has layers 1 to 12"),
        ({"dam_layers": [1.5]}, "dam_layers"),
        ({"dam_variant": "spatial"}, "dam_variant"),
        ({"dam_init": "zero"}, "dam_init"),
        ({"dam_temporal": "no"}, "dam_temporal"),
        ({"dam_temporal": False, "dam_frequency": False}, "`dam_temporal` and `dam_frequency` are both off"),
        ({"dam_reduction": 0}, "`dam_reduction` is 0"),
        ({"dam_reduction": 50}, "`dam_reduction` is 50"),
        ({"dam_reduction": 7, "dam_variant": "static"}, '`dam_reduction` is 7, but `dam_variant="static"`'),
        ({"classifier_dropout": 1.0}, "`classifier_dropout` is 1.0"),
        ({"classifier_dropout": -0.1}, "`classifier_dropout` is -0.1"),
        ({"drop_path_rate": 1.0}, "`drop_path_rate` is 1.0; it must be at least 0 and below 1"),
        ({"drop_path_rate": -0.1}, "`drop_path_rate` is -0.1"),
        (
            {"problem_type": "regression"},
            "`problem_type` is 'regression', but HDF classifies a clip as one expression",
        ),
        ({"problem_type": "multi_label_classification"}, "`problem_type` is 'multi_label_classification'"),
        ({"id2label": {1: "calm", 2: "tense"}}, r"`id2label` has the keys \[1, 2\]; number its classes from 0 to 1"),
        ({"label2id": {"calm": 0, "tense": 5}}, r"`id2label` has the keys \[0, 5\]"),
    ],
)
def test_values_out_of_range_are_named(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        HDFConfig(**fields)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_a_model_refuses_a_problem_that_it_does_not_solve(problem, tmp_path):
    config = tiny_config()
    config.problem_type = problem
    with pytest.raises(StrictDataclassError, match=f"`problem_type` is '{problem}'"):
        HDFForVideoClassification(config)
    HDFForVideoClassification(tiny_config(problem_type="single_label_classification")).save_pretrained(tmp_path)
    with pytest.raises(StrictDataclassError, match=f"`problem_type` is '{problem}'"):
        HDFForVideoClassification.from_pretrained(tmp_path, problem_type=problem)


@pytest.mark.parametrize("name", ["dam_layer", "dam_gate", "dam_"])
def test_unknown_dam_fields_are_named(name):
    with pytest.raises(ValueError, match=rf"Unknown fields \['{name}'\] in HDFConfig; the DAM fields are"):
        HDFConfig(**{name: 1})


def test_both_branches_may_be_off_without_dam():
    assert HDFConfig(dam_layers=[], dam_temporal=False, dam_frequency=False).dam_layers == []


def test_the_presets_ship():
    videomae = {"base_160", "base_224", "small_224", "tiny"}
    assert {path.stem for path in PRESETS} == videomae | {"x3d_s", "x3d_tiny", "x3d_faces"}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_load_and_build(path):
    config = HDFConfig.from_pretrained(path)
    with torch.device("meta"):
        model = HDFForVideoClassification(config)
    assert model.classifier.weight.shape == (7, config.hidden_size)
    assert len(model.hdf.dam) == len(config.dam_layers) == min(4, config.num_hidden_layers)
    written = json.loads(path.read_text())
    assert {name: value for name, value in written.items() if name != "backbone_config"} == {
        name: getattr(config, name) for name in written if name != "backbone_config"
    }
    assert written["backbone_config"].items() <= config.backbone_config.to_dict().items()


@pytest.mark.parametrize(
    ("name", "feature_map_size", "hidden_size"),
    [
        ("base_160", (8, 10, 10), 768),
        ("base_224", (8, 14, 14), 768),
        ("small_224", (8, 14, 14), 384),
        ("x3d_s", (13, 5, 5), 2048),
        ("x3d_tiny", (8, 4, 4), 256),
        ("x3d_faces", (8, 8, 8), 512),
        ("tiny", (4, 4, 4), 128),
    ],
)
def test_presets_are_the_size_their_name_says(name, feature_map_size, hidden_size):
    config = HDFConfig.from_pretrained(next(path for path in PRESETS if path.stem == name))
    assert (config.feature_map_size, config.hidden_size) == (feature_map_size, hidden_size)


def test_another_models_configuration_is_refused_with_the_way_to_start_from_it(tmp_path):
    VideoMAEConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'videomae' model, not of HDF.*from_backbone_pretrained"):
        HDFConfig.from_pretrained(tmp_path)


def test_an_unknown_dam_field_is_refused_also_beside_a_saved_configuration(tmp_path):
    HDFConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"\['dam_layer'\].*dam_layers"):
        HDFConfig.from_pretrained(tmp_path, dam_layer=[1])


def test_label2id_alone_names_the_classes():
    config = HDFConfig(label2id={"calm": 0, "tense": 1})
    assert config.id2label == {0: "calm", 1: "tense"} and config.num_labels == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tubelet_size": 0}, "`tubelet_size` is 0"),
        ({"patch_size": 0}, "one positive whole number"),
        ({"image_size": [224]}, "one positive whole number"),
        ({"image_size": [224, 224, 224]}, "one positive whole number"),
    ],
)
def test_backbone_sizes_that_are_none_are_named(fields, message):
    with pytest.raises(Exception, match=message):
        HDFConfig(backbone_config=fields)


def test_layers_set_to_none_afterwards_are_named(tmp_path):
    HDFConfig().save_pretrained(tmp_path)
    with pytest.raises(Exception, match="`dam_layers` was set to None"):
        HDFConfig.from_pretrained(tmp_path, dam_layers=None).validate()
