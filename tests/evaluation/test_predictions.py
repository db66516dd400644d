"""Tables of predictions: what they hold, that files give them back, what is refused; and classes shared by name."""

import csv

import datasets
import numpy as np
import pandas as pd
import pytest

from modeling_hdf.data import EXPRESSIONS, MAFW_EXPRESSIONS
from modeling_hdf.data.mixtures import united_classes
from modeling_hdf.evaluation.predictions import (
    check_predictions,
    class_names,
    class_numbers,
    class_probabilities,
    confident_errors,
    measured_clips,
    predictions_table,
    read_predictions,
    unreadable_clips_of,
    write_predictions,
)
from modeling_hdf.evaluation.shared_classes import SharedClasses
from modeling_hdf.evaluation.summary import evaluate_predictions


def build_rows(labels: list[int], names: tuple[str, ...], **columns) -> datasets.Dataset:
    """Rows such as the builders give, with frames that no table may hold."""
    count = len(labels)
    features = {
        "clip": {"path": datasets.Value("string"), "frames": datasets.List(datasets.Value("string"))},
        "label": datasets.ClassLabel(names=list(names)),
        "clip_id": datasets.Value("string"),
        "fold": datasets.Value("int32"),
        "scene": datasets.Value("string"),
        "votes": datasets.List(datasets.Value("int32")),
    }
    values = {
        "clip": [{"path": None, "frames": ["1.jpg"]}] * count,
        "label": labels,
        "clip_id": [f"{index:05d}" for index in range(count)],
        "fold": [None] * count,
        "scene": ["01", "02", None, "01", "02"][:count],
        "votes": [[1, 2]] * count,
    }
    for name, (feature, value) in columns.items():
        features[name], values[name] = feature, value
    return datasets.Dataset.from_dict(values, features=datasets.Features(features))


def draw(num_clips: int, num_labels: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(num_labels), num_clips)


@pytest.fixture
def table() -> pd.DataFrame:
    background = (datasets.ClassLabel(names=["grey", "blobs"]), [0, 1, 1, 0, 0])
    rows = build_rows([0, 3, 1, 6, 3], EXPRESSIONS, background=background, yaw=(datasets.Value("float64"), [0.1] * 5))
    return predictions_table(rows, draw(5, 7), SharedClasses(list(EXPRESSIONS), list(EXPRESSIONS)))


def test_a_table_has_one_row_per_clip_with_probabilities_and_what_is_known(table):
    probabilities = draw(5, 7)
    assert table["clip_id"].tolist() == ["00000", "00001", "00002", "00003", "00004"]
    assert table["label"].tolist() == ["happiness", "anger", "sadness", "fear", "anger"]
    assert table["predicted"].tolist() == [EXPRESSIONS[number] for number in probabilities.argmax(1)]
    for number, name in enumerate(EXPRESSIONS):
        np.testing.assert_array_equal(table[f"probability_{name}"], probabilities[:, number])
    assert table["background"].tolist() == ["grey", "blobs", "blobs", "grey", "grey"]
    assert table["yaw"].tolist() == [0.1] * 5 and table["scene"][0] == "01"
    assert not {"clip", "votes", "fold"} & set(table.columns)  # nothing nested, nothing empty
    assert class_names(table) == list(EXPRESSIONS)
    np.testing.assert_array_equal(class_numbers(table), [0, 3, 1, 6, 3])
    np.testing.assert_array_equal(class_numbers(table, "predicted"), probabilities.argmax(1))
    np.testing.assert_array_equal(class_probabilities(table), probabilities)


@pytest.mark.parametrize("name", ["predictions.parquet", "predictions.csv"])
def test_files_give_the_table_back_to_the_last_bit(table, tmp_path, name):
    write_predictions(table, tmp_path)
    again = read_predictions(tmp_path / name)
    assert again.columns.tolist() == table.columns.tolist()
    for column in table.columns:
        assert again[column].isna().equals(table[column].isna()), column
        assert again[column].dropna().tolist() == table[column].dropna().tolist(), column


FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last in full width


