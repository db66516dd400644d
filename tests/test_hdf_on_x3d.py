"""HDF on X3D does what HDF on VideoMAE does: see the tests of the same names there."""

import json
from pathlib import Path

import pytest
import torch
from pytorchvideo_x3d import randomize_layers
from remote_code import load_without_package
from tiny_models import randomize, tiny_x3d_config, tiny_x3d_hdf_config
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, pipeline, set_seed
from travelling_files import TRAVELLING_FILES
from video_files import write_video

from modeling_hdf import (
    HDFConfig,
    HDFForVideoClassification,
    HDFModel,
    HDFTrainer,
    HDFTrainingArguments,
    HDFVideoProcessor,
)
from modeling_hdf.backbone_hdf import DropPath
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.training.optimization import learning_rate_scales
from modeling_hdf.x3d_hdf import X3DBackbone, X3DForVideoClassification, X3DModel


def build(**fields) -> HDFForVideoClassification:
    """A tiny classifier in evaluation mode, with weights and statistics away from their start values."""
    torch.manual_seed(0)
    return randomize_layers(randomize(HDFForVideoClassification(tiny_x3d_hdf_config(**fields)), std=0.2)).eval()


@pytest.fixture
def model() -> HDFForVideoClassification:
    return build()


def by_hand(model: HDFForVideoClassification, clips: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Logits, and the map `(B, T, h, w, C)` behind each DAM."""
    backbone = model.hdf.backbone
    x, maps = backbone.stem(clips), []
    for number, stage in enumerate(backbone.stages, start=1):
        x = stage(x).movedim(2, -1)
        x = model.hdf.dam[str(number)](x) if str(number) in model.hdf.dam else x
        maps.append(x)
        x = x.movedim(-1, 2)
    features = backbone.finish(x).mean((1, 3, 4)) @ model.fc_norm.linear.weight.T
    return model.classifier(features.relu()), maps


@pytest.mark.parametrize("dam_layers", [[], [1], [1, 2]])
def test_equals_the_backbone_with_dam_behind_its_stages(clips, dam_layers):
    model = build(dam_layers=dam_layers)
    logits, maps = by_hand(model, clips)
    outputs = model(clips, output_hidden_states=True)
    assert logits.std(0).min() > 1e-4  # clips differ
    torch.testing.assert_close(outputs.logits, logits, rtol=0, atol=2e-6)
    assert [state.shape for state in outputs.hidden_states] == [
        (3, 4 * 16 * 24, 4),
        (3, 4 * 8 * 12, 4),
        (3, 4 * 4 * 6, 6),
    ]
    for state, expected in zip(outputs.hidden_states[1:], maps, strict=True):
        torch.testing.assert_close(state, expected.flatten(1, 3), rtol=1e-5, atol=1e-5)
    assert outputs.attentions is None and not model(clips, output_attentions=True).attentions


def test_a_single_frame_is_classified_too(model, clips):
    frames, model = clips[:, :1].double(), model.double()  # in float64 rounding hides nothing on any processor
    logits = by_hand(model, frames)[0]
    assert (model(frames).logits - logits).abs().max() <= 1e-9 * logits.abs().max()
    with pytest.raises(ValueError, match=r"\(batch, 4, 3, 16, 24\)"):
        model(clips[:, :2])
    with pytest.raises(ValueError, match=r"\(batch, 1, 3, 16, 24\)"):
        model(clips[:, :1].transpose(3, 4))


def test_clips_of_a_batch_do_not_meet_in_evaluation(model, clips):
    separately = torch.cat([model(clip[None]).logits for clip in clips])
    torch.testing.assert_close(model(clips).logits, separately, rtol=1e-5, atol=1e-5)


# Loading


def test_a_saved_model_comes_back_whole(model, clips, tmp_path, poisoned_memory):
    model.save_pretrained(tmp_path)
    loaded, info = HDFForVideoClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert loaded.state_dict()[name].equal(value), name
    torch.testing.assert_close(loaded(clips).logits, model(clips).logits)


@pytest.mark.parametrize("model_class", [X3DForVideoClassification, HDFForVideoClassification])
def test_weights_missing_from_a_checkpoint_start_afresh(tmp_path, poisoned_memory, model_class):
    config = tiny_x3d_config() if model_class is X3DForVideoClassification else tiny_x3d_hdf_config()
    model_class(config).base_model.save_pretrained(tmp_path)
    headless = model_class.from_pretrained(tmp_path)
    assert headless.fc_norm.linear.weight.std().item() == pytest.approx((2 / 12) ** 0.5, rel=0.2)
    assert 0.1 < headless.classifier.weight.std().item() < 0.3
    assert not headless.classifier.bias.any()
    fresh = model_class.from_pretrained(None, config=config, state_dict={}).base_model
    backbone = fresh if model_class is X3DForVideoClassification else fresh.backbone
    gate = backbone.stages[0].blocks[0].squeeze_excitation.reduce
    assert 0.35 < gate.weight.std().item() < 0.65 and not gate.bias.any()
    assert all(value.isfinite().all() for value in fresh.state_dict().values())


def test_hidden_states_have_gradients(model, clips):
    outputs = model(clips, output_hidden_states=True)
    for state in outputs.hidden_states:
        state.retain_grad()
    outputs.logits[:, 0].sum().backward()
    assert all(state.grad.any() for state in outputs.hidden_states)


def test_bfloat16(model, clips, tmp_path):
    model.save_pretrained(tmp_path)
    expected = model(clips).logits
    half = HDFForVideoClassification.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    scale = expected.abs().max().item()
    torch.testing.assert_close(half(clips.bfloat16()).logits.float(), expected, rtol=0, atol=0.05 * scale)

    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(clips, labels=torch.tensor([0, 1, 2]))
    assert outputs.logits.dtype == torch.bfloat16 and outputs.loss.dtype == torch.float32
    outputs.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("head", [True, False])
def test_starts_from_a_checkpoint_of_the_backbone(clips, tmp_path, head):
    labels = {0: "clapping", 1: "waving"}
    source = X3DForVideoClassification(tiny_x3d_config(id2label=labels)) if head else X3DModel(tiny_x3d_config())
    randomize_layers(randomize(source, std=0.2)).eval().save_pretrained(tmp_path)
    model = HDFForVideoClassification.from_backbone_pretrained(str(tmp_path))
    for name, value in source.base_model.state_dict().items():
        assert model.hdf.backbone.state_dict()[name].equal(value), name
    assert model.config.id2label == (labels if head else dict(enumerate(EMOTIONS)))
    if head:  # a DAM starts as the identity
        torch.testing.assert_close(model(clips).logits, source(clips).logits, rtol=1e-5, atol=1e-5)
    other = HDFForVideoClassification.from_backbone_pretrained(
        str(tmp_path), num_frames=6, image_size=[32, 20], num_labels=3, dam_layers=[2]
    )
    assert other.hdf.dam["2"].num_steps == 6 and other.fc_norm.linear.weight.equal(model.fc_norm.linear.weight) == head
    assert other(torch.randn(2, 6, 3, 32, 20)).logits.shape == (2, 3)


# At home in transformers


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hub") / "hdf-x3d"
    set_seed(0)
    build(calibration_temperature=0.25).save_pretrained(path)
    processor = HDFVideoProcessor(num_frames=4, size={"shortest_edge": 16}, crop_size={"height": 16, "width": 24})
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 20)


def test_auto_classes_and_the_pipeline_load_it(folder, video):
    assert type(AutoConfig.from_pretrained(folder)) is HDFConfig
    assert type(AutoModel.from_pretrained(folder)) is HDFModel
    model = AutoModelForVideoClassification.from_pretrained(folder)
    assert type(model) is HDFForVideoClassification and type(model.hdf.backbone) is X3DModel
    logits = model(**HDFVideoProcessor.from_pretrained(folder)(video, return_tensors="pt")).logits
    scores = {
        answer["label"]: answer["score"]
        for answer in pipeline("video-classification", str(folder))(str(video), top_k=7)
    }
    expected = dict(zip(EMOTIONS, logits[0].softmax(-1).tolist(), strict=True))
    assert scores == pytest.approx(expected, rel=1e-4)


def test_remote_code_gives_the_same_numbers(folder, video, tmp_path_factory):
    resaved = tmp_path_factory.mktemp("resaved")
    remote = load_without_package(folder, video, resaved, tmp_path_factory.mktemp("elsewhere"))
    assert all(module.startswith("transformers_modules.") for module, _ in remote["classes"])
    model = HDFForVideoClassification.from_pretrained(folder)
    pixel_values = HDFVideoProcessor.from_pretrained(folder)(video, return_tensors="pt").pixel_values
    torch.testing.assert_close(
        torch.tensor(remote["logits"]), model(pixel_values).logits.flatten(), rtol=1e-5, atol=1e-5
    )
    assert json.loads((folder / "config.json").read_text())["backbone_config"]["model_type"] == "hdf_x3d"
    assert {path.name for path in resaved.glob("*.py")} == TRAVELLING_FILES


# At home in PyTorch


def test_a_block_is_never_split_across_devices(model):
    classes = {type(module).__name__ for module in model.modules()}
    assert {"DAM", "X3DStem", "X3DStage"} <= set(model._no_split_modules) & classes


def test_compiles_to_one_graph(model, clips):
    expected = model(clips).logits
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(clips).logits, expected, rtol=1e-5, atol=1e-5)


def test_a_training_step_compiles_to_one_graph(clips):
    labels = torch.tensor([0, 1, 2])
    model, expected = build().train(), build().train()
    expected(clips, labels=labels).loss.backward()
    torch.compiler.reset()
    torch.compile(model, fullgraph=True, backend="aot_eager")(clips, labels=labels).loss.backward()
    for (name, parameter), other in zip(model.named_parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)
    for (name, buffer), other in zip(model.named_buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("frames", [4, 1])
def test_exports_with_any_batch_size(model, clips, frames):
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (clips[:2, :frames],), dynamic_shapes={"pixel_values": {0: batch}})
    exported = program.module()(clips[:, :frames])
    torch.testing.assert_close(exported["logits"], model(clips[:, :frames]).logits, rtol=1e-5, atol=1e-5)


# Training


def test_learning_rates_decay_by_stage(model):
    scales = learning_rate_scales(model, 0.5)
    backbone = model.hdf.backbone
    groups = {backbone.stem: 0.125, backbone.stages[0]: 0.25, backbone.stages[1]: 0.5, backbone.finish: 1.0}
    groups |= {model.hdf.dam: 1.0, model.fc_norm: 1.0, model.classifier: 1.0}
    for module, scale in groups.items():
        assert {scales[parameter] for parameter in module.parameters()} == {scale}
    assert scales.keys() == set(model.parameters())


def test_weight_decay_is_for_matrices_and_kernels_alone(model, tmp_path):
    trainer = HDFTrainer(
        model=model, args=HDFTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    )
    decayed = set(trainer.get_decay_parameter_names(model))
    backbone = {name for name, parameter in model.hdf.backbone.named_parameters() if parameter.ndim > 1}
    assert {name for name in decayed if ".dam." not in name} == {
        *(f"hdf.backbone.{name}" for name in backbone),
        "fc_norm.linear.weight",
        "classifier.weight",
    }
    assert "stem.temporal.weight" in backbone and "stages.0.blocks.0.squeeze_excitation.reduce.weight" in backbone


def test_drop_path_grows_over_the_blocks(clips):
    model = build(drop_path_rate=0.4).train()
    blocks = [block for stage in X3DBackbone.layers(model.hdf.backbone) for block in stage.blocks]
    assert [block.drop_path.rate for block in blocks] == pytest.approx([0.0, 0.2, 0.4])
    assert all(isinstance(block.drop_path, DropPath) for block in blocks)
    block, samples = blocks[2], torch.randn(64, 4, 4, 8, 12)
    block.eval()
    block.drop_path.train()
    kept = (
        (block(samples) != block.shortcut_norm(block.shortcut(samples.flatten(0, 1))).relu().view(64, 4, 6, 4, 6))
        .flatten(1)
        .any(1)
    )
    assert 0.4 < kept.float().mean() < 0.8  # whole clips, not frames
    assert model.eval()(clips).logits.equal(build().eval()(clips).logits)
