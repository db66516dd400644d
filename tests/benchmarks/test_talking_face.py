"""The recorded labels of a real man who talks: the table of the page, from the record."""

import json
import sys
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from modeling_hdf.evaluation.weights import weights_sha256
from modeling_hdf.pretrained import SMALL_FACES

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "benchmarks/results/small_faces/talking_face.json").read_text())
PAGE = (ROOT / "docs/real-faces.md").read_text()


@pytest.fixture(scope="module")
def talking_face():
    sys.path.insert(0, str(ROOT / "benchmarks/small_faces"))
    try:
        import talking_face
    finally:
        sys.path.pop(0)
    return talking_face


def test_the_record_is_of_the_weights_that_ship():
    assert RECORD["weights_sha256"] == weights_sha256(SMALL_FACES)


def test_the_page_counts_the_recorded_labels(talking_face):
    windows = RECORD["windows"]
    assert len(windows) == 100
    assert not talking_face.SMILES & talking_face.UNCLEAR
    clear = [index for index in range(100) if index not in talking_face.UNCLEAR]
    rows = {"smile": [], "no smile": [], "unclear": [windows[index]["label"] for index in talking_face.UNCLEAR]}
    for index in clear:
        rows["smile" if index in talking_face.SMILES else "no smile"].append(windows[index]["label"])
    names = list(windows[0]["probabilities"])
    for name, labels in rows.items():
        assert f"| {name} | {len(labels)} | {' | '.join(str(labels.count(each)) for each in names)} |" in PAGE
    smiles = [index in talking_face.SMILES for index in clear]
    area = roc_auc_score(smiles, [windows[index]["probabilities"]["happiness"] for index in clear])
    assert talking_face.table(windows).endswith(f": {area:.3f}")


def test_each_label_is_that_of_the_largest_probability():
    for window in RECORD["windows"]:
        assert window["probabilities"][window["label"]] == max(window["probabilities"].values())


def test_another_film_is_refused(talking_face, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"another film")
    with pytest.raises(SystemExit, match="film.mp4 is another film than"):
        talking_face.measure(tmp_path / "film.mp4")
