"""Model cards, filled from the numbers of a run and from nothing else."""

import json
from importlib import resources
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .configuration_hdf import HDFConfig
from .reports import evaluation_title


def write_model_card(folder: str | Path) -> Path:
    """
    Writes `README.md` from the `config.json` and the `metrics.json` of a training run.

    Args:
        folder (`str` or `Path`): output folder of `examples/train.py`.

    Returns:
        `Path`: the card.

    Raises:
        FileNotFoundError: if one of the two files is missing.
        KeyError: if `metrics.json` lacks a field.
    """
    folder = Path(folder)
    config = HDFConfig.from_pretrained(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    dataset = metrics["dataset"]
    name = f"hdf-{dataset}"
    evaluation = {
        "task_type": "video-classification",
        "dataset_type": dataset,
        "dataset_name": evaluation_title(metrics),
        "dataset_split": metrics["split"],
    }
    base_model = metrics["base_model"]
    data = ModelCardData(
        # Weights that start from others stay under the licence of those.
        license="apache-2.0" if base_model is None else "other",
        base_model=None if base_model is None or Path(base_model).exists() else base_model,
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["hdf", "videomae", "dynamic-facial-expression-recognition"],
        model_name=name,
        eval_results=[
            EvalResult(metric_type="accuracy", metric_name="WAR", metric_value=round(metrics["war"], 4), **evaluation),
            EvalResult(metric_type="recall", metric_name="UAR", metric_value=round(metrics["uar"], 4), **evaluation),
        ],
    )
    template = resources.files("modeling_hdf.hub_cards") / "model_card.md"
    with resources.as_file(template) as template_path:
        card = ModelCard.from_template(
            data,
            template_path=str(template_path),
            model_name=name,
            backbone="VideoMAE",
            labels=list(config.id2label.values()),
            synthetic=dataset == "synthetic",
            evaluation=evaluation_title(metrics),
            num_frames=config.num_frames,
            image_size=config.image_size,
            **{
                key: metrics[key]
                for key in (
                    *("dataset", "split", "peer_protocol", "temporal_sampling", "num_views"),
                    *("base_model", "num_clips", "seed", "war", "uar", "recall", "command"),
                )
            },
            controls=metrics.get("controls"),
        )
    card.save(folder / "README.md")
    return folder / "README.md"


__all__ = ["write_model_card"]
