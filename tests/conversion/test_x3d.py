"""`hdf convert` on X3D checkpoints as pytorchvideo published them, and what is refused."""

import json

import pytest
import torch
from pytorchvideo_x3d import KINETICS, SMALL, X3DReference, randomize_layers
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.cli.main import main
from modeling_hdf.x3d_hdf import X3DForVideoClassification

SIZES = ("--num-frames", 4, "--image-size", 32)


def convert(tmp_path, weights, *options, sizes=SIZES):
    """Exit code and output folder of the command."""
    torch.save({"model_state": weights}, tmp_path / "X3D_S.pyth")
    arguments = ["convert", tmp_path / "X3D_S.pyth", tmp_path / "out", *sizes, *options]
    return main([str(argument) for argument in arguments]), tmp_path / "out"


def reference(**fields) -> X3DReference:
    torch.manual_seed(0)
    return randomize_layers(X3DReference(**fields)).eval()


@pytest.mark.parametrize("fields", [SMALL, KINETICS], ids=["small", "X3D-S"])
def test_a_checkpoint_keeps_its_logits(tmp_path, capsys, fields):
    original = reference(**fields)
    code, out = convert(tmp_path, original.state_dict())
    assert code == 0
    printed = capsys.readouterr().out
    assert "4 frames of 32 pixels (frames and pixels cannot be read from the weights: check them)" in printed
    clips = torch.randn(3, 4, 3, 32, 32)
    expected = original(clips.transpose(1, 2))
    assert expected.std(0).mean() > 0.01 * expected.abs().mean()  # clips differ
    model = X3DForVideoClassification.from_pretrained(out)
    torch.testing.assert_close(model(clips).logits, expected, rtol=0, atol=1e-5)
    labels = torch.tensor([0, 1, 2])
    auto = AutoModelForVideoClassification.from_pretrained(out)(clips, labels=labels)
    torch.testing.assert_close(auto.logits, expected, rtol=0, atol=1e-5)
    correct = expected.log_softmax(1)[range(3), labels]
    torch.testing.assert_close(auto.loss, -correct.mean(), rtol=1e-4, atol=1e-5)
    features = AutoModel.from_pretrained(out)(clips).last_hidden_state
    torch.testing.assert_close(features, model.x3d(clips).last_hidden_state, rtol=0, atol=1e-5)
    hdf = HDFForVideoClassification.from_backbone_pretrained(str(out))
    torch.testing.assert_close(hdf(clips).logits, expected, rtol=0, atol=1e-5)

    longer = HDFForVideoClassification.from_backbone_pretrained(
        str(out), num_frames=6, image_size=[48, 64], dam_layers=[]
    )
    clips = torch.randn(2, 6, 3, 48, 64)
    expected = original(clips.transpose(1, 2))
    torch.testing.assert_close(longer(clips).logits, expected, rtol=0, atol=1e-5)


def test_the_networks_of_the_paper_are_the_defaults(tmp_path):
    code, out = convert(tmp_path, reference(**KINETICS).state_dict(), sizes=())
    assert code == 0
    config = AutoConfig.from_pretrained(out)
    assert (config.num_frames, config.image_size, config.num_labels) == (13, 160, 400)
    defaults = type(config)().to_dict()
    structure = ("stem_channels", "stage_channels", "stage_depths", "stage_strides", "stem_kernel", "expansion")
    for name in (*structure, "stem_stride", "squeeze_ratio", "head_channels", "num_channels"):
        assert getattr(config, name) == (list(defaults[name]) if isinstance(defaults[name], tuple) else defaults[name])
    preprocessing = json.loads((out / "preprocessor_config.json").read_text())
    assert (preprocessing["image_mean"], preprocessing["image_std"]) == ([0.45] * 3, [0.225] * 3)
    assert preprocessing["crop_size"] == {"height": 160, "width": 160}


def test_labels_and_half_precision_are_kept(tmp_path):
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in reference(**SMALL).state_dict().items()
    }
    code, out = convert(tmp_path, weights, "--labels", "a,b,c,d,e")
    assert code == 0
    model = X3DForVideoClassification.from_pretrained(out)
    assert model.dtype == torch.float16 and list(model.config.id2label.values()) == ["a", "b", "c", "d", "e"]


def test_counts_of_batches_that_old_checkpoints_lack_are_zero(tmp_path):
    original = reference(**SMALL)
    weights = {name: value for name, value in original.state_dict().items() if "num_batches_tracked" not in name}
    code, out = convert(tmp_path, weights)
    assert code == 0
    model = X3DForVideoClassification.from_pretrained(out)
    counts = [value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert len(counts) == len(original.state_dict()) - len(weights) > 0 and not any(map(bool, counts))
    clips = torch.randn(3, 4, 3, 32, 32)
    torch.testing.assert_close(model(clips).logits, original(clips.transpose(1, 2)), rtol=0, atol=1e-5)


BLOCK = "blocks.1.res_blocks.0.branch2"


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        (None, {f"{BLOCK}.conv_d.weight": [2]}, f"no place for: '{BLOCK}.conv_d.weight'"),
        (None, {"blocks.3.pool.post_norm.weight": [20]}, "no place for: 'blocks.3.pool.post_norm.weight'"),
        (None, {"epoch": []}, "no place for: 'epoch'"),
        ("blocks.0.conv.conv_t", {}, "'blocks.0.conv.conv_t.weight' is missing"),
        (f"{BLOCK}.norm_a.running_var", {}, "missing for x3d.stages.0.blocks.0.expand_norm.running_var"),
        ("blocks.1.", {}, "stages with weights are [2]"),
        (None, {f"{BLOCK}.conv_b.weight": [36, 1, 3, 3, 5]}, "has the shape (36, 1, 3, 3, 5)"),
        (None, {f"{BLOCK}.norm_b.1.block.0.weight": [16, 36, 1, 1, 1]}, "norm_b.1.block.0.weight' has the shape"),
    ],
    ids=["layer", "head", "number", "stem", "statistics", "stage", "kernel", "squeeze"],
)
def test_each_weight_is_used_or_named(tmp_path, capsys, removed, added, message):
    weights = reference(**SMALL).state_dict()
    weights = {name: value for name, value in weights.items() if removed is None or not name.startswith(removed)}
    code, out = convert(tmp_path, weights | {name: torch.ones(shape) for name, shape in added.items()})
    error = capsys.readouterr().err
    assert code == 1 and message in error and "X3D_S.pyth" in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--heads", 4), "X3D has no attention"),
        (("--labels", "a,b"), "--labels has 2 names, but the classifier has 5 classes"),
        (("--num-frames", 0), "--num-frames is 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, capsys, options, message):
    code, out = convert(tmp_path, reference(**SMALL).state_dict(), *options)
    assert code == 1 and message in capsys.readouterr().err and not out.exists()
