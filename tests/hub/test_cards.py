"""Model cards: every number from the metrics, and what they say of data, licence and use."""

from importlib import resources
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from modeling_hdf import HDFConfig
from modeling_hdf.evaluation.results import Results
from modeling_hdf.hub.cards import model_card, planned_model_card

CONFIG = HDFConfig(num_frames=8, id2label={0: "happiness", 1: "sadness"})
METRICS = {
    "base_model": None,
    "dataset": "synthetic",
    "fold": None,
    "split": "test",
    "peer_protocol": False,
    "temporal_sampling": "uniform",
    "num_views": 1,
    "num_clips": 43,
    "war": 0.71239,
    "uar": 0.68765,
    "recall": {"happiness": 0.81234, "sadness": None},
    "confusion_matrix": [[35, 8], [0, 0]],
    "seed": 17,
    "command": "accelerate launch examples/train.py --seed 17",
}


def card_of(**changes) -> ModelCard:
    """The card, read back from its text."""
    return ModelCard(str(model_card(CONFIG, Results.from_dict(METRICS | changes))))


def test_card_states_the_numbers_of_the_metrics_file():
    card = card_of()
    results = {result.metric_name: result for result in card.data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {"WAR": 0.7124, "UAR": 0.6876}
    assert {name: result.metric_type for name, result in results.items()} == {"WAR": "accuracy", "UAR": "recall"}
    assert card.data.pipeline_tag == "video-classification"
    assert card.data.library_name == "transformers"
    assert card.data.license == "apache-2.0" and card.data.datasets is None and card.data.base_model is None
    assert card.data.license_name is None and "Weights and code: Apache-2.0" in card.text
    assert "Paths in the command are shortened" in card.text and "\n\n\n" not in card.text
    for text in (
        "0.7124",
        "0.6876",
        "| happiness | 0.8123 |",
        "| sadness | no clips |",
        "43 clips",
        METRICS["command"],
    ):
        assert text in card.text, text
    assert "looks at 8 frames, spread evenly over the clip, of 224x224 pixels" in card.text


def test_card_counts_the_clips_that_could_not_be_read():
    lost = [{"clip_id": str(number), "message": "damaged"} for number in range(3)]
    text = card_of(unreadable=lost).text
    assert "43 clips, seed 17:\n\n> 3 more clips of this split could not be read, and count in no figure.\n\n|" in text
    assert (
        "> 1 more clip of this split could not be read, and counts in no figure." in card_of(unreadable=lost[:1]).text
    )
    assert all("could not be read" not in card_of(**more).text for more in ({}, {"unreadable": []}))


@pytest.mark.parametrize("dataset, synthetic", [("synthetic", True), ("dfew", False)])
def test_card_of_a_model_from_rendered_faces_says_so(dataset, synthetic):
    assert ("Synthetic data only" in card_of(dataset=dataset).text) == synthetic
    assert ("they show no real person" in card_of(dataset=dataset).text) == synthetic


def test_liveness_appears_only_if_measured():
    assert "DAM gates" not in card_of().text
    layers = {"3": {"temporal": 0.0123}, "12": {"temporal": 0.5, "frequency": 1.384}}
    text = card_of(gate_liveness={"num_clips": 40, "layers": layers, "flipped": 0.125}).text
    assert "mean over 40 clips, 12.5 % of the answers change" in text
    assert "| 3 | 1.2 % | off |\n| 12 | 50 % | 138 % |" in text and "\n\n\n" not in text


def test_controls_appear_only_if_measured():
    assert "first frame alone" not in card_of().text
    assert "WAR 0.1512" in card_of(controls={"first_war": 0.1512, "shuffled_war": 0.6}).text


def test_card_says_which_fold_how_many_views_and_how_the_model_was_selected():
    plain = card_of().text
    assert "Peer protocol" not in plain and "views" not in plain and "fold" not in plain
    card = card_of(
        dataset="dfew", fold=3, peer_protocol=True, num_views=2, temporal_sampling="dense", sampling_stride=4
    )
    title = "dfew fold 3, test split, 2 views, PEER PROTOCOL: model selected on this split"
    assert title in card.text and "**Peer protocol.**" in card.text
    assert (
        "Measured with dense sampling with stride 4, 2 views per clip, whose probabilities are averaged." in card.text
    )
    one = card_of(temporal_sampling="dense", sampling_stride=4).text
    assert "Measured with dense sampling with stride 4, 1 view per clip. The" in one
    assert "the figures of one fold, not the mean over all folds" in card.text
    for result in card.data.eval_results:
        assert (result.dataset_type, result.dataset_name) == ("dfew", title)
        assert (result.dataset_config, result.dataset_split) == ("fold3", "test")


@pytest.mark.parametrize("field", ["war", "uar", "recall", "command", "peer_protocol", "fold"])
def test_a_missing_number_raises_instead_of_a_card_without_it(field):
    with pytest.raises(ValueError, match=f"metrics.json has no {field}; evaluate the model again"):
        model_card(CONFIG, Results.from_dict({key: value for key, value in METRICS.items() if key != field}))


def test_metrics_with_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"\['sadness', 'happiness'\]"):
        card_of(recall={"sadness": 0.5, "happiness": 0.5})


