"""The tests that transformers runs on each of its own video classifiers, on the HDF models. See `run.py`."""

import unittest

import torch
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin
from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES, MODEL_MAPPING_NAMES
from transformers.testing_utils import torch_device

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFModel

# The mixin looks up by class name which models have a head and what labels they take. Registering a class with
# `AutoModel` does not enter it into these two tables, being a part of transformers does.
MODEL_MAPPING_NAMES["hdf"] = "HDFModel"
MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES["hdf"] = "HDFForVideoClassification"


class HDFModelTester:
    """Builds the small model and its inputs; the mixin reads the attributes."""

    is_training = True
    batch_size = 3
    num_frames = 4
    num_channels = 3
    image_size = 32
    patch_size = 8
    tubelet_size = 2
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    intermediate_size = 37
    num_labels = 7
    seq_length = (num_frames // tubelet_size) * (image_size // patch_size) ** 2

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent

    def get_config(self) -> HDFConfig:
        backbone_config = {
            "model_type": "videomae",
            "patch_size": self.patch_size,
            "tubelet_size": self.tubelet_size,
            "num_channels": self.num_channels,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "intermediate_size": self.intermediate_size,
            "initializer_range": 0.2,
        }
        # DAM away from identity, so that it takes part in every comparison.
        return HDFConfig(
            backbone_config=backbone_config,
            num_frames=self.num_frames,
            image_size=self.image_size,
            dam_init="paper",
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[HDFConfig, dict[str, torch.Tensor]]:
        shape = (self.batch_size, self.num_frames, self.num_channels, self.image_size, self.image_size)
        return self.get_config(), {"pixel_values": torch.rand(shape, device=torch_device)}


class HDFX3DModelTester(HDFModelTester):
    """The same on X3D. The mixin compares the sizes of the first hidden states, which are those of the stem."""

    hidden_size = 8
    num_hidden_layers = 2
    seq_length = HDFModelTester.num_frames * HDFModelTester.image_size**2

    def get_config(self) -> HDFConfig:
        backbone_config = {
            "model_type": "hdf_x3d",
            "num_channels": self.num_channels,
            "stem_channels": self.hidden_size,
            "stage_channels": [8, 16],
            "stage_depths": [1, 2],
            "stem_stride": 1,
            "stage_strides": [2, 2],
            "head_channels": 20,
            "initializer_range": 0.2,
        }
        return HDFConfig(
            backbone_config=backbone_config,
            num_frames=self.num_frames,
            image_size=self.image_size,
            dam_init="paper",
        )


class HDFModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (HDFModel, HDFForVideoClassification)
    model_tester_class = HDFModelTester
    _is_composite = True  # a configuration within a configuration
    test_resize_embeddings = False  # clips have no vocabulary
    test_can_init_all_missing_weights_before_2023 = True  # the mixin would skip it for want of a copyright year

    def setUp(self):
        self.model_tester = self.model_tester_class(self)
        self.config_tester = ConfigTester(self, config_class=HDFConfig, has_text_modality=False)

    def test_can_capture_specific_layers_hidden_states(self):
        """Replaces the mixin's test: `output_hidden_states` is a bool here, without a choice of layers."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config).eval()
            assert len(model(**inputs, output_hidden_states=True).hidden_states) == config.num_hidden_layers + 1
            assert model(**inputs, output_hidden_states=False).hidden_states is None

    def test_model_get_set_embeddings(self):
        # The mixin expects an `nn.Embedding` of token ids; a clip enters through a convolution over its patches.
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            backbone = model.base_model.backbone
            stem = backbone.stem if hasattr(backbone, "stem") else backbone.embeddings.patch_embeddings
            self.assertIs(model.get_input_embeddings(), stem)
            self.assertIsNone(model.get_output_embeddings())

    def test_reverse_loading_mapping(self):
        # The mapping in question is the backbone's and reads old VideoMAE files; HDF files carry the names of today.
        super().test_reverse_loading_mapping(check_keys_were_modified=False)

    def test_config(self):
        self.config_tester.run_common_tests()


class HDFX3DModelTest(HDFModelTest):
    has_attentions = False
    model_tester_class = HDFX3DModelTester
