"""Export of a classifier to ONNX and `torch.export`, checked against the model before anything is kept."""

import copy
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..configuration_hdf import EMOTIONS
from ..data.extras import needs_module
from ..data.files import read_json, whole_or_absent, write_text
from ..data.synthetic.dynamics import ClipFactors
from ..data.synthetic.renderer import render_clip
from ..modeling_hdf import HDFForVideoClassification
from ..video_processing_hdf import HDFVideoProcessor
from .onnx_model import CONFIG, PROCESSOR, OnnxClassifier, clip_shape

TOLERANCE = 1e-4
FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
INT8 = "model_int8.onnx"
_BATCH_SIZES = (1, 3)  # to check that the size of a batch is free
_RENDERED_SIZE, _RENDERED_FPS = 224, 12


class _Logits(nn.Module):
    """The logits of a model as the only output."""

    def __init__(self, model: HDFForVideoClassification):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values).logits


def export_model(
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    folder: str | os.PathLike,
    kind: str,
    clips: Sequence[Any] = (),
) -> float:
    """
    Writes a classifier as one file, with its configuration and video processor as JSON beside it.

    The exported function takes `pixel_values` `(batch_size, num_frames, 3, height, width)`, float32, prepared as
    `video_preprocessor_config.json` says, with any batch size. It returns `logits` `(batch_size, num_labels)` of the
    classes in `config.json`, divided by the calibration temperature.

    Args:
        model ([`HDFForVideoClassification`]): the model; it stays as it is, a copy is exported.
        processor ([`HDFVideoProcessor`]): its video processor.
        folder (`str` or `Path`): where to write; may hold exports of the same model.
        kind (`"onnx"` or `"torch"`): `model.onnx`, or `model.pt2` for `torch.export.load`.
        clips (*optional*): clips to check too, as the processor takes them: paths of cropped faces, or frames.

    Returns:
        The largest difference of a logit between the exported file and the model, on random, rendered and own clips.

    Raises:
        FileExistsError: as [`check_target`] does.
        ModuleNotFoundError: for ONNX without the extra `export`.
        OSError, ValueError: if a clip cannot be read; see [`HDFVideoProcessor`].
        ValueError: if a logit differs by more than 1e-4; then no file is written.
    """
    check_target(model, processor, folder, FILES[kind])
    path = Path(folder) / FILES[kind]
    batches = [processor(clip, return_tensors="pt")["pixel_values"] for clip in clips]
    model = copy.deepcopy(model).float().cpu().eval()
    with whole_or_absent(path) as part:
        runner = (_write_onnx if kind == "onnx" else _write_torch)(model, part)
        difference = check_agreement(runner, model, processor, batches)
    for name, text in _settings(model, processor).items():
        if not (path.parent / name).exists():
            write_text(path.parent / name, text)
    return difference


def check_target(
    model: HDFForVideoClassification, processor: HDFVideoProcessor, folder: str | os.PathLike, *names: str
) -> None:
    """
    Whether files of a model can be written into a folder.

    Args:
        model, processor, folder: see [`export_model`].
        names (`str`): the files, such as `"model.onnx"`.

    Raises:
        FileExistsError: if one of the files exists, or if the classes or the preprocessing in the folder are those of
            another model.
    """
    for path in (Path(folder) / name for name in names):
        if path.exists():
            raise FileExistsError(f"{path} exists already: give another folder, or delete it.")
    for name, text in _settings(model, processor).items():
        path = Path(folder) / name
        if not path.exists():
            continue
        there = read_json(path, "Give another folder, or delete it.")
        if _without_version(there) != _without_version(json.loads(text)):
            raise FileExistsError(f"{path} belongs to another model: give another folder.")


def _settings(model: HDFForVideoClassification, processor: HDFVideoProcessor) -> dict[str, str]:
    """The JSON files beside an exported model, by name."""
    return {CONFIG: model.config.to_json_string(), PROCESSOR: processor.to_json_string()}


def _without_version(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_version(entry) for name, entry in value.items() if name != "transformers_version"}


