"""Tables of rows, written and read again."""

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
