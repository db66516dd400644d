import json

import pytest
from huggingface_hub import ModelCard

from modeling_hdf import HDFConfig
from modeling_hdf.hub import write_model_card

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
    "confusion_matrix": [[1, 0], [0, 0]],
    "seed": 17,
    "command": "accelerate launch examples/train.py --seed 17",
}


@pytest.fixture
def run(tmp_path):
    HDFConfig(num_frames=8, id2label={0: "happiness", 1: "sadness"}).save_pretrained(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def test_card_states_the_numbers_of_the_metrics_file(run):
    card = ModelCard.load(write_model_card(run))
    results = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert results == {"WAR": 0.7124, "UAR": 0.6876}
    assert card.data.pipeline_tag == "video-classification"
    assert card.data.library_name == "transformers"
    assert card.data.license == "apache-2.0"
    for text in (
        "0.7124",
        "0.6876",
        "| happiness | 0.8123 |",
        "| sadness | no clips |",
        "43 clips",
        METRICS["command"],
    ):
        assert text in card.text


@pytest.mark.parametrize("dataset, synthetic", [("synthetic", True), ("dfew", False)])
def test_card_of_a_model_from_rendered_faces_says_so(run, dataset, synthetic):
    (run / "metrics.json").write_text(json.dumps(METRICS | {"dataset": dataset}))
    assert ("Synthetic data only" in write_model_card(run).read_text()) == synthetic


def test_controls_appear_only_if_measured(run):
    assert "first frame alone" not in write_model_card(run).read_text()
    (run / "metrics.json").write_text(json.dumps(METRICS | {"controls": {"first_war": 0.1512, "shuffled_war": 0.6}}))
    assert "WAR 0.1512" in write_model_card(run).read_text()


def test_card_says_which_fold_how_many_views_and_how_the_model_was_selected(run):
    plain = write_model_card(run).read_text()
    assert "Peer protocol" not in plain and "views" not in plain and "fold" not in plain
    marks = {"dataset": "dfew", "fold": 3, "peer_protocol": True, "num_views": 2, "temporal_sampling": "dense"}
    (run / "metrics.json").write_text(json.dumps(METRICS | marks))
    card = ModelCard.load(write_model_card(run))
    title = "dfew fold 3, test split, 2 views, PEER PROTOCOL: model selected on this split"
    assert title in card.text and "**Peer protocol.**" in card.text
    assert "dense sampling and the probabilities of 2 temporal views" in card.text
    assert [result.dataset_name for result in card.data.eval_results] == [title, title]


@pytest.mark.parametrize("field", ["war", "uar", "recall", "command", "peer_protocol", "fold"])
def test_a_missing_number_raises_instead_of_a_card_without_it(run, field):
    (run / "metrics.json").write_text(json.dumps({key: value for key, value in METRICS.items() if key != field}))
    with pytest.raises(KeyError, match=field):
        write_model_card(run)
    assert not (run / "README.md").exists()


def test_weights_that_start_from_others_stay_under_their_licence(run):
    (run / "metrics.json").write_text(json.dumps(METRICS | {"base_model": "org/videomae"}))
    card = ModelCard.load(write_model_card(run))
    assert card.data.license == "other" and card.data.base_model == "org/videomae"
    assert "start from `org/videomae`, whose licence applies" in card.text
    assert "Weights and code: Apache-2.0" not in card.text
