"""Many uploads at once through the API, some hostile: clear messages, no file left, memory back to its level."""

import ctypes
import gc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

pytest.importorskip("gradio")
from gradio_client import Client, handle_file  # noqa: E402
from gradio_client.exceptions import AppError  # noqa: E402

from modeling_hdf.demo import serve  # noqa: E402
from modeling_hdf.inference import analyze  # noqa: E402

FACE = Path(__file__).parents[2] / "examples" / "face.mp4"


def hostile_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files by name, with a part of the message that each gets."""
    content = FACE.read_bytes()
    files = {
        "truncated": (content[: len(content) // 3], "The file"),
        "zeros": (bytes(20_000_000), "The file"),
        "playlist": (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "The file"),
    }
    paths = {}
    for name, (data, message) in files.items():
        paths[name] = (folder / f"{name}.mp4", message)
        paths[name][0].write_bytes(data)
    with zipfile.ZipFile(folder / "zip.mp4", "w") as archive:
        archive.writestr("a.mp4", content)
    paths["zip"] = (folder / "zip.mp4", "The file")
    with av.open(folder / "huge.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 7680, 4320, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((4320 * 3 // 2, 7680), np.uint8), format="yuv420p")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    paths["huge"] = (folder / "huge.mp4", "too large for this page")
    return paths


def used_memory() -> int:
    """Bytes of this process, without what the allocator only keeps for later."""
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # of glibc
    return psutil.Process().memory_info().rss


@pytest.mark.slow
def test_fifty_uploads_four_at_once_some_hostile(tmp_path):
    hostile = hostile_files(tmp_path)
    expected = analyze(str(FACE), "hdf-tiny-synthetic").to_pandas()
    kinds = [*hostile, *["good"] * 5] * 5
    with serve("hdf-tiny-synthetic", port=0) as page:
        assert page.app.uploaded_file_dir == page.GRADIO_CACHE  # where to look for what is left

        def send(kind: str) -> tuple[str, object]:
            path = FACE if kind == "good" else hostile[kind][0]
            # A visitor each: a client that asks again while the server closes its stream loses the answer.
            client = Client(page.local_url, verbose=False)
            try:
                return kind, client.predict(handle_file(str(path)), api_name="/analyze")
            except AppError as error:
                return kind, str(error)
            finally:
                client.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(send, kinds))  # until all that stays in memory is there
            before = used_memory()
            answers = list(pool.map(send, kinds))
        grown = used_memory() - before
        left = [path for path in Path(page.GRADIO_CACHE).rglob("*") if path.is_file()]
    assert len(answers) == 50 and left == []
    assert grown < 100e6, f"{grown / 1e6:.0f} MB more"
    for kind, result in answers:
        if kind == "good":
            table = result[-1]
            assert table["headers"][3] == "label" and len(table["data"]) == len(expected)
            for row, (_, wanted) in zip(table["data"], expected.iterrows(), strict=True):
                assert row[3] == wanted["label"] and row[4] == pytest.approx(wanted["confidence"], abs=2e-3)
        else:
            assert hostile[kind][1] in result and str(tmp_path) not in result, (kind, result)