def _export(model: HDFForVideoClassification) -> torch.export.ExportedProgram:
    pixel_values = torch.zeros(2, *clip_shape(model.config))
    shapes = {"pixel_values": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(_Logits(model).eval(), (pixel_values,), dynamic_shapes=shapes)
    graphs = [module.graph for module in program.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]
    for node in (node for graph in graphs for node in graph.nodes):
        node.meta.pop("stack_trace", None)  # paths of this machine, and much text
    return program


def _write_torch(model: HDFForVideoClassification, path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    torch.export.save(_export(model), path)
    return torch.export.load(path).module()


def _write_onnx(model: HDFForVideoClassification, path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        needs_module(module, "export", "Export to ONNX")
    torch.onnx.export(
        _export(model),
        dynamo=True,
        input_names=["pixel_values"],
        output_names=["logits"],
        external_data=False,
        verbose=False,
    ).save(path)
    onnx_model = OnnxClassifier(path, model.config)
    return lambda pixel_values: onnx_model(pixel_values).logits


@torch.no_grad()
def check_agreement(
    runner: Callable[[torch.Tensor], torch.Tensor],
    model: HDFForVideoClassification,
    processor: HDFVideoProcessor,
    batches: Sequence[torch.Tensor] = (),
) -> float:
    """
    The largest difference between the logits of `runner` and of `model`, on batches of several sizes of normal noise,
    on rendered faces of every class, and on `batches` of prepared clips.

    Raises:
        ValueError: if it is more than 1e-4, or no number.
    """
    generator = torch.Generator().manual_seed(0)
    shape = clip_shape(model.config)
    noise = [torch.randn(size, *shape, generator=generator) for size in _BATCH_SIZES]
    batches = [*noise, rendered_clips(processor), *batches]
    differences = [(runner(batch) - model(batch).logits).abs().max() for batch in batches]
    difference = float(torch.stack(differences).max())  # NaN if one of them is
    if not difference <= TOLERANCE:
        raise ValueError(
            f"The exported model differs from the model by {difference:.2g} in a logit, more than {TOLERANCE:g}: "
            "it was not written."
        )
    return difference


def rendered_clips(processor: HDFVideoProcessor) -> torch.Tensor:
    """One rendered clip of each emotion, prepared: `(7, num_frames, 3, height, width)`."""
    frames = [
        render_clip(
            ClipFactors(label=label, identity=index, duration=1.0, fps=_RENDERED_FPS), _RENDERED_SIZE, 0, (0, index)
        )
        for index, label in enumerate(EMOTIONS)
    ]
    return processor(frames, return_tensors="pt")["pixel_values"]


def quantize_int8(folder: str | os.PathLike) -> OnnxClassifier:
    """
    Writes `model_int8.onnx` beside `model.onnx`: the weights of its matrix products in 8 bits, per channel.
    Activations are quantised while it runs, so no data is needed. The graph is simplified before, as onnxruntime
    advises: constants are computed and equal weights stored once, which changes no answer.

    Args:
        folder (`str` or `Path`): result of [`export_model`].

    Returns:
        [`OnnxClassifier`]: the quantised model.

    Raises:
        FileExistsError: if the file exists.
    """
    needs_module("onnxruntime", "export", "Quantisation")
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from .onnx_model import load_onnx

    source, target = Path(folder) / FILES["onnx"], Path(folder) / INT8
    if target.exists():
        raise FileExistsError(f"{target} exists already: give another folder, or delete it.")
    with whole_or_absent(target) as part, tempfile.TemporaryDirectory() as temporary:
        simplified = Path(temporary) / FILES["onnx"]
        quant_pre_process(source, simplified, skip_symbolic_shape=True)  # it fails on DAM, and no shape is needed
        quantize_dynamic(
            simplified,
            part,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,  # 7 bits: with 8, processors without VNNI overflow
            weight_type=QuantType.QInt8,
        )
    return load_onnx(target)[0]


__all__ = [
    "FILES",
    "INT8",
    "TOLERANCE",
    "check_agreement",
    "check_target",
    "export_model",
    "quantize_int8",
    "rendered_clips",
]
