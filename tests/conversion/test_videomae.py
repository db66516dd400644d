"""`hdf convert`: the arithmetic of the original code, and what is refused."""

import argparse
import json

import av
import numpy as np
import pytest
import torch
from original_videomae import (
    DECODER_WIDTH,
    NUM_TOKENS,
    WIDTH,
    classifier_weights,
    classify,
    encoder_weights,
    norm_weights,
    position_table,
    pretraining_weights,
    random_tensor,
    reconstruct,
)
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForVideoClassification,
    AutoVideoProcessor,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    VideoMAEModel,
    pipeline,
)
from video_files import write_video

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.cli.main import main
from modeling_hdf.training.recipes import build_processor

SIZES = ("--heads", 3, "--image-size", 16, "--num-frames", 4)
DECODER = ("--decoder-heads", 2)


def convert(tmp_path, checkpoint, *options, sizes=SIZES, name="in.pth"):
    """Exit code and output folder of the command."""
    torch.save(checkpoint, tmp_path / name)
    arguments = ["convert", tmp_path / name, tmp_path / "out", *sizes, *options]
    return main([str(argument) for argument in arguments]), tmp_path / "out"


def all_frames_of(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture
def original_clips():
    """Two clips of shape `(3, 4, 16, 16)`, channels first as the original code has them."""
    return torch.randn(2, 3, 4, 16, 16)


@pytest.mark.parametrize("mean_pooling", [True, False])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_a_fine_tuned_checkpoint_keeps_its_logits(tmp_path, original_clips, mean_pooling, qkv_bias):
    weights = classifier_weights(mean_pooling, qkv_bias)
    code, out = convert(tmp_path, {"model": weights})
    assert code == 0
    model = VideoMAEForVideoClassification.from_pretrained(out).eval()
    logits = model(original_clips.transpose(1, 2)).logits
    # The last norm of transformers has an epsilon of 1e-5, whatever the configuration says.
    expected = classify(weights, original_clips, last_epsilon=1e-5)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits, classify(weights, original_clips), rtol=0, atol=2e-3)
    assert model.config.layer_norm_eps == 1e-6


def test_small_activations_show_the_epsilon_of_the_norms(tmp_path, original_clips):
    weights = classifier_weights(mean_pooling=False)
    for number in range(2):  # what the second norm of a block sees is then about as large as its epsilon
        weights[f"blocks.{number}.norm1.weight"] *= 30
    weights["patch_embed.proj.weight"] *= 1e-3
    _, out = convert(tmp_path, weights)
    model = VideoMAEForVideoClassification.from_pretrained(out).eval()
    torch.testing.assert_close(
        model(original_clips.transpose(1, 2)).logits, classify(weights, original_clips), rtol=0, atol=1e-4
    )


def test_a_pretraining_checkpoint_keeps_what_it_reconstructs(tmp_path, original_clips):
    weights = pretraining_weights()
    code, out = convert(tmp_path, {"model": weights, "epoch": 3}, *DECODER)
    assert code == 0
    model = VideoMAEForPreTraining.from_pretrained(out).eval()
    mask = torch.tensor([[True, False, True, True] * 2, [False, True, True, True] * 2])
    outputs = model(original_clips.transpose(1, 2), bool_masked_pos=mask)
    expected = reconstruct(weights, original_clips, mask, last_epsilon=1e-5)
    torch.testing.assert_close(outputs.logits, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs.logits, reconstruct(weights, original_clips, mask), rtol=0, atol=2e-3)
    assert model.config.norm_pix_loss is True


def test_a_pretraining_on_plain_pixels_stays_one(tmp_path):
    checkpoint = {"model": pretraining_weights(), "args": argparse.Namespace(normlize_target=False)}
    code, out = convert(tmp_path, checkpoint, *DECODER)
    assert code == 0 and VideoMAEForPreTraining.from_pretrained(out).config.norm_pix_loss is False


def test_a_converted_checkpoint_starts_hdf_with_all_of_its_weights(tmp_path, original_clips):
    weights = classifier_weights()
    _, out = convert(tmp_path, weights, "--labels", "joy, grief,calm,rage,awe")
    model = HDFForVideoClassification.from_backbone_pretrained(out)
    assert list(model.config.id2label.values()) == ["joy", "grief", "calm", "rage", "awe"]
    expected = classify(weights, original_clips, last_epsilon=1e-5)
    torch.testing.assert_close(model(original_clips.transpose(1, 2)).logits, expected, rtol=0, atol=1e-5)
    assert AutoModelForVideoClassification.from_pretrained(out).config.label2id["rage"] == 3


