"""Visitors in turn: one answer at a time, a few may wait, and a further one is told that the page is busy."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("gradio")
from gradio_client import Client, handle_file  # noqa: E402

from modeling_hdf.demo import page as demo_page  # noqa: E402
from modeling_hdf.demo import serve  # noqa: E402
from modeling_hdf.demo.limits import DemoLimits  # noqa: E402

FACE = Path(__file__).parents[2] / "examples" / "face.mp4"


def wait_until(is_true) -> None:
    end = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_one_is_answered_one_waits_and_a_third_is_asked_to_come_back(monkeypatch):
    shown, running, let_go, most = demo_page._shown, [], threading.Event(), []

    def slow(*arguments):
        running.append(arguments)
        most.append(len(running))
        assert let_go.wait(60)
        result = shown(*arguments)
        running.pop()
        return result

    monkeypatch.setattr(demo_page, "_shown", slow)
    with serve("hdf-tiny-synthetic", port=0, limits=DemoLimits(waiting=1)) as page, ThreadPoolExecutor(2) as pool:

        def ask() -> str:
            client = Client(page.local_url, verbose=False)
            return client.predict(handle_file(str(FACE)), api_name="/analyze")[1]

        first = pool.submit(ask)
        wait_until(lambda: running)
        second = pool.submit(ask)
        wait_until(lambda: len(page._queue) == 1)
        try:
            with pytest.raises(Exception, match="Queue is full! Please try again"):
                ask()
        finally:
            let_go.set()
        assert all("Person 1" in each.result(60) for each in (first, second))
    assert most == [1, 1]
