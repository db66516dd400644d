"""Model cards, whose numbers come only from a `metrics.json`."""

from importlib import resources

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..backbone_hdf import as_pair
from ..configuration import configuration_path
from ..configuration_hdf import BACKBONES, HDFConfig
from ..data.arguments import PUBLISHED_DATASETS
from ..evaluation.liveness import spread_text
from ..evaluation.privacy import is_hub_id
from ..evaluation.results import Results
from .markdown import code_block, plain_text
from .origin import Origin

# `license_name` of weights that no licence of the Hub fits: a section of the card gives their terms.
_LICENSE_NAME = "see-model-card"
LICENSE = "LICENSE.md"  # terms of the weights, beside them
# Fields of the results that a card shows.
_FIELDS = (
    *("base_model", "dataset", "fold", "split", "peer_protocol", "temporal_sampling", "num_views", "num_clips"),
    *("seed", "war", "uar", "recall", "command"),
)


def model_card(
    config: HDFConfig,
    results: Results | None,
    repository: str | None = None,
    revision: str | None = None,
    *,
    shipped: str | None = None,
    has_license: bool = False,
) -> ModelCard:
    """
    The card of a trained model.

    Args:
        config ([`HDFConfig`]): configuration of the model.
        results ([`Results`], *optional*): results of the training. `None` for a model that was not evaluated: the card
            then says so, and gives no numbers, no training data and no start weights.
        repository (`str`, *optional*): repository of the card, `"owner/name"`; used in its title and example.
        revision (`str`, *optional*): branch of the card, if not the main one.
        shipped (`str`, *optional*): name of the model, if it is one that ships with the package.
        has_license (`bool`, *optional*, defaults to `False`): whether a `LICENSE.md` with the terms of the weights
            lies beside the card.

    Raises:
        ValueError: if the results lack a field, or their classes are not those of the model.
    """
    if results is None:
        name = _title(repository, "hdf")
        return _fill(
            config, Results(), state="not evaluated", name=name, repository=repository, has_license=has_license
        )
    labels = list(config.id2label.values())
    results.require(_FIELDS)
    if list(results.recall) != labels:
        raise ValueError(f"{results.source} has the classes {list(results.recall)}, config.json {labels}.")
    return _fill(
        config,
        results,
        state="evaluated",
        name=shipped or _title(repository, "hdf-" + results.dataset.replace(",", "-")),
        repository=repository,
        revision=revision,
        shipped=shipped is not None,
        has_license=has_license,
    )


def planned_model_card(dataset: str) -> ModelCard:
    """
    The card of a model before its training. In place of each number it says "not trained yet".

    Args:
        dataset (`str`): `"dfew"` or `"ferv39k"`; also the name of the recipe.
    """
    recipe = yaml.safe_load(configuration_path("train", dataset).read_text(encoding="utf-8"))
    config = HDFConfig(**recipe["model_overrides"])
    fold = 1 if dataset == "dfew" else None
    fold_option = "" if fold is None else f" --fold {fold}"
    plan = Results(
        base_model=recipe["model_name_or_path"],
        dataset=dataset,
        fold=fold,
        split="test",
        peer_protocol=False,
        temporal_sampling=recipe["temporal_sampling"],
        num_views=recipe["num_views"],
        recall=dict.fromkeys(config.id2label.values()),
        command=f"hdf train --recipe {dataset} --data-dir {PUBLISHED_DATASETS[dataset][0]}{fold_option}",
    )
    name = f"hdf-{dataset}"
    return _fill(config, plan, state="not trained", name=name, repository=f"owner/{name}")


def _title(repository: str | None, default: str) -> str:
    return default if repository is None else repository.split("/")[-1]


def _fill(
    config: HDFConfig,
    results: Results,
    *,
    state: str,
    name: str,
    repository: str | None,
    revision: str | None = None,
    shipped: bool = False,
    has_license: bool = False,
) -> ModelCard:
    """Fills the template; ignores the results of a model that was not evaluated."""
    origin = Origin.of(results)
    backbone = BACKBONES[config.backbone_config.model_type].title
    is_evaluated = state != "not evaluated"
    fields = {name: getattr(results, name) for name in _FIELDS} if is_evaluated else {}
    template = resources.files("modeling_hdf.hub_cards") / "model_card.md"
    with resources.as_file(template) as path:
        return ModelCard.from_template(
            _metadata(results, state == "evaluated", name, backbone.lower(), origin, has_license),
            template_path=str(path),
            state=state,
            model_name=name,
            backbone=backbone,
            repository=repository or "path/or/repository",
            revision=revision,
            shipped=shipped,
            labels=list(config.id2label.values()),
            classes=", ".join(map(plain_text, config.id2label.values())),
            plain_text=plain_text,
            spread_text=spread_text,
            code_block=code_block,
            num_frames=config.num_frames,
            size="x".join(map(str, as_pair(config.image_size))),
            titles=[PUBLISHED_DATASETS[name][0] for name in origin.published],
            notices=[PUBLISHED_DATASETS[name][1].notice for name in origin.published],
            origin=origin,
            is_free=_is_free(origin, has_license),
            license_file=LICENSE if has_license else None,
            evaluation=results.title if is_evaluated else None,
            frames=results.frames if is_evaluated else None,
            controls=results.controls,
            liveness=results.gate_liveness,
            sections=results.card_sections or {},
            num_unreadable=len(results.unreadable or []),
            **fields,
        )


def _metadata(
    results: Results, has_numbers: bool, name: str, backbone: str, origin: Origin, has_license: bool
) -> ModelCardData:
    """What the Hub reads of a card."""
    is_free, base_model = _is_free(origin, has_license), results.base_model
    return ModelCardData(
        license="apache-2.0" if is_free else "other",
        license_name=None if is_free else _LICENSE_NAME,
        license_link=LICENSE if has_license else None,
        base_model=base_model if base_model is not None and is_hub_id(base_model) else None,
        datasets=origin.published or None,
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=["hdf", backbone, "facial-expression-recognition", "dynamic-facial-expression-recognition"],
        model_name=name,
        metrics=["accuracy", "recall"] if has_numbers else None,
        eval_results=_eval_results(results) if has_numbers else None,
    )


def _is_free(origin: Origin, has_license: bool) -> bool:
    """Whether the weights are under the licence of the code: nobody else could have put them under another."""
    return origin.is_rendered and origin.is_of_package and not has_license


def _eval_results(results: Results) -> list[EvalResult]:
    """WAR and UAR for the metadata, with their dataset, fold and split."""
    evaluation = {
        "task_type": "video-classification",
        "dataset_type": results.dataset,
        "dataset_name": results.title,
        "dataset_config": None if results.fold is None else f"fold{results.fold}",
        "dataset_split": results.split,
    }
    return [
        EvalResult(metric_type="accuracy", metric_name="WAR", metric_value=round(results.war, 4), **evaluation),
        EvalResult(
            metric_type="recall",
            metric_name="UAR",
            metric_value=round(results.uar, 4),
            metric_args={"average": "macro"},
            **evaluation,
        ),
    ]


__all__ = ["LICENSE", "model_card", "planned_model_card"]