def test_the_pipeline_classifies_videos_as_the_original_code_does(tmp_path):
    weights = classifier_weights()
    _, out = convert(tmp_path, weights)
    model = HDFForVideoClassification.from_backbone_pretrained(out)
    model.save_pretrained(tmp_path / "hdf")
    build_processor(model.config.backbone_config).save_pretrained(tmp_path / "hdf")
    write_video(tmp_path / "clip.mp4", 4)
    answer = pipeline("video-classification", model=str(tmp_path / "hdf"))(str(tmp_path / "clip.mp4"), top_k=5)
    frames = AutoVideoProcessor.from_pretrained(out)  # what stock VideoMAE shows its model
    shown = frames(torch.from_numpy(all_frames_of(tmp_path / "clip.mp4")), return_tensors="pt").pixel_values
    expected = classify(weights, shown.transpose(1, 2), last_epsilon=1e-5).softmax(-1)[0]
    scores = {entry["label"]: entry["score"] for entry in answer}
    assert scores == pytest.approx({f"LABEL_{i}": p.item() for i, p in enumerate(expected)}, abs=1e-5)


def test_a_pretraining_checkpoint_gives_hdf_its_encoder(tmp_path):
    weights = pretraining_weights()
    _, out = convert(tmp_path, weights, *DECODER)
    layer = HDFForVideoClassification.from_backbone_pretrained(out).hdf.backbone.encoder.layer[1]
    query, key, value = weights["encoder.blocks.1.attn.qkv.weight"].split(WIDTH)
    attention = layer.attention.attention
    assert attention.query.weight.equal(query) and attention.key.weight.equal(key)
    assert attention.value.weight.equal(value)
    assert attention.query.bias.equal(weights["encoder.blocks.1.attn.q_bias"])
    assert attention.value.bias.equal(weights["encoder.blocks.1.attn.v_bias"])
    assert layer.output.dense.weight.equal(weights["encoder.blocks.1.mlp.fc2.weight"])


def test_an_encoder_alone_becomes_a_model_without_head(tmp_path):
    weights = encoder_weights("encoder.") | norm_weights("encoder.norm", WIDTH)
    code, out = convert(tmp_path, weights)
    assert code == 0
    model = VideoMAEModel.from_pretrained(out)
    assert model.layernorm.weight.equal(weights["encoder.norm.weight"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "optimizer": {"state": {}}},
        lambda weights: {"module": {f"module.{name}": value for name, value in weights.items()}},
        lambda weights: {"model": {f"module.backbone.{name}": value for name, value in weights.items()}},
    ],
)
def test_wrappers_around_the_weights_are_taken_off(tmp_path, wrap):
    weights = classifier_weights()
    code, out = convert(tmp_path, wrap(weights))
    assert code == 0
    stored = load_file(out / "model.safetensors")
    assert stored["classifier.weight"].equal(weights["head.weight"])
    assert stored["videomae.embeddings.patch_embeddings.projection.weight"].equal(weights["patch_embed.proj.weight"])


def test_half_precision_stays_half_precision(tmp_path):
    weights = {name: value.half() for name, value in classifier_weights().items()}
    _, out = convert(tmp_path, weights)
    assert {value.dtype for value in load_file(out / "model.safetensors").values()} == {torch.float16}


