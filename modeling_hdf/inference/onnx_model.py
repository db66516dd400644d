"""An exported classifier that onnxruntime runs in place of the torch model."""

from pathlib import Path

import torch
from torch import nn

from ..configuration_hdf import HDFConfig
from ..data.extras import needs_module
from ..modeling_hdf import HDFVideoClassifierOutput
from ..video_processing_hdf import HDFVideoProcessor

CONFIG, PROCESSOR = "config.json", "video_preprocessor_config.json"


class OnnxClassifier(nn.Module):
    """
    Runs an ONNX file of [`export_model`] on the CPU, with the interface of [`HDFForVideoClassification`] that
    inference and evaluation need. It has no weights in torch.

    Args:
        path (`str` or `Path`): the ONNX file.
        config ([`HDFConfig`]): the configuration of the exported model.

    Raises:
        ModuleNotFoundError: without onnxruntime.
        ValueError: if onnxruntime cannot load the file, or if it takes other clips or gives other classes than the
            configuration says.
    """

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, path: str | Path, config: HDFConfig):
        super().__init__()
        needs_module("onnxruntime", None, f"The ONNX model {path}")
        import onnxruntime

        self.config = config
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors; a warning would only repeat what the optimizer does
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class but this one
            raise ValueError(f"Model {path} cannot be loaded: {' '.join(str(error).split())}") from error
        self._check_shapes(path)

    def _check_shapes(self, path: str | Path) -> None:
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = {node.name: tuple(node.shape[1:]) for node in nodes}  # without the batch
        wanted = {"pixel_values": clip_shape(self.config), "logits": (self.config.num_labels,)}
        for name in wanted:
            if found.get(name) != wanted[name]:
                raise ValueError(
                    f"Model {path} does not belong to the {CONFIG} beside it: `{name}` of one clip has the shape "
                    f"{found.get(name)} in the model, {wanted[name]} in {CONFIG}. Keep the files of one `hdf export` "
                    "together."
                )

    def forward(self, pixel_values: torch.Tensor) -> HDFVideoClassifierOutput:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, num_frames, 3, height, width)`): prepared clips.

        Returns:
            [`HDFVideoClassifierOutput`]: `logits` of shape `(batch_size, num_labels)`, divided by the calibration
            temperature, on the device of `pixel_values`.
        """
        (logits,) = self._session.run(["logits"], {"pixel_values": pixel_values.float().cpu().numpy()})
        return HDFVideoClassifierOutput(logits=torch.from_numpy(logits).to(pixel_values.device))


def clip_shape(config: HDFConfig) -> tuple[int, int, int, int]:
    """The shape `(num_frames, 3, height, width)` of a clip that a model takes."""
    size = config.image_size
    return (config.num_frames, 3, *((size, size) if isinstance(size, int) else size))


def load_onnx(path: str | Path) -> tuple[OnnxClassifier, HDFVideoProcessor]:
    """
    The model of an ONNX file, and the video processor that lies beside it.

    Raises:
        FileNotFoundError: if one of the files that `hdf export` wrote together is missing.
        ValueError: if the model cannot be loaded.
    """
    path = Path(path)
    missing = [name for name in (path.name, CONFIG, PROCESSOR) if not (path.parent / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path}: {', '.join(missing)} is missing; `hdf export` writes {path.name}, {CONFIG} and {PROCESSOR} "
            "together: keep them in one folder."
        )
    config = HDFConfig.from_pretrained(path.parent)
    return OnnxClassifier(path, config), HDFVideoProcessor.from_pretrained(path.parent)


__all__ = ["CONFIG", "PROCESSOR", "OnnxClassifier", "clip_shape", "load_onnx"]