def test_weights_that_start_from_others_stay_under_their_licence():
    card = card_of(base_model="org/videomae")
    assert card.data.license == "other" and card.data.base_model == "org/videomae"
    assert card.data.license_name == "see-model-card"
    assert "start from `org/videomae`, whose licence applies" in card.text
    assert "Weights and code: Apache-2.0" not in card.text


def test_a_local_folder_is_no_base_model_of_the_hub():
    card = card_of(base_model="local:videomae")
    assert card.data.license == "other" and card.data.base_model is None
    assert "a checkpoint of the publisher's own, `videomae`" in card.text and "local:" not in card.content


def test_a_card_tells_the_weights_of_each_start_that_are_recorded():
    digests = {"base_model_sha256": {"model_a.safetensors": "0123456789" * 6}}
    first = {"base_model": "org/videomae", "dataset": "folder", "base_model_revision": "c0ffee" * 6 + "c0ff"}
    card = card_of(base_model="local:a", trainings=[{"base_model": "local:a", "dataset": "dfew"} | digests, first])
    assert "publisher's own, `a` (SHA-256 of model\\_a.safetensors 012345678901). That" in card.text
    assert "It started from `org/videomae` (commit c0ffeec0ffee). What that was" in card.text


SMALL_FACES = {"base_model": None, "dataset": "fer2013,synthetic"}


@pytest.mark.parametrize("dataset", ["synthetic", "folder"])
@pytest.mark.parametrize("between", [[], [{"base_model": "shipped:hdf-small-faces", "dataset": "ravdess"}]])
def test_terms_of_what_the_start_was_trained_on_bind_the_weights(dataset, between):
    start = "local:second" if between else "shipped:hdf-small-faces"
    card = card_of(
        dataset=dataset,
        base_model=start,
        trainings=[{"base_model": start, "dataset": dataset}, *between, SMALL_FACES],
    )
    titles = "RAVDESS and FER2013" if between else "FER2013"
    assert card.data.license == "other" and card.data.datasets == (["ravdess"] if between else []) + ["fer2013"]
    assert "Its authors state no licence: take what is trained on it for research" in card.text
    assert f"trained on {titles}, whose terms are above: take the weights to be for research" in card.text
    assert f"holds no clip of {titles}." in card.text
    assert "from `hdf-small-faces`, which ships with `hdf-dfer`" in card.text
    assert "That checkpoint was trained on FER2013 and rendered faces." in card.text
    assert ("a checkpoint of the publisher's own" in card.text) == bool(between)
    assert "Synthetic data only" not in card.text and "does not carry over" not in card.text
    assert ("Tested on rendered faces alone" in card.text) == (dataset == "synthetic")
    assert "Apache-2.0." in card.text and "Weights and code: Apache-2.0" not in card.text
    assert "\n\n\n" not in card.text


