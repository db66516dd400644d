"""Exported models in an environment that has onnxruntime and numpy alone: no torch, no transformers.

    python tests/environments/exported.py

Exports the shipped checkpoint with this environment's package, as fp32 and as int8, makes a fresh virtual environment,
and there runs the example of docs/export.md with both files. The logits must be those of the model. Needs the package
registry.
"""

import re
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

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
ABSENT = """
import importlib.util

for name in ("torch", "transformers", "modeling_hdf", "onnx"):
    assert importlib.util.find_spec(name) is None, name
"""


def example(name: str = "model.onnx", clip: str | None = None) -> str:
    """
    The first Python example of docs/export.md, for a file of an export; it also keeps its `logits`. With a clip, the
    second example stands before it, which writes the frames of the clip.
    """
    classify, read = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    if classify.count("exported/model.onnx") != 1 or read.count("examples/face.mp4") != 1:
        raise ValueError(f"{PAGE}: the examples must name exported/model.onnx and examples/face.mp4 once.")
    classify = classify.replace("exported/model.onnx", f"exported/{name}") + f'np.save("{name}.npy", logits)\n'
    return classify if clip is None else read.replace("examples/face.mp4", clip) + classify


def main() -> None:
    model, processor = load_classifier(TINY_SYNTHETIC)
    factors = ClipFactors(label=EMOTIONS[0], duration=1.0, fps=processor.num_frames)
    frames = render_clip(factors, processor.crop_size["height"], 0, (0, 0))[: processor.num_frames]
    expected = model(processor(frames, return_tensors="pt")["pixel_values"]).logits.detach().numpy()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        export_model(model, processor, folder / "exported", "onnx")
        quantize_int8(folder / "exported")
        np.save(folder / "frames.npy", frames)
        venv.create(folder / "venv", with_pip=True)
        subprocess.run([folder / "venv" / "bin" / "pip", "install", "-q", "onnxruntime", "numpy"], check=True)
        for name, most in (("model.onnx", 1e-4), ("model_int8.onnx", 1.0)):
            command = [folder / "venv" / "bin" / "python", "-I", "-c", ABSENT + example(name)]
            subprocess.run(command, cwd=folder, check=True)
            difference = np.abs(np.load(folder / f"{name}.npy") - expected).max()
            if not difference <= most:
                raise SystemExit(f"{name}: logits differ by {difference}")
            print(f"{name}: logits differ by at most {difference:.1g}")


if __name__ == "__main__":
    main()
