"""A model folder, loaded with `trust_remote_code=True` by a process that cannot import the package."""

import json
import os
import subprocess
import sys
from pathlib import Path

# Run by an isolated interpreter. Nothing here may import from the project.
REMOTE_PROGRAM = """
import importlib.abc
import json
import sys

class Blocker(importlib.abc.MetaPathFinder):
    # An editable install has a finder of its own, so an isolated interpreter alone could still find the package.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "modeling_hdf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
try:
    import modeling_hdf
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the package can be imported, so this run would prove nothing")

from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

folder, video, resaved = sys.argv[1:]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
base = AutoModel.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForVideoClassification.from_pretrained(folder, trust_remote_code=True)
processor = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
classify = pipeline("video-classification", model=folder, trust_remote_code=True)
pixel_values = processor(video, return_tensors="pt").pixel_values
model.save_pretrained(resaved)
processor.save_pretrained(resaved)
print(json.dumps({
    "classes": [[type(x).__module__, type(x).__name__] for x in (config, base, model, processor, classify.model)],
    "pixel_values": pixel_values.flatten().tolist(),
    "features": base(pixel_values).last_hidden_state.flatten().tolist(),
    "logits": model(pixel_values).logits.flatten().tolist(),
    "pipeline": classify(video, top_k=7),
}))
"""


def load_without_package(folder: Path, video: Path, resaved: Path, elsewhere: Path) -> dict:
    """
    What such a process gets from a folder.

    Args:
        folder, video (`Path`): the model, and the video to show it.
        resaved (`Path`): folder to save model and processor into again.
        elsewhere (`Path`): an empty folder to work in.

    Returns:
        `"classes"` (module and name of configuration, base model, classifier, processor, and the pipeline's model),
        `"pixel_values"`, `"features"`, `"logits"` (flat) and `"pipeline"`, its answer.
    """
    program = elsewhere / "program.py"
    program.write_text(REMOTE_PROGRAM)
    environment = {**os.environ, "HF_MODULES_CACHE": str(elsewhere / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", str(program), str(folder), str(video), str(resaved)]
    run = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])
