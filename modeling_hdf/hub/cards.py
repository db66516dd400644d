"""Model cards, filled from the numbers of a `metrics.json` and from nothing else."""

from importlib import resources

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..configuration import configuration_path
from ..configuration_hdf import HDFConfig
from ..pretrained import SHIPPED
from ..videomae_hdf import as_pair
from .client import is_hub_id

# Their clips are handed out on a signed agreement; the name is the dataset's own.
GATED_DATASETS = {"dfew": "DFEW", "ferv39k": "FERV39k", "mafw": "MAFW"}
# `base_model` of a run that started from a folder, of which only the name is told; no repository is called so.
LOCAL_PREFIX = "local:"
# `license_name` of weights whose terms no licence of the Hub states: the section of the card does.
_LICENSE_NAME = "see-model-card"
# Of `metrics.json`, what a card shows.
_FIELDS = (
    *("base_model", "dataset", "fold", "split", "peer_protocol", "temporal_sampling", "num_views", "num_clips"),
    *("seed", "war", "uar", "recall", "command"),
)


def evaluation_title(metrics: dict) -> str:
    """
    What an evaluation is of, in one line.

    Args:
        metrics (`dict`): `dataset`, `fold` (or None), `split`, `num_views` and `peer_protocol`.
    """
    fold = "" if metrics["fold"] is None else f" fold {metrics['fold']}"
    views = "" if metrics["num_views"] == 1 else f", {metrics['num_views']} views"
    peers = ", PEER PROTOCOL: model selected on this split" if metrics["peer_protocol"] else ""
    split = "all splits" if metrics["split"] == "all" else f"{metrics['split']} split"
    return f"{metrics['dataset']}{fold}, {split}{views}{peers}"


def model_card(
    config: HDFConfig,
    metrics: dict | None,
    repository: str | None = None,
    revision: str | None = None,
    *,
    shipped: bool = False,
) -> ModelCard:
    """
    The card of a trained model.

    Args:
        config ([`HDFConfig`]): configuration of the model.
        metrics (`dict`, *optional*): what [`write_metrics`] wrote. `None` for a model that was not evaluated: the card
            then says so, holds no number, and claims nothing about data and start weights, which only that file knows.
        repository (`str`, *optional*): where the card goes, `"owner/name"`; gives its title and its example.
        revision (`str`, *optional*): the branch it goes to, if not the main one.
        shipped (`bool`, *optional*, defaults to `False`): the model is the one that ships with the package.

    Raises:
        KeyError: if `metrics` lacks a field.
        ValueError: if its classes are not those of the model.
    """
    if metrics is None:
        return _fill(config, {}, state="not evaluated", name=_title(repository, "hdf"), repository=repository)
    labels = list(config.id2label.values())
    if list(metrics["recall"]) != labels:
        raise ValueError(f"metrics.json has the classes {list(metrics['recall'])}, config.json {labels}.")
    return _fill(
        config,
        metrics,
        state="evaluated",
        name=SHIPPED if shipped else _title(repository, f"hdf-{metrics['dataset']}"),
        repository=repository,
        revision=revision,
        shipped=shipped,
    )


def planned_model_card(dataset: str) -> ModelCard:
    """
    The card of a model that its recipe will give, complete but for the numbers, each of which says "not trained yet".

    Args:
        dataset (`str`): `"dfew"` or `"ferv39k"`; also the name of the recipe.
    """
    recipe = yaml.safe_load(configuration_path("train", dataset).read_text(encoding="utf-8"))
    config = HDFConfig(**recipe["model_overrides"])
    fold = 1 if dataset == "dfew" else None
    fold_option = "" if fold is None else f" --fold {fold}"
    plan = {
        "base_model": recipe["model_name_or_path"],
        "dataset": dataset,
        "fold": fold,
        "split": "test",
        "peer_protocol": False,
        "temporal_sampling": recipe["temporal_sampling"],
        "num_views": recipe["num_views"],
        "recall": dict.fromkeys(config.id2label.values()),
        **dict.fromkeys(("num_clips", "seed", "war", "uar")),
        "command": f"accelerate launch examples/train.py --recipe {dataset} --data-dir {GATED_DATASETS[dataset]}"
        + fold_option,
    }
    name = f"hdf-{dataset}"
    return _fill(config, plan, state="not trained", name=name, repository=f"owner/{name}")


def _title(repository: str | None, default: str) -> str:
    return default if repository is None else repository.split("/")[-1]


def _fill(
    config: HDFConfig,
    metrics: dict,
    *,
    state: str,
    name: str,
    repository: str | None,
    revision: str | None = None,
    shipped: bool = False,
) -> ModelCard:
    """Fills the template; `metrics` is empty for a model that was not evaluated."""
    dataset, base_model = metrics.get("dataset"), metrics.get("base_model")
    is_free = _is_free(dataset, base_model)
    data = ModelCardData(
        license="apache-2.0" if is_free else "other",
        license_name=None if is_free else _LICENSE_NAME,
        base_model=base_model if base_model is not None and is_hub_id(base_model) else None,
        datasets=[dataset] if dataset in GATED_DATASETS else None,
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["hdf", "videomae", "facial-expression-recognition", "dynamic-facial-expression-recognition"],
        model_name=name,
        metrics=["accuracy", "recall"] if state == "evaluated" else None,
        eval_results=_results(metrics) if state == "evaluated" else None,
    )
    fields = {name: metrics[name] for name in _FIELDS} if metrics else {}
    template = resources.files("modeling_hdf.hub_cards") / "model_card.md"
    with resources.as_file(template) as path:
        return ModelCard.from_template(
            data,
            template_path=str(path),
            state=state,
            model_name=name,
            repository=repository or "path/or/repository",
            revision=revision,
            shipped=shipped,
            labels=list(config.id2label.values()),
            num_frames=config.num_frames,
            size="x".join(map(str, as_pair(config.image_size))),
            gated=GATED_DATASETS,
            is_free=is_free,
            local_prefix=LOCAL_PREFIX,
            evaluation=evaluation_title(metrics) if metrics else None,
            controls=metrics.get("controls"),
            **fields,
        )


def _is_free(dataset: str | None, base_model: str | None) -> bool:
    """Whether nothing but our own Apache-2.0 code and CC0 faces is behind the weights."""
    return base_model is None and dataset == "synthetic"


def _results(metrics: dict) -> list[EvalResult]:
    """WAR and UAR for the metadata, with the dataset, fold and split that they are of."""
    evaluation = {
        "task_type": "video-classification",
        "dataset_type": metrics["dataset"],
        "dataset_name": evaluation_title(metrics),
        "dataset_config": None if metrics["fold"] is None else f"fold{metrics['fold']}",
        "dataset_split": metrics["split"],
    }
    return [
        EvalResult(metric_type="accuracy", metric_name="WAR", metric_value=round(metrics["war"], 4), **evaluation),
        EvalResult(
            metric_type="recall",
            metric_name="UAR",
            metric_value=round(metrics["uar"], 4),
            metric_args={"average": "macro"},
            **evaluation,
        ),
    ]


__all__ = ["GATED_DATASETS", "LOCAL_PREFIX", "evaluation_title", "model_card", "planned_model_card"]
