"""Tables of rows, written and read again."""

import sys

import numpy as np
import pytest

from modeling_hdf.inference import Row
from modeling_hdf.inference.tables import FORMATS, read_table, rows_table, write_table


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_that_look_like_numbers_stay_texts(tmp_path, suffix):
    labels = ("01", "1e2")
    rows = [Row(1, 0.0, 0.5, label, 0.75, np.array([0.75, 0.25]), np.zeros(4), 1.0) for label in labels]
    for video in ("00017", "1e5", "NA"):
        path = tmp_path / f"{video}.{suffix}"
        write_table(rows_table(video, labels, rows), path)
        table = read_table(path, labels)
        assert table["video"].tolist() == [video, video] and table["label"].tolist() == list(labels)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_table_is_named(tmp_path, suffix):
    row = Row(1, 0.0, 0.5, "joy", 1.0, np.ones(1), np.zeros(4), 1.0)
    path = tmp_path / f"a.{suffix}"
    write_table(rows_table("a", ("joy",), [row]), path)
    good = path.read_bytes()
    if suffix == "parquet":  # in its footer, and cut off
        end = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
        damaged = [good[:end] + bytes(len(good) - 8 - end) + good[-8:], good[: len(good) // 2]]
    else:
        number = {"csv": (b"a,1,", b"a,,"), "jsonl": (b'"person":1', b'"person":null')}[suffix]
        damaged = [good.replace(*number), good.replace(number[0], number[0][:-1] + b"\xff")]
    for content in damaged:
        assert content != good
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^{path}: is no table of this command "):
            read_table(path, ("joy",))
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / f"b.{suffix}", ("joy",))


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names of files are text there")
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_may_have_a_name_that_is_no_utf8(tmp_path, suffix):
    row, path = Row(1, 0.0, 0.5, "joy", 1.0, np.ones(1), np.zeros(4), 1.0), tmp_path / f"caf\udce9.mp4.{suffix}"
    write_table(rows_table("a", ("joy",), [row]), path)
    assert read_table(path, ("joy",))["person"].tolist() == [1]