def test_a_start_from_rendered_faces_alone_leaves_the_weights_free():
    start = {"base_model": "shipped:hdf-tiny-synthetic", "dataset": "synthetic"}
    card = card_of(base_model=start["base_model"], trainings=[start, {"base_model": None, "dataset": "synthetic"}])
    assert card.data.license == "apache-2.0" and "Weights and code: Apache-2.0" in card.text
    assert "Synthetic data only" in card.text and "from `hdf-tiny-synthetic`, which ships" in card.text


@pytest.mark.parametrize("base_model", ["org/hdf", "local:hdf"])
def test_who_published_a_start_from_rendered_faces_may_have_chosen_another_licence(base_model):
    start = {"base_model": base_model, "dataset": "synthetic"}
    card = card_of(base_model=base_model, trainings=[start, {"base_model": None, "dataset": "synthetic"}])
    assert card.data.license == "other" and "`hdf`, whose licence applies" in card.text.replace("org/", "")
    assert "Synthetic data only" in card.text and "Weights and code: Apache-2.0" not in card.text


@pytest.mark.parametrize("base_model", ["org/videomae", "local:videomae"])
def test_a_card_says_if_the_data_of_the_start_are_not_recorded(base_model):
    card = card_of(base_model=base_model)
    assert "What that was trained on is not recorded here" in card.text
    assert ("see its own card" in card.text) == (base_model == "org/videomae")
    assert "Synthetic data only" not in card.text and "Tested on rendered faces alone" in card.text


def test_a_licence_beside_the_card_is_linked():
    plain = card_of()
    assert plain.data.license_link is None and "LICENSE.md" not in plain.content
    for changes in ({}, {"dataset": "fer2013"}):
        results = Results.from_dict(METRICS | changes)
        card = ModelCard(str(model_card(CONFIG, results, has_license=True)))
        assert (card.data.license, card.data.license_link) == ("other", "LICENSE.md")
        assert "[`LICENSE.md`](LICENSE.md) holds the terms of the weights." in card.text
        assert "Weights and code: Apache-2.0" not in card.text
    assert ModelCard(str(model_card(CONFIG, None, has_license=True))).data.license_link == "LICENSE.md"


@pytest.mark.parametrize("dataset, name", [("dfew", "DFEW"), ("ferv39k", "FERV39k"), ("mafw", "MAFW")])
def test_the_licence_of_gated_data_binds_the_weights(dataset, name):
    card = card_of(dataset=dataset)
    assert card.data.license == "other" and card.data.datasets == [dataset]
    for text in (
        f"{name} is licence-gated",
        "no clip of it may be handed on",
        f"trained on {name}, whose terms are above",
    ):
        assert text in card.text, text
    assert "Weights and code: Apache-2.0" not in card.text


@pytest.mark.parametrize(
    "dataset, names, notice",
    [
        ("ravdess", ["RAVDESS"], "CC BY-NC-SA 4.0: not for commercial use"),
        ("cremad", ["CREMA-D"], "Open Database License 1.0"),
        ("fer2013", ["FER2013"], "Its authors state no licence"),
        ("ravdess,cremad,fer2013", ["RAVDESS", "CREMA-D", "FER2013"], "Open Database License 1.0"),
        ("ravdess,folder", ["RAVDESS"], "ask the publisher under which terms"),
    ],
)
def test_a_card_states_the_terms_of_each_dataset_of_the_training(dataset, names, notice):
    card = card_of(dataset=dataset, fold=None)
    published = [name for name in dataset.split(",") if name != "folder"]
    assert card.data.license == "other" and card.data.datasets == published
    assert notice in card.text and f"trained on {' and '.join(names)}, whose terms are above" in card.text
    assert all(f"{name}" in card.text.partition("## Training")[2] for name in names)
    assert ("the publisher's own" in card.text) == ("folder" in dataset)


