"""What the page shows of an answer: one label for a person, and a video of a size that browsers play."""

import base64
import io
import re
from array import array
from types import SimpleNamespace

import av
import numpy as np
import pytest

gr = pytest.importorskip("gradio")
pytest.importorskip("cv2")
from modeling_hdf.data import encode_mp4  # noqa: E402
from modeling_hdf.demo.answers import Answer, answer  # noqa: E402
from modeling_hdf.demo.limits import DEMO_LIMITS  # noqa: E402
from modeling_hdf.inference import Person, Row, Timeline  # noqa: E402

LABELS = ("happiness", "sadness", "neutral")
HEIGHT, WIDTH = 720, 1440


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Answer:
    """An answer whose most frequent label, happiness, is not the most probable one in the mean, sadness."""
    path = tmp_path_factory.mktemp("answer") / "a.mp4"
    path.write_bytes(encode_mp4(np.full((3, HEIGHT, WIDTH, 3), 128, np.uint8), 1))
    probabilities = [[0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.1, 0.9, 0.0]]
    rows = [
        Row(1, float(second), second + 1.0, LABELS[int(np.argmax(each))], max(each), np.array(each), np.zeros(4), 1.0)
        for second, each in enumerate(probabilities)
    ]
    person = Person(1, [(0.0, 3.0)], array("d", [0.0, 1.0, 2.0]), array("f", [900, 180, 360, 360] * 3), 1.0)
    timeline = Timeline("a", LABELS, rows, [person], 0.0, 3.0, (HEIGHT, WIDTH))
    return answer(SimpleNamespace(analyze=lambda video: timeline), str(path), DEMO_LIMITS)


def test_the_line_and_the_headline_give_a_person_the_same_label(shown):
    means = shown.rows[list(LABELS)].mean()
    assert means.idxmax() == "sadness"
    headline = gr.Label().postprocess(shown.shares).label
    assert headline == re.search(r"Person 1: (\w+)", shown.summary)[1] == "happiness"


def test_the_annotated_video_is_scaled_down_with_its_boxes(shown):
    content = base64.b64decode(re.search(r"data:video/mp4;base64,([^\"]+)", shown.video)[1])
    with av.open(io.BytesIO(content)) as video:
        frame = next(video.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert frame.shape == (640, 1280, 3)
    changed = np.abs(frame - 128).max(2)[200:440] > 60  # rows in the middle of the face's height
    left, right = np.flatnonzero(changed.mean(0) > 0.9)[[0, -1]]
    assert left == pytest.approx(900 * 1280 / 1440, abs=8) and right == pytest.approx(1260 * 1280 / 1440, abs=8)