def test_sizes_come_from_shapes_stored_arguments_and_the_usual_head_width(tmp_path, capsys):
    weights = {"patch_embed.proj.weight": random_tensor(128, 3, 1, 4, 4), "patch_embed.proj.bias": random_tensor(128)}
    for name, shape in {
        "norm1.weight": [128], "norm1.bias": [128], "norm2.weight": [128], "norm2.bias": [128],
        "attn.qkv.weight": [384, 128], "attn.proj.weight": [128, 128], "attn.proj.bias": [128],
        "mlp.fc1.weight": [24, 128], "mlp.fc1.bias": [24], "mlp.fc2.weight": [128, 24], "mlp.fc2.bias": [128],
    }.items():  # fmt: skip
        weights[f"blocks.0.{name}"] = random_tensor(*shape)
    checkpoint = {"model": weights, "args": argparse.Namespace(input_size=40, num_frames=6, lr=1e-3)}
    code, out = convert(tmp_path, checkpoint, sizes=())
    assert code == 0 and "2 heads, 6 frames of 40 pixels" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    expected = {
        "hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
        "patch_size": 4, "tubelet_size": 1, "image_size": 40, "num_frames": 6, "qv_bias": False,
        "use_mean_pooling": True, "layer_norm_eps": 1e-6,
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected
    processor = VideoMAEImageProcessor.from_pretrained(out)
    assert processor.crop_size["height"] == processor.size["shortest_edge"] == 40
    clip = np.random.default_rng(0).integers(0, 256, (6, 3, 40, 40), dtype=np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, as in training
    shown = processor(list(clip), return_tensors="np").pixel_values[0]
    np.testing.assert_allclose(shown, (clip / 255 - mean[:, None, None]) / std[:, None, None], atol=1e-5)


def test_fixed_position_tables_may_be_stored_and_learned_ones_are_refused(tmp_path, capsys):
    weights = pretraining_weights()
    tables = {"encoder.pos_embed": (NUM_TOKENS, WIDTH), "pos_embed": (NUM_TOKENS, DECODER_WIDTH)}
    stored = weights | {name: position_table(*shape) for name, shape in tables.items()}
    code, _ = convert(tmp_path, stored, *DECODER)
    assert code == 0
    stored["encoder.pos_embed"][0, 3, 2] += 1e-3
    (tmp_path / "learned").mkdir()
    code, out = convert(tmp_path / "learned", stored, *DECODER)
    assert code == 1 and not out.exists()
    assert "'encoder.pos_embed' is a learned position table" in capsys.readouterr().err


def without(name):
    return lambda weights: {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"blocks.0.attn.qkv.bias": torch.zeros(36)}, "no place for: 'blocks.0.attn.qkv.bias'"),
        (lambda w: w | {"head_kinetics.weight": torch.zeros(4, 12)}, "no place for: 'head_kinetics.weight'"),
        (without("blocks.1.mlp.fc2.bias"), "missing for videomae.encoder.layer.1.output.dense.bias"),
        (without("blocks.0.mlp.fc1.weight"), "'blocks.0.mlp.fc1.weight' is missing"),
        (lambda w: w | {"encoder_to_decoder.weight": torch.zeros(8, 12)}, "'encoder.patch_embed.proj.weight' is"),
        (lambda w: w | {"blocks.1.norm1.bias": torch.zeros(13)}, r"'blocks.1.norm1.bias' has the shape (13,)"),
        (lambda w: w | {"blocks.1.attn.qkv.weight": torch.zeros(37, 12)}, "has 37 rows"),
        (lambda w: w | {"pos_embed": torch.zeros(1, 1568, 12)}, "are 8 tokens: give --num-frames and --image-size"),
        (lambda w: w | {"module.head.bias": torch.zeros(5)}, "stored twice"),
        (lambda w: w | {"version": 3}, "no tensors: 'version'"),
        (lambda w: w | {"head.bias": torch.full((5,), torch.nan)}, "NaN or infinite values, as after a training that"),
        (lambda w: w | {"module.head.weight": torch.full((5, 12), torch.inf)}, "diverged: 'module.head.weight'"),
        (lambda w: {"epoch": 3, "optimizer": {}}, "no weights: the file holds 'epoch', 'optimizer'"),
        (lambda w: {}, "no weights: the file holds nothing"),
        (lambda w: [1, 2], "holds a list"),
        (lambda w: w | {"lg_region_tokens": torch.zeros(8, 12)}, "LGI-Former, the encoder of MAE-DFER"),
        (lambda w: w | {"encoder.blocks.0.first_attn.q.weight": torch.zeros(2)}, "LGI-Former, the encoder"),
        (lambda w: w | {"blocks.0.temporal_attn.qkv.weight": torch.zeros(2)}, "TimeSformer"),
        (lambda w: w | {"blocks.0.gamma_1": torch.zeros(12)}, "layer scale"),
        (lambda w: w | {"cls_token": torch.zeros(1, 1, 12)}, "class token"),
        (lambda w: {"layer1.0.conv1.weight": torch.zeros(2)}, "ResNet"),
        (lambda w: {"blocks.0.conv.conv_t.weight": torch.zeros(2)}, "X3D"),
        (lambda w: {"videomae.encoder.layer.0.output.dense.bias": torch.zeros(2)}, "of transformers already"),
        (lambda w: {"fc.weight": torch.zeros(2)}, "neither a VideoMAE nor an X3D: its weights are 'fc.weight'"),
        (lambda w: w | {"patch_embed.proj.weight": torch.zeros(12, 3, 8, 8)}, "single images"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named_and_nothing_is_written(tmp_path, capsys, change, message):
    code, out = convert(tmp_path, change(classifier_weights()))
    error = capsys.readouterr().err
    assert code == 1 and message in error and str(tmp_path / "in.pth") in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.pth"]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((), "do not divide a width of 12: give --heads"),
        (("--heads", 5), "--heads is 5, which does not divide the width of 12"),
        (("--heads", 3, "--image-size", 20), "the image size is 20, which is no multiple of 8"),
        (("--heads", 3, "--num-frames", 5), "the number of frames is 5, which is no multiple of 2"),
        ((*SIZES, "--labels", "a,b"), "--labels has 2 names, but the classifier has 5 classes"),
        ((*SIZES, "--decoder-heads", 2), "there is no decoder"),
        (("--heads", -3), "--heads is -3, but must be a whole number of at least 1"),
        (("--heads", 0), "--heads is 0, but"),
        (("--heads", 3, "--image-size", -16), "--image-size is -16, but"),
        (("--heads", 3, "--num-frames", 0), "--num-frames is 0, but"),
        ((*SIZES, "--labels", "a,a,b,c,d"), "--labels must give each class a name of its own"),
        ((*SIZES, "--labels", "a,,b,c,d"), "which is not empty; got ['a', '', 'b', 'c', 'd']"),
    ],
)
def test_options_that_contradict_the_weights_are_refused(tmp_path, capsys, sizes, message):
    code, out = convert(tmp_path, classifier_weights(), sizes=sizes)
    assert code == 1 and message in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"input_size": "x"}, "'input_size' in the stored training arguments is 'x'"),
        ({"input_size": (16, 16)}, "'input_size' in the stored training arguments is (16, 16)"),
        ({"input_size": 16, "num_frames": 0}, "'num_frames' in the stored training arguments is 0"),
    ],
)
def test_stored_arguments_that_are_no_sizes_are_named_and_options_replace_them(tmp_path, capsys, stored, message):
    checkpoint = {"model": classifier_weights(), "args": argparse.Namespace(**stored)}
    code, out = convert(tmp_path, checkpoint, sizes=("--heads", 3))
    error = capsys.readouterr().err
    assert code == 1 and message in error and str(tmp_path / "in.pth") in error and not out.exists()
    assert convert(tmp_path, checkpoint)[0] == 0  # with --image-size and --num-frames


