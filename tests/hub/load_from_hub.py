"""Loads a model from the Hub as a stranger would, and prints as JSON what came out. Imports nothing of the project.

python load_from_hub.py REPOSITORY VIDEO [REVISION]
"""

import importlib.util
import json
import sys

import torch
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

repository, video = sys.argv[1:3]
where = {"trust_remote_code": True, "revision": sys.argv[3] if len(sys.argv) > 3 else "main"}
config = AutoConfig.from_pretrained(repository, **where)
base = AutoModel.from_pretrained(repository, **where)
model = AutoModelForVideoClassification.from_pretrained(repository, **where)
processor = AutoVideoProcessor.from_pretrained(repository, **where)
classify = pipeline("video-classification", model=repository, **where)
pixel_values = processor(video, return_tensors="pt").pixel_values
with torch.no_grad():
    outputs = {"features": base(pixel_values).last_hidden_state, "logits": model(pixel_values).logits}
print(
    json.dumps(
        {
            "package": importlib.util.find_spec("modeling_hdf") is not None,
            "classes": [type(part).__name__ for part in (config, base, model, processor, classify.model)],
            "modules": [type(part).__module__.split(".")[0] for part in (config, base, model, processor)],
            "pixel_values": pixel_values.flatten().tolist(),
            **{name: value.flatten().tolist() for name, value in outputs.items()},
            "pipeline": classify(video, top_k=config.num_labels),
            "card": open(hf_hub_download(repository, "README.md", revision=where["revision"])).read(),
        }
    )
)