@pytest.fixture
def hostile(table) -> pd.DataFrame:
    """Formulas in every kind of text: ids, classes, what else is known, and the names of columns."""
    formulas = [f'{start}HYPERLINK("http://example.org";"{start}")' for start in FORMULAS[:5]]
    names = {name: f"={name}" for name in EXPRESSIONS}
    renamed = {f"probability_{name}": f"probability_{names[name]}" for name in EXPRESSIONS}
    return table.assign(
        clip_id=formulas,
        label=table["label"].map(names),
        predicted=table["predicted"].map(names),
        scene=[*FORMULAS[5:9], None],
        light=[*FORMULAS[9:], "'", "''=", None],
        background=["+1", "-1", "'", "a", "=1"],
        yaw=[-0.1, -1.0, 0.5, 2.0, -3.0],
    ).rename(columns={**renamed, "yaw": "-yaw"})


@pytest.mark.parametrize("name", ["predictions.parquet", "predictions.csv"])
def test_texts_that_look_like_formulas_come_back_as_they_were(hostile, tmp_path, name):
    write_predictions(hostile, tmp_path)
    again = read_predictions(tmp_path / name)
    assert again.columns.tolist() == hostile.columns.tolist()
    for column in hostile.columns:
        assert again[column].dropna().tolist() == hostile[column].dropna().tolist(), column
        assert again[column].isna().tolist() == hostile[column].isna().tolist(), column


def test_no_text_of_the_csv_file_is_a_formula_and_numbers_stay_numbers(hostile, tmp_path):
    write_predictions(hostile, tmp_path)
    with open(tmp_path / "predictions.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert len(rows) == len(hostile) and all(len(row) == len(header) for row in rows)
    for row in [header, *rows]:
        for name, cell in zip(header, row, strict=True):
            if row is header or name != "'-yaw":
                assert not cell.startswith(FORMULAS), cell
    assert [float(row[header.index("'-yaw")]) for row in rows] == [-0.1, -1.0, 0.5, 2.0, -3.0]
    parquet = pd.read_parquet(tmp_path / "predictions.parquet")
    assert parquet["clip_id"].tolist() == hostile["clip_id"].tolist()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table.drop(columns="label"), "needs the columns label"),
        (lambda table: table[["clip_id", "label", "predicted", "probability_fear"]], "probability_<class>"),
        (lambda table: table[:0], "no row"),
        (lambda table: table.assign(clip_id="7"), "'7' is in the table of predictions more than once"),
        (
            lambda table: table.assign(label="contempt"),
            "5 clips have labels of another label set.*'contempt'.*'00000'",
        ),
        (lambda table: table.assign(probability_fear=np.nan), "5 clips have invalid probabilities.*nan.*'00000'"),
        (lambda table: table.assign(probability_fear=table.probability_fear + 1), "must sum to 1"),
        (lambda table: table.assign(probability_fear=-1.0, probability_anger=2.0), "at least 0"),
        (lambda table: table.assign(predicted="neutral"), "not the most probable class for . clips"),
    ],
)
def test_what_is_no_table_of_predictions_is_named(table, tmp_path, change, message):
    change(table).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=f"other.parquet: .*{message}"):
        read_predictions(tmp_path / "other.parquet")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.csv"):
        read_predictions(tmp_path / "nothing.csv")


# ---- Classes shared by name ----


def test_a_model_of_seven_classes_on_a_dataset_of_eleven(table):
    order = tuple(sorted(MAFW_EXPRESSIONS))  # numbers then mean other classes than in the model
    classes = SharedClasses(list(EXPRESSIONS), list(order))
    labels = [order.index(name) for name in ("anger", "contempt", "fear", "contempt", "happiness")]
    rows, left_out = classes.select(build_rows(labels, order))
    assert left_out == {"contempt": 2}
    assert rows["clip_id"][:] == ["00000", "00002", "00004"]
    probabilities = draw(3, 7)
    table = predictions_table(rows, probabilities, classes)
    assert table["label"].tolist() == ["anger", "fear", "happiness"]
    np.testing.assert_array_equal(class_probabilities(table), probabilities)  # in the model's order, nothing removed


def test_a_model_of_eleven_classes_on_a_dataset_of_seven():
    classes = SharedClasses(list(MAFW_EXPRESSIONS), list(reversed(EXPRESSIONS)))
    assert classes.only_in_model == ["contempt", "anxiety", "helplessness", "disappointment"]
    rows, left_out = classes.select(build_rows([0, 6], tuple(reversed(EXPRESSIONS))))
    assert left_out == {}
    logits = np.random.default_rng(0).normal(size=(2, 11))
    logits[:, 7] += 9.0  # contempt would win
    table = predictions_table(rows, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), classes)
    assert table["label"].tolist() == ["fear", "happiness"] and class_names(table) == list(EXPRESSIONS)
    # Taking classes out of the softmax is the softmax of the scores that stay.
    kept = np.exp(logits[:, :7])
    np.testing.assert_allclose(class_probabilities(table), kept / kept.sum(1, keepdims=True), rtol=1e-12)


