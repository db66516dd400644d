"""Exported models in an environment that has onnxruntime and numpy alone: no torch, no transformers.

    python tests/environments/exported.py

Exports the shipped checkpoint with this environment's package, as fp32 and as int8, makes a fresh virtual environment,
and there prepares a clip with numpy and runs both files. The logits must be those of the model. Needs the package
registry.
"""

import subprocess
import tempfile
import venv
from pathlib import Path

import numpy as np

from modeling_hdf import TINY_SYNTHETIC
from modeling_hdf.configuration_hdf import EMOTIONS
from modeling_hdf.data import ClipFactors, render_clip
from modeling_hdf.inference import load_classifier
from modeling_hdf.inference.export import export_model, quantize_int8

# The example of docs/export.md, with frames of the model's size.
RUN = """
import importlib.util, json, sys
import numpy as np
import onnxruntime

for name in ("torch", "transformers", "modeling_hdf", "onnx"):
    assert importlib.util.find_spec(name) is None, name
settings = json.load(open("video_preprocessor_config.json"))
labels = json.load(open("config.json"))["id2label"]
frames = np.load("frames.npy")  # (num_frames, height, width, 3), uint8
pixels = (frames * settings["rescale_factor"] - settings["image_mean"]) / settings["image_std"]
pixel_values = pixels.transpose(0, 3, 1, 2)[None].astype(np.float32)  # (1, num_frames, 3, height, width)
for name in ("model.onnx", "model_int8.onnx"):
    (logits,) = onnxruntime.InferenceSession(name).run(["logits"], {"pixel_values": pixel_values})
    np.save(name + ".npy", logits)
    print(name, labels[str(logits[0].argmax())])
"""


def main() -> None:
    model, processor = load_classifier(TINY_SYNTHETIC)
    factors = ClipFactors(label=EMOTIONS[0], duration=1.0, fps=processor.num_frames)
    frames = render_clip(factors, processor.crop_size["height"], 0, (0, 0))[: processor.num_frames]
    expected = model(processor(frames, return_tensors="pt")["pixel_values"]).logits.detach().numpy()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        export_model(model, processor, folder, "onnx")
        quantize_int8(folder)
        np.save(folder / "frames.npy", frames)
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([folder / "venv" / "bin" / "pip", "install", "-q", "onnxruntime", "numpy"], check=True)
        subprocess.run([folder / "venv" / "bin" / "python", "-I", "-c", RUN], cwd=folder, check=True)
        for name, most in (("model.onnx", 1e-4), ("model_int8.onnx", 1.0)):
            difference = np.abs(np.load(folder / f"{name}.npy") - expected).max()
            if not difference <= most:
                raise SystemExit(f"{name}: logits differ by {difference}")
            print(f"{name}: logits differ by at most {difference:.1g}")


if __name__ == "__main__":
    main()
