"""Several videos at once: what the processes give and write, and what becomes of a process that is killed."""

import os
import struct
from multiprocessing import Pipe
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from deadly_file import DeadlyFile
from face_clips import FPS, place_faces, straight
from video_files import write_video

from modeling_hdf.data.files import OutputError
from modeling_hdf.inference import Timeline, VideoAnalyzer, workers
from modeling_hdf.inference.inputs import Input
from modeling_hdf.inference.output_folder import OutputFolder, OutputSettings
from modeling_hdf.inference.workers import _StateSender, analyze_in_processes

TINY = "hdf-tiny-synthetic"


@pytest.fixture
def videos(tmp_path) -> list[Input]:
    """A file that kills its reader, a video, a text file, and two more videos; the last cannot be written."""
    found = [Input("deadly", DeadlyFile(), "deadly")]
    for index, name in enumerate(("a.mp4", "text.mp4", "b.mp4", "c.mp4")):
        path = tmp_path / name
        if name == "text.mp4":
            path.write_text("no video")
        else:
            face = straight((40 + 50 * index, 40), (90 + 50 * index, 60), 20)
            write_video(path, list(place_faces({index: face}, 20, size=(200, 400))), rate=FPS)
        found.append(Input(str(path), str(path), name))
    return found


def test_processes_give_the_rows_of_one_and_a_killed_one_costs_its_video_alone(videos, tmp_path):
    analyzer, options = VideoAnalyzer(TINY, device="cpu"), {"device": "cpu", "labels": {}}
    output = OutputFolder(tmp_path / "out", OutputSettings(TINY, 2.0, 0.5, False, analyzer.labels))
    results, states = [], []
    with output.lock():
        output.prepare()
        output.table(videos[-1]).mkdir()  # in the way
        remains = output.folder / ".x.hdf-part"
        remains.mkdir()
        with pytest.raises(OutputError, match=r"c.mp4.csv: cannot be written \(Is a directory\)"):
            for result in analyze_in_processes(videos, 2, TINY, options, output, lambda *each: states.append(each)):
                results.append(result)
    assert [video for video, _ in results] == videos[:-1]
    killed, first, text, second = (result for _, result in results)
    assert isinstance(killed, ValueError) and "deadly: the process that analysed it was killed" in str(killed)
    assert isinstance(text, ValueError) and "it is a text file or playlist" in str(text)
    assert not remains.exists()
    assert {path for path, *_ in states} == {videos[number].video for number in (1, 3, 4)}  # those that are decoded
    for _, seconds, length in states:
        assert 0.0 < seconds <= length + 1e-6 and length == pytest.approx(20 / FPS)
    for video, timeline in zip((videos[1], videos[3]), (first, second), strict=True):
        assert isinstance(timeline, Timeline) and timeline.video == video.name
        expected = analyzer.analyze(video.video).to_pandas()
        assert len(expected) == 1
        for table in (timeline.to_pandas(), pd.read_csv(output.table(video))):
            assert table["label"].tolist() == expected["label"].tolist()
            numbers = expected.select_dtypes("number").columns
            np.testing.assert_allclose(table[numbers], expected[numbers], atol=1e-5)


def test_a_process_sends_its_state_now_and_then(monkeypatch):
    sent, clock = [], iter([10.0, 10.0, 10.1, 10.2, 10.3, 10.3, 10.4])
    monkeypatch.setattr(workers, "monotonic", lambda: next(clock))
    send = _StateSender(SimpleNamespace(send=sent.append))
    for seconds in (1.0, 2.0, 3.0, 4.0, 5.0):
        send("a.mp4", seconds, 60.0)
    assert [(each.seconds, each.length) for each in sent] == [(1.0, 60.0), (4.0, 60.0)]


def test_a_process_that_is_killed_while_it_answers_costs_its_video_alone():
    ours, theirs = Pipe()
    os.write(theirs.fileno(), struct.pack("!i", 100) + b"a part")  # a header of `Connection`, and too few bytes
    theirs.close()
    worker = object.__new__(workers._Worker)
    worker.connection, worker.number, worker.is_dead = ours, 0, False
    answer = worker.take([SimpleNamespace(name="a.mp4")])
    assert isinstance(answer, ValueError) and "a.mp4: the process that analysed it was killed" in str(answer)
    assert worker.is_dead