@pytest.mark.parametrize("base_model", [None, "org/videomae"])
def test_who_publishes_weights_of_own_videos_chooses_their_licence(base_model):
    card = card_of(dataset="folder", base_model=base_model)
    assert card.data.license == "other" and card.data.license_name == "see-model-card"
    assert "The weights were trained on videos of the publisher's own: ask the publisher" in card.text
    assert "Weights and code: Apache-2.0" not in card.text


def chain_of(*trainings: tuple[str, str | None]) -> dict:
    """Fields of the results of a training after others, the last one first."""
    chain = [{"dataset": dataset, "base_model": start} for dataset, start in trainings]
    return chain[0] | {"trainings": chain}


def test_a_card_tells_what_others_trained_from_what_the_publisher_trained():
    others = [("folder", "local:pre"), ("folder", None)]
    text = card_of(**chain_of(("synthetic", "local:mine"), ("folder", "alice/hdf"), *others)).text
    assert (
        "starts from a checkpoint of the publisher's own, `mine`. That checkpoint was trained on videos of the" in text
    )
    assert "It started from `alice/hdf`. That checkpoint was trained on videos of its publisher." in text
    assert "started from a checkpoint of its publisher, `pre`. That checkpoint was trained on videos of its" in text
    assert "started from a checkpoint of its publisher, `pre`, whose licence applies\ntoo." in text
    assert "Videos of the publisher's own are among the training data." in text
    assert "publisher" not in card_of(**chain_of(("synthetic", "alice/hdf"), *others)).text.replace(
        "its publisher", ""
    )


def test_a_model_that_was_not_evaluated_has_no_number_and_claims_no_licence():
    card = ModelCard(str(model_card(CONFIG, None, "org/mine")))
    assert "Not evaluated yet" in card.text and "Weights and code: Apache-2.0" not in card.text
    assert card.data.eval_results is None and card.data.license == "other" and card.data.metrics is None
    assert "WAR" not in card.text and "training_curves" not in card.text


@pytest.mark.parametrize(
    "revision, text", [(None, '"org/mine", trust'), ("fold2", '"org/mine", revision="fold2", trust')]
)
def test_the_example_names_repository_and_branch(revision, text):
    card = model_card(CONFIG, Results.from_dict(METRICS), "org/mine", revision)
    assert f"model={text}_remote_code=True" in card.text and card.text.startswith("\n# mine\n")
    assert card.data.model_name == "mine"


@pytest.mark.parametrize("dataset", ["dfew", "ferv39k"])
def test_the_cards_of_the_planned_models_are_what_the_template_gives(dataset):
    stored = (Path(str(resources.files("modeling_hdf.hub_cards"))) / f"hdf-{dataset}.md").read_text(encoding="utf-8")
    assert stored == str(planned_model_card(dataset)), "write the card anew: str(planned_model_card(...))"


@pytest.mark.parametrize("dataset", ["dfew", "ferv39k"])
def test_the_cards_of_the_planned_models_are_complete_but_for_the_numbers(dataset):
    card = ModelCard(str(planned_model_card(dataset)))
    assert card.data.eval_results is None and card.data.base_model == "MCG-NJU/videomae-base"
    assert card.data.datasets == [dataset] and card.data.license == "other"
    assert card.text.count("not trained yet") == 2 + 7 and "**Not trained yet.**" in card.text
    assert f'model="owner/hdf-{dataset}"' in card.text and "Paths in the command" not in card.text
    assert f"--recipe {dataset} --data-dir" in card.text and "160x160 pixels" in card.text
    assert "\n\n\n" not in card.text
    for heading in ("Use", "Results", "Training", "Limits and ethics", "Licence", "Citation"):
        assert f"\n## {heading}\n" in card.text
