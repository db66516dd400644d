"""What tests of `hdf evaluate` and its neighbours share: a model, a cache, and the call."""

import json
import re
from pathlib import Path

import datasets
import pytest
from tiny_models import move_dam_weights, tiny_backbone_config
from torch import nn
from transformers import set_seed

from modeling_hdf import HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.cli.main import main
from modeling_hdf.data import EXPRESSIONS

RUN = {"dataset": "dfew", "fold": 1, "peer_protocol": False, "dataset_overrides": {}}


@pytest.fixture(autouse=True)
def own_dataset_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets_cache")


def save_model(folder: Path, names: tuple[str, ...] = EXPRESSIONS) -> Path:
    """A classifier whose answers differ from clip to clip, with its processor."""
    set_seed(0)
    backbone = tiny_backbone_config(initializer_range=1.0).to_dict()
    model = move_dam_weights(
        HDFForVideoClassification(HDFConfig(backbone_config=backbone, id2label=dict(enumerate(names))))
    )
    nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    size = {"height": 16, "width": 24}
    HDFVideoProcessor(num_frames=4, size=size, crop_size=size).save_pretrained(folder)
    return folder


def record(folder: Path, **fields) -> None:
    """Writes the record of a training on DFEW, or with these fields, beside a model, which may be without weights."""
    (folder / "metrics.json").write_text(json.dumps({**RUN, **fields}))
    if not (folder / "config.json").exists():
        (folder / "config.json").write_text(json.dumps({"model_type": "hdf"}))


def run(command: str, model: object, *arguments: object) -> int:
    return main([command, str(model), *map(str, arguments)])


def assert_error(capsys, message: str) -> None:
    error = capsys.readouterr().err
    assert re.search(f"hdf [a-z ]+: error: .*{message}", error, re.DOTALL), error
