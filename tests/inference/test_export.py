"""Export to ONNX and torch.export, and the exported model in place of the torch model."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import move_dam_weights, tiny_config

from modeling_hdf import TINY_SYNTHETIC, HDFConfig, HDFForVideoClassification, HDFVideoProcessor
from modeling_hdf.cli.main import main
from modeling_hdf.configuration import configuration_path
from modeling_hdf.hub.gate import check_files
from modeling_hdf.inference import export, load_classifier, predict_video
from modeling_hdf.inference.classifier import move
from modeling_hdf.inference.export import check_agreement, check_target, export_model, quantize_int8, rendered_clips
from modeling_hdf.inference.onnx_model import OnnxClassifier
from modeling_hdf.training.recipes import build_processor

pytest.importorskip("onnxscript")  # of the extra `export` alone
onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
shape_inference = pytest.importorskip("onnxruntime.quantization.shape_inference")

ROOT = Path(__file__).parents[2]
FACE = str(ROOT / "examples" / "face.mp4")


@pytest.fixture(scope="module")
def tiny() -> tuple[HDFForVideoClassification, HDFVideoProcessor]:
    torch.manual_seed(0)
    model = move_dam_weights(HDFForVideoClassification(tiny_config(calibration_temperature=2.0))).eval()
    return model, build_processor(model.config.backbone_config)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """Folder of the shipped checkpoint as ONNX, also with 8-bit weights."""
    folder = tmp_path_factory.mktemp("shipped")
    export_model(*load_classifier(TINY_SYNTHETIC), folder, "onnx")
    quantize_int8(folder)
    return folder


def test_onnx_gives_the_logits_of_the_model_for_batches_of_any_size(tiny, tmp_path):
    model, processor = tiny
    assert export_model(model, processor, tmp_path, "onnx") < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for batch_size in (1, 2, 7):
        clips = torch.randn(batch_size, 4, 3, 16, 24)
        (logits,) = session.run(None, {"pixel_values": clips.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(logits, model(clips).logits.numpy(), atol=1e-4)


def test_x3d_is_exported_too(tmp_path):
    torch.manual_seed(0)
    config = HDFConfig.from_pretrained(configuration_path("model", "x3d_tiny"))
    model = move_dam_weights(HDFForVideoClassification(config)).eval()
    assert export_model(model, build_processor(config.backbone_config), tmp_path, "onnx") < 1e-4
    # onnxruntime is slow to write into a part of a map, as PyTorch does here.
    assert not [node for node in onnx.load(tmp_path / "model.onnx").graph.node if node.op_type == "ScatterND"]


def test_torch_export_runs_without_this_package_and_without_transformers(tiny, tmp_path):
    model, processor = tiny
    export_model(model, processor, tmp_path, "torch")
    clips = torch.randn(5, 4, 3, 16, 24)
    torch.save(clips, tmp_path / "clips.pt")
    code = (
        "import sys, torch\n"
        "program = torch.export.load('model.pt2')\n"
        "torch.save(program.module()(torch.load('clips.pt', weights_only=True)), 'logits.pt')\n"
        "assert not {'transformers', 'modeling_hdf'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    with torch.no_grad():
        logits = torch.load(tmp_path / "logits.pt", weights_only=True)
        torch.testing.assert_close(logits, model(clips).logits, atol=1e-4, rtol=0)


def test_one_folder_takes_both_files_and_they_hold_no_path_of_this_machine(tiny, tmp_path):
    for kind in ("onnx", "torch"):
        export_model(*tiny, tmp_path, kind)
        content = (tmp_path / export.FILES[kind]).read_bytes()  # the entries of a .pt2 are not compressed
        for module in (torch, export):
            assert str(Path(module.__file__).parent).encode() not in content


def test_classes_and_preprocessing_lie_beside_the_file(shipped):
    model, processor = load_classifier(TINY_SYNTHETIC)
    labels = json.loads((shipped / "config.json").read_text())["id2label"]
    assert {int(number): name for number, name in labels.items()} == model.config.id2label
    written = json.loads((shipped / "video_preprocessor_config.json").read_text())
    for name in ("num_frames", "size", "crop_size", "image_mean", "image_std", "rescale_factor"):
        assert written[name] == json.loads(processor.to_json_string())[name], name


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_an_export_that_differs_is_refused_and_not_written(tiny, tmp_path, monkeypatch, kind):
    model, processor = tiny
    other = HDFForVideoClassification(model.config).eval()
    right = export._export
    monkeypatch.setattr(export, "_export", lambda _: right(other))
    with pytest.raises(ValueError, match="differs from the model by .* in a logit, more than 0.0001"):
        export_model(model, processor, tmp_path / "out", kind)
    assert not any((tmp_path / "out").iterdir())


def test_the_check_sees_a_single_wrong_clip_and_a_value_that_is_no_number(tiny):
    model, processor = tiny
    for wrong in (2e-4, float("nan")):

        def runner(clips, wrong=wrong):
            logits = model(clips).logits.clone()
            if len(clips) == 7:  # the rendered clips
                logits[6, 0] += wrong
            return logits

        with pytest.raises(ValueError, match="differs"):
            check_agreement(runner, model, processor)


def test_a_file_that_exists_is_not_replaced(shipped):
    with pytest.raises(FileExistsError, match="model.onnx exists already"):
        export_model(*load_classifier(TINY_SYNTHETIC), shipped, "onnx")
    with pytest.raises(FileExistsError, match="model_int8.onnx exists already"):
        quantize_int8(shipped)


def folder_of(model: HDFForVideoClassification, processor: HDFVideoProcessor, folder: Path) -> dict[Path, str]:
    """Writes the JSON files of an export."""
    files = {
        "config.json": model.config.to_json_string(),
        "video_preprocessor_config.json": processor.to_json_string(),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return {folder / name: text for name, text in files.items()}


@pytest.mark.parametrize("changed", ["config.json", "video_preprocessor_config.json"])
def test_the_folder_of_another_model_is_refused_before_the_work(tiny, tmp_path, monkeypatch, changed):
    model, processor = tiny
    other = HDFForVideoClassification(tiny_config(calibration_temperature=3.0)), processor
    if changed != "config.json":
        other = model, build_processor(model.config.backbone_config)
        other[1].image_mean = [0.1, 0.2, 0.3]
    files = folder_of(*other, tmp_path)
    monkeypatch.setattr(export, "_export", lambda _: pytest.fail("the work has begun"))
    for kind in ("onnx", "torch"):
        with pytest.raises(FileExistsError, match=f"{changed} belongs to another model"):
            export_model(model, processor, tmp_path, kind)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == files


def test_another_version_of_transformers_makes_no_other_model(tiny, tmp_path):
    folder_of(*tiny, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"transformers_version": "5.0.0"}))
    check_target(*tiny, tmp_path, "model.onnx")


def test_a_file_beside_the_configuration_of_another_model_is_refused(shipped, tiny):
    with pytest.raises(
        ValueError, match=r"`pixel_values` of one clip has the shape \(8, 3, 64, 64\) in the model, \(4"
    ):
        OnnxClassifier(shipped / "model.onnx", tiny[0].config)
    config = HDFConfig.from_pretrained(TINY_SYNTHETIC)
    config.id2label = {0: "calm", 1: "tense"}
    with pytest.raises(ValueError, match=r"`logits` of one clip has the shape \(7,\) in the model, \(2,\)"):
        OnnxClassifier(shipped / "model_int8.onnx", config)


@pytest.fixture
def written_at_once(monkeypatch):
    """`torch.export` takes its time; here the model itself takes the part of its export."""

    def write(model, path):
        path.touch()
        return lambda pixel_values: model(pixel_values).logits

    monkeypatch.setattr(export, "_write_torch", write)


def test_the_model_stays_as_it_was(tmp_path, written_at_once):
    model = HDFForVideoClassification(tiny_config()).to(torch.bfloat16).train()
    export_model(model, build_processor(model.config.backbone_config), tmp_path, "torch")
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16} and model.training


def test_own_clips_are_checked_too(tiny, tmp_path, monkeypatch, written_at_once):
    model, processor = tiny
    own = processor(FACE, return_tensors="pt")["pixel_values"]
    assert export_model(model, processor, tmp_path / "right", "torch", [FACE]) < 1e-4

    def write(model, path):
        return lambda clips: model(clips).logits + (clips.shape == own.shape and torch.equal(clips, own))

    monkeypatch.setattr(export, "_write_torch", write)
    with pytest.raises(ValueError, match="differs from the model by 1 in a logit"):
        export_model(model, processor, tmp_path / "wrong", "torch", [FACE])


def test_the_command_names_a_clip_of_ones_own_that_is_none(tmp_path, capsys, written_at_once):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    clips = ["--clips", FACE, str(tmp_path / "broken.mp4")]
    assert main(["export", "hdf-tiny-synthetic", str(out), "--to", "torch", *clips]) == 1
    assert "broken.mp4" in capsys.readouterr().err and not out.exists()
    assert main(["export", "hdf-tiny-synthetic", str(out), "--to", "torch", *clips[:2]]) == 0


def test_an_exported_file_is_not_exported_again(shipped, tmp_path, capsys):
    assert main(["export", str(shipped / "model.onnx"), str(tmp_path / "out")]) == 1
    assert "model.onnx is exported already: give the model" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--device", "cuda"], ["--dtype", "float16"]])
def test_a_device_or_type_that_onnx_does_not_run_in_is_refused(shipped, capsys, options):
    assert main(["predict", "--whole", "--model", str(shipped / "model.onnx"), FACE, *options]) == 1
    assert "An ONNX model runs on the CPU in float32" in capsys.readouterr().err
    model, _ = load_classifier(str(shipped / "model.onnx"))
    assert move(model) is move(model, "cpu", "float32") is model


def test_without_onnxruntime_the_advice_is_onnxruntime_alone(shipped, monkeypatch):
    monkeypatch.setattr("modeling_hdf.data.extras.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="needs onnxruntime: pip install onnxruntime.$"):
        load_classifier(str(shipped / "model.onnx"))


def test_the_example_of_the_documentation_gives_the_logits_of_the_model(shipped, tmp_path):
    example = runpy.run_path(str(ROOT / "tests" / "environments" / "exported.py"))["example"]
    model, processor = load_classifier(TINY_SYNTHETIC)
    frames = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    np.save(tmp_path / "frames.npy", frames)
    (tmp_path / "exported").symlink_to(shipped)
    for name, most in (("model.onnx", 1e-4), ("model_int8.onnx", 1.0)):
        code = "import sys; sys.modules['torch'] = None\n" + example(name)
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
        with torch.no_grad():
            expected = model(processor(frames, return_tensors="pt")["pixel_values"]).logits.numpy()
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), expected, atol=most)


def test_the_reader_of_the_documentation_takes_the_frames_of_the_processor(shipped, tmp_path):
    example = runpy.run_path(str(ROOT / "tests" / "environments" / "exported.py"))["example"]
    (tmp_path / "exported").symlink_to(shipped)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    code = "import sys; sys.modules['torch'] = None\n" + example("model.onnx", "examples/face.mp4")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    logits = torch.from_numpy(np.load(tmp_path / "model.onnx.npy"))
    model, processor = load_classifier(TINY_SYNTHETIC)
    expected = predict_video(model, processor, FACE)
    found = dict(zip(model.config.id2label.values(), logits.softmax(-1)[0].tolist(), strict=True))
    assert found == pytest.approx(expected, abs=0.02)


def test_int8_is_smaller_and_keeps_the_classes_of_rendered_faces(shipped):
    sizes = {path.name: path.stat().st_size for path in shipped.glob("*.onnx")}
    assert sizes["model_int8.onnx"] < 0.6 * sizes["model.onnx"]
    model, processor = load_classifier(TINY_SYNTHETIC)
    clips = rendered_clips(processor)
    with torch.no_grad():
        expected = model(clips).logits
    for name, most in (("model.onnx", 1e-4), ("model_int8.onnx", 1.0)):
        logits = load_classifier(str(shipped / name))[0](clips).logits
        assert float((logits - expected).abs().max()) < most
        assert logits.argmax(1).tolist() == expected.argmax(1).tolist()


def test_int8_is_simplified_first_without_a_warning_and_gives_the_answers_of_the_plain_graph(
    shipped, tmp_path, monkeypatch, caplog
):
    def quantized(name: str) -> tuple[torch.Tensor, int]:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("model.onnx", "config.json", "video_preprocessor_config.json"):
            shutil.copy(shipped / file, folder)
        logits = quantize_int8(folder)(clips).logits
        return logits, (folder / "model_int8.onnx").stat().st_size

    clips = rendered_clips(load_classifier(TINY_SYNTHETIC)[1])
    simplified, size = quantized("simplified")
    assert "pre-processing" not in caplog.text
    monkeypatch.setattr(shape_inference, "quant_pre_process", lambda source, target, **_: shutil.copy(source, target))
    plain, other_size = quantized("plain")
    assert "pre-processing" in caplog.text and size < other_size
    np.testing.assert_allclose(simplified, plain, atol=1e-4)


def test_predict_takes_the_file_as_a_model(shipped, capsys):
    assert main(["predict", "--whole", "--model", str(shipped / "model.onnx"), FACE, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["predictions"][FACE]
    model, processor = load_classifier(TINY_SYNTHETIC)
    expected = predict_video(model, processor, FACE)
    assert list(answers) == list(expected)
    np.testing.assert_allclose(list(answers.values()), list(expected.values()), atol=1e-4)


def test_a_file_without_its_neighbours_and_a_damaged_file_are_refused(shipped, tmp_path):
    content = (shipped / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileNotFoundError, match="config.json, video_preprocessor_config.json is missing"):
        load_classifier(str(tmp_path / "model.onnx"))
    for name in ("config.json", "video_preprocessor_config.json"):
        (tmp_path / name).write_bytes((shipped / name).read_bytes())
    with pytest.raises(ValueError, match="model.onnx cannot be loaded"):
        load_classifier(str(tmp_path / "model.onnx"))


def test_the_command_prints_the_loss_of_int8(tmp_path, capsys):
    clips = {"num_train": 7, "num_validation": 7, "num_test": 21}
    data = json.dumps(clips | {"cache_dir": str(tmp_path / "rendered")})
    command = ["export", "hdf-tiny-synthetic", str(tmp_path), "--int8", "--dataset", "synthetic", "--overrides", data]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    rendered = [path.name for path in tmp_path.rglob("*.arrow")]
    assert rendered and all(name.startswith("synthetic_faces-test") for name in rendered)
    out = ["--output", str(tmp_path / "out")]
    assert main(["evaluate", str(tmp_path / "model_int8.onnx"), *command[4:], *out, "--json"]) == 0
    captured_again = capsys.readouterr()
    measured = json.loads(captured_again.out)
    assert "21 of 35 clips (test split)" in captured_again.err
    assert "gate_liveness" not in measured  # ONNX hides its layers
    assert main(["report", out[1]]) == 0
    assert "layers of an ONNX file cannot be seen" in (tmp_path / "out" / "report.html").read_text()
    assert result["int8"]["uar"] == pytest.approx(measured["uar"]) and result["int8"]["clips"] == 21
    loss = 100 * (result["int8"]["uar_of_the_model"] - result["int8"]["uar"])
    assert f"a {'gain' if loss < 0 else 'loss'} of {abs(loss):.1f} points on 21 clips" in captured.err


def test_the_record_of_the_training_travels_and_training_clips_are_refused(tiny, tmp_path, capsys):
    saved, out = tmp_path / "saved", tmp_path / "out"
    for part in tiny:
        part.save_pretrained(saved)
    run = {"dataset": "dfew", "fold": 1, "peer_protocol": False, "dataset_overrides": {}}
    shipped = json.loads(Path(TINY_SYNTHETIC, "metrics.json").read_text())
    (saved / "metrics.json").write_text(json.dumps(shipped | run))
    assert main(["export", str(saved), str(out)]) == 0
    check_files({"metrics.json": out / "metrics.json"})  # no path of this machine
    capsys.readouterr()
    evaluate = ["evaluate", str(out / "model.onnx"), "--dataset", "dfew", "--data-dir", str(tmp_path), "--fold", "2"]
    assert main(evaluate) == 1
    assert "fold 1" in capsys.readouterr().err

    (saved / "metrics.json").write_text(json.dumps(shipped | run | {"fold": 3}))
    assert main(["export", str(saved), str(out), "--to", "torch"]) == 1
    assert "metrics.json is not the record of" in capsys.readouterr().err
    assert not (out / "model.pt2").exists() and json.loads((out / "metrics.json").read_text())["fold"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8"], "needs a --dataset"),
        (["--int8", "--to", "torch", "--dataset", "synthetic"], "is for `--to onnx`"),
        (["--dataset", "synthetic"], "give both or none"),
    ],
)
def test_int8_and_a_dataset_belong_together(tmp_path, capsys, options, message):
    assert main(["export", "hdf-tiny-synthetic", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