def test_labels_need_a_classifier(tmp_path, capsys):
    code, _ = convert(tmp_path, pretraining_weights(), *DECODER, "--labels", "a,b")
    assert code == 1 and "there is no classifier" in capsys.readouterr().err


class Touch:
    """An object whose unpickling leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_needs_unpickling_is_refused_and_not_run(tmp_path, capsys, zipped):
    trap = tmp_path / "trap"
    checkpoint = {"model": classifier_weights(), "extra": Touch(trap)}
    torch.save(checkpoint, tmp_path / "in.pth", _use_new_zipfile_serialization=zipped)
    code = main(["convert", str(tmp_path / "in.pth"), str(tmp_path / "out"), "--heads", "3"])
    error = capsys.readouterr().err
    assert code == 1 and not trap.exists()
    assert "in.pth: holds an object of" in error and "open" in error and "torch.save(model.state_dict()" in error


def test_numbers_of_numpy_are_refused_by_name(tmp_path, capsys):
    code, _ = convert(tmp_path, {"model": classifier_weights(), "best": np.float64(0.7)})
    assert code == 1 and "numpy" in capsys.readouterr().err


def test_files_that_are_no_checkpoints_are_named(tmp_path, capsys):
    torch.save(classifier_weights(), tmp_path / "whole.pth")
    save_file(classifier_weights(), tmp_path / "weights.safetensors")
    (tmp_path / "renamed.pth").write_bytes((tmp_path / "weights.safetensors").read_bytes())
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.pth").write_text("these are no weights")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:5000])
    for name, message in {
        "weights.safetensors": "is a safetensors file",
        "renamed.pth": "is a safetensors file",
        "empty.pth": "is empty",
        "text.pth": "cannot be read as a PyTorch checkpoint",
        "cut.pth": "cannot be read as a PyTorch checkpoint",
    }.items():
        assert main(["convert", str(tmp_path / name), str(tmp_path / "out")]) == 1
        error = capsys.readouterr().err
        assert message in error and name in error
    assert not (tmp_path / "out").exists()


def test_an_output_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert convert(tmp_path, classifier_weights())[0] == 0  # empty: allowed
    before = (tmp_path / "out" / "config.json").stat().st_mtime_ns
    assert convert(tmp_path, classifier_weights())[0] == 1
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "out" / "config.json").stat().st_mtime_ns == before


def test_weights_that_do_not_come_back_as_written_leave_no_folder(tmp_path, monkeypatch, capsys):
    save = VideoMAEForVideoClassification.save_pretrained

    def damage(self, folder, **kwargs):
        save(self, folder, **kwargs)
        stored = load_file(folder / "model.safetensors")
        stored["classifier.bias"] += 1
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(VideoMAEForVideoClassification, "save_pretrained", damage)
    assert convert(tmp_path, classifier_weights())[0] == 1
    assert "classifier.bias" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.pth"]
