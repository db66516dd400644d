"""A third backbone, made up here: one class and one entry in `BACKBONES` are all that the package needs."""

import pytest
import torch
from tiny_models import move_dam_weights
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFTrainer, HDFTrainingArguments
from modeling_hdf.backbone_hdf import Backbone, DropPath, as_pair
from modeling_hdf.configuration_hdf import BACKBONES
from modeling_hdf.hub.cards import model_card
from modeling_hdf.inference.export import _export
from modeling_hdf.training.recipes import build_processor


class PlaidConfig(PreTrainedConfig):
    model_type = "hdf_plaid"
    num_frames: int = 4
    image_size: int = 16
    num_channels: int = 3
    hidden_size: int = 8
    num_hidden_layers: int = 4
    initializer_range: float = 0.05


class PlaidLayer(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.mix, self.drop_path = nn.Linear(channels, channels), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(torch.tanh(self.mix(x)))


class PlaidModel(PreTrainedModel):
    config_class = PlaidConfig

    def __init__(self, config: PlaidConfig):
        super().__init__(config)
        self.stem = nn.Conv3d(config.num_channels, config.hidden_size, (1, 8, 8), (1, 8, 8))
        self.blocks = nn.ModuleList(PlaidLayer(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.post_init()


class PlaidBackbone(Backbone):
    title = "Plaid"
    model_class = classifier_class = PlaidModel
    no_split_modules = ["PlaidLayer"]

    @staticmethod
    def feature_map_sizes(config):
        height, width = (edge // 8 for edge in as_pair(config.image_size))
        return [(config.num_frames, height, width, config.hidden_size)] * config.num_hidden_layers

    @staticmethod
    def prepare_for_new_head(config):
        pass

    @staticmethod
    def stem(backbone):
        return backbone.stem

    @staticmethod
    def embed(backbone, pixel_values):
        return backbone.stem(pixel_values.transpose(1, 2)).permute(0, 2, 3, 4, 1)  # (B, T, h, w, C)

    @staticmethod
    def layers(backbone):
        return backbone.blocks

    @staticmethod
    def feature_map(config, hidden_states):
        return hidden_states

    @staticmethod
    def from_feature_map(feature_map):
        return feature_map

    @classmethod
    def add_drop_path(cls, backbone, rate):
        for block in backbone.blocks:
            block.drop_path = DropPath(rate)

    @staticmethod
    def finish(backbone, hidden_states):
        return hidden_states

    @staticmethod
    def feature_size(config):
        return config.hidden_size

    @staticmethod
    def pooling_norm(config):
        return nn.LayerNorm(config.hidden_size)

    @staticmethod
    def pool(norm, hidden_states):
        return norm(hidden_states.mean(1))


@pytest.fixture
def model(monkeypatch) -> HDFForVideoClassification:
    AutoConfig.register("hdf_plaid", PlaidConfig, exist_ok=True)
    monkeypatch.setitem(BACKBONES, "hdf_plaid", PlaidBackbone)
    torch.manual_seed(0)
    config = HDFConfig(backbone_config={"model_type": "hdf_plaid"}, drop_path_rate=0.1)
    return move_dam_weights(HDFForVideoClassification(config))


def test_it_is_trained_saved_and_loaded_with_dam(model, tmp_path):
    assert len(model.hdf.dam) == 4
    rows = [{"pixel_values": torch.randn(4, 3, 16, 16), "labels": index % 7} for index in range(8)]
    arguments = HDFTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=4, use_cpu=True, sam_rho=0.05,
        layer_decay=0.5, report_to="none",
    )  # fmt: skip
    before = model.hdf.backbone.stem.weight.detach().clone()
    HDFTrainer(model=model, args=arguments, train_dataset=rows).train()
    assert not model.hdf.backbone.stem.weight.equal(before)
    model.eval().save_pretrained(tmp_path / "saved")
    again = HDFForVideoClassification.from_pretrained(tmp_path / "saved").eval()
    clips = torch.randn(3, 4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(again(clips).logits, model(clips).logits)


def test_it_is_prepared_exported_and_described(model):
    assert build_processor(model.config.backbone_config).num_frames == 4
    clips = torch.randn(3, 4, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(_export(model.eval()).module()(clips), model(clips).logits)
    assert "Plaid" in str(model_card(model.config, None, "org/mine"))