def test_other_forms_of_a_name_are_the_same_class():
    classes = SharedClasses(["Happy", "Angry", "LAUGHING"], ["laughing", "sadness", "anger", "happiness"])
    assert classes.names == ["Happy", "Angry", "LAUGHING"] and classes.only_in_model == []
    assert classes.numbers == [2, None, 1, 0]


def test_names_match_as_they_do_in_a_mixture():
    model = ["ge\u0302ne\u0301", "Stra\u00dfe", "no pain"]
    data = ["NO  pain ", "g\u00ean\u00e9", "STRASSE"]
    assert SharedClasses(model, data).numbers == [2, 0, 1]
    assert united_classes({"one": model, "other": data}) == model


def test_too_little_in_common_is_named():
    with pytest.raises(ValueError, match="1 classes in common.*LABEL_0, fear.*happiness, sadness"):
        SharedClasses(["LABEL_0", "fear"], list(EXPRESSIONS))
    classes = SharedClasses(["fear", "anger"], list(EXPRESSIONS))
    with pytest.raises(ValueError, match="None of the 2 clips shows a class of the model: fear, anger"):
        classes.select(build_rows([0, 1], EXPRESSIONS))


def test_confident_errors_come_in_the_order_of_confidence_then_of_names():
    columns = ["clip_id", "label", "predicted", "probability_a", "probability_b", "probability_c"]
    clips = [
        ["right", "a", "a", 0.99, 0.01, 0.0],
        ["second", "a", "b", 0.25, 0.75, 0.0],
        ["first", "c", "b", 0.0, 0.875, 0.125],
        ["equal", "c", "a", 0.75, 0.125, 0.125],
        ["doubtful", "b", "c", 0.25, 0.25, 0.5],
    ]
    table = pd.DataFrame(clips, columns=columns)
    expected = [
        ["first", "c", "b", 0.875, 0.125],
        ["equal", "c", "a", 0.75, 0.125],
        ["second", "a", "b", 0.75, 0.25],
        ["doubtful", "b", "c", 0.5, 0.25],
    ]
    found = confident_errors(table, most=20)
    assert list(found) == ["clip_id", "label", "predicted", "confidence", "label_probability"]
    assert found.values.tolist() == expected
    assert confident_errors(table, most=2).values.tolist() == expected[:2]
    assert confident_errors(table[:1], most=2).empty


def test_a_clip_that_could_not_be_read_has_a_row_and_no_prediction(tmp_path):
    rows = build_rows([0, 3, 1, 6, 3], EXPRESSIONS)
    classes = SharedClasses(list(EXPRESSIONS), list(EXPRESSIONS))
    table = predictions_table(rows, draw(5, 7), classes, {3: "=a.mp4: is damaged"})
    write_predictions(table, tmp_path)
    for name in ("predictions.parquet", "predictions.csv"):
        read = read_predictions(tmp_path / name)
        assert read["clip_id"].tolist() == rows["clip_id"][:] and read["label"][3] == "fear"
        assert unreadable_clips_of(read) == {"00003": "=a.mp4: is damaged"}
        measured = measured_clips(read)
        assert measured["clip_id"].tolist() == ["00000", "00001", "00002", "00004"] and "error" not in measured
        np.testing.assert_array_equal(class_probabilities(measured), draw(5, 7)[[0, 1, 2, 4]])
    table.loc[3, "predicted"] = "fear"
    with pytest.raises(ValueError, match="Clip '00003' has both a prediction and an error"):
        check_predictions(table)


def test_no_figure_counts_a_clip_that_could_not_be_read():
    classes = SharedClasses(list(EXPRESSIONS), list(EXPRESSIONS))
    labels, probabilities = [0, 3, 1, 6, 3], draw(5, 7)
    with_lost = predictions_table(build_rows(labels, EXPRESSIONS), probabilities, classes, {1: "a", 4: "b"})
    kept = build_rows(labels, EXPRESSIONS).select([0, 2, 3])
    without = predictions_table(kept, probabilities[[0, 2, 3]], classes)
    scores, expected = (evaluate_predictions(each, num_resamples=20) for each in (with_lost, without))
    assert [entry["clip_id"] for entry in scores.pop("unreadable")] == ["00001", "00004"]
    assert expected.pop("unreadable") == [] and scores == expected
