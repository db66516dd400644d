"""The live mode: it answers twice a second, from the frames of the last two seconds."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("cv2")
from modeling_hdf.data import ClipFactors, render_clip  # noqa: E402
from modeling_hdf.demo import live  # noqa: E402
from modeling_hdf.demo.live import live_answer  # noqa: E402
from modeling_hdf.faces import crop_face  # noqa: E402
from modeling_hdf.inference import load_classifier, predict_video  # noqa: E402

FPS = 8


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """3.5 seconds of a rendered face in a larger grey frame, `(F, 240, 320, 3)`."""
    face = render_clip(ClipFactors("happiness", identity=3, duration=3.5, fps=FPS), 160, 0)
    return np.pad(face, ((0, 0), (40, 40), (80, 80), (0, 0)), mode="edge")


@pytest.fixture(scope="module")
def classifier() -> tuple:
    return load_classifier("hdf-tiny-synthetic")


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(live.time, "monotonic", lambda: clock.now)
    return clock


def test_every_half_second_the_last_two_are_answered(frames, classifier, clock):
    window, answers = None, {}
    for index, frame in enumerate(frames):
        probabilities, line, window = live_answer(*classifier, frame, window)
        if probabilities is not None:
            answers[index] = (probabilities, line)
        clock.now += 1 / FPS
    assert list(answers) == list(range(0, len(frames), FPS // 2))
    last = max(answers)
    probabilities, line = answers[last]
    model, processor = classifier
    seen = frames[last - 2 * FPS : last + 1]
    face = crop_face(seen, size=processor.crop_size["height"], sample=processor.sample_frames)
    expected = predict_video(model, processor, face.frames)
    assert probabilities == pytest.approx(expected, abs=1e-5) and line == "The last 2.0 seconds."
    assert answers[0][1] == "The last 0.0 seconds."


def test_a_frame_without_a_face_says_so_and_no_frame_keeps_what_is_shown(classifier, clock):
    probabilities, line, window = live_answer(*classifier, np.full((240, 320, 3), 128, np.uint8), None)
    assert (probabilities, line) == ({}, "No face in the last two seconds.")
    clock.now += 1.0
    assert live_answer(*classifier, None, window) == (None, "", window)


def test_large_frames_are_kept_small_and_another_camera_starts_anew(classifier, clock):
    _, _, window = live_answer(*classifier, np.zeros((1440, 1920, 3), np.uint8), None)
    assert [frame.shape for _, frame in window.frames] == [(480, 640, 3)]
    for _ in range(100):
        clock.now += 0.01
        window.add(np.zeros((480, 640, 3), np.uint8), clock.now)
    assert len(window.frames) == 64  # a fast camera cannot fill the memory
    window.add(np.zeros((360, 640, 3), np.uint8), clock.now)
    assert [frame.shape for _, frame in window.frames] == [(360, 640, 3)]
