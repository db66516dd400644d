"""The recorded labels of two real men on film: the table of the page, from the record."""

import json
import sys
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from modeling_hdf.evaluation.weights import weights_sha256
from modeling_hdf.pretrained import SMALL_FACES

ROOT = Path(__file__).parents[2]
RECORD = json.loads((ROOT / "benchmarks/results/small_faces/talking_faces.json").read_text())
PAGE = (ROOT / "docs/real-faces.md").read_text()


@pytest.fixture(scope="module")
def talking_faces():
    sys.path.insert(0, str(ROOT / "benchmarks/small_faces"))
    try:
        import talking_faces
    finally:
        sys.path.pop(0)
    return talking_faces


def test_the_record_is_of_the_weights_that_ship():
    assert RECORD["weights_sha256"] == weights_sha256(SMALL_FACES)


def test_no_window_is_of_two_kinds(talking_faces):
    for film in talking_faces.FILMS.values():
        named = [window for windows in film.kinds.values() for window in windows]
        assert len(named) == len(set(named))
        assert set(named) <= set(range(film.windows))


def test_the_page_counts_the_recorded_labels(talking_faces):
    rows = {}
    for man, names in (("a conversation", ["franck"]), ("before a webcam", ["cap12_edit", "cap13_edit2"])):
        for file in (f"{name}.mp4" for name in names):
            film, windows = talking_faces.FILMS[file], RECORD["films"][file]
            assert len(windows) == film.windows
            for index, window in enumerate(windows):
                kinds = [kind for kind, indices in film.kinds.items() if index in indices] or [film.others]
                rows.setdefault((man, kinds[0]), []).append(window["label"])
    assert len(rows) == 8
    names = list(RECORD["films"]["franck.mp4"][0]["probabilities"])
    for (man, kind), labels in rows.items():
        assert f"| {man} | {kind} | {len(labels)} | {' | '.join(str(labels.count(name)) for name in names)} |" in PAGE

    kinds, windows = talking_faces.FILMS["franck.mp4"].kinds, RECORD["films"]["franck.mp4"]
    clear = [index for index in range(100) if index not in kinds["unclear"]]
    smiles = [index in kinds["smile"] for index in clear]
    area = roc_auc_score(smiles, [windows[index]["probabilities"]["happiness"] for index in clear])
    assert talking_faces.table(RECORD["films"]).endswith(f": {area:.3f}")


def test_each_label_is_that_of_the_largest_probability():
    for windows in RECORD["films"].values():
        for window in windows:
            assert window["probabilities"][window["label"]] == max(window["probabilities"].values())


def test_another_film_is_refused(talking_faces, tmp_path):
    (tmp_path / "franck.mp4").write_bytes(b"another film")
    with pytest.raises(SystemExit, match=r"franck\.mp4 is another film than"):
        talking_faces.measure(tmp_path)
