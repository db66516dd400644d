"""Two processes that test a model agree on the clips that could not be read, whoever was to read them."""

import json
from pathlib import Path

import numpy as np
import pytest
from evaluated_models import save_model
from processes import run_in_two_processes
from trees import write_video
from unreadable import classify

pytestmark = [pytest.mark.distributed, pytest.mark.xdist_group("distributed")]


def test_all_processes_name_the_clip_that_one_of_them_could_not_read(tmp_path):
    rows = []
    for number in range(7):
        path = tmp_path / "clips" / f"{number}.mp4"
        write_video(path, number=number)
        rows.append({"clip": {"path": str(path), "frames": None}, "label": number})
    saved = save_model(tmp_path / "shared" / "model")
    alone, _, nothing = classify(saved, tmp_path / "unused", rows)
    assert nothing == {}
    damaged = tmp_path / "clips" / "2.mp4"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (tmp_path / "shared" / "rows.json").write_text(json.dumps(rows))
    run_in_two_processes(Path(__file__).parent / "unreadable.py", tmp_path / "shared")
    first, second = (json.loads((tmp_path / "shared" / f"results-{rank}.json").read_text()) for rank in range(2))
    assert sorted([first["own"], second["own"]]) == [[], [2]]  # clips go to the processes in turns, a batch each
    for result in (first, second):
        ((index, message),) = result["unreadable"]
        assert index == 2 and str(damaged) in message
        others = [number for number in range(7) if number != 2]
        np.testing.assert_allclose(np.array(result["probabilities"])[others], np.array(alone)[others], atol=1e-5)
