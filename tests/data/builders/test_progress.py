"""What preparing a dataset shows."""

import datasets
import pytest
from trees import OURS, write_video

from modeling_hdf.data import VideoFolder


@pytest.mark.parametrize("shown", [True, False])
def test_no_bar_shows_the_writing_of_rows(tmp_path, capfd, shown):
    for number, name in enumerate(OURS):
        for index in range(3):
            write_video(tmp_path / "videos" / name / f"{index}.mp4", number)
    before = datasets.are_progress_bars_disabled()
    (datasets.enable_progress_bars if shown else datasets.disable_progress_bars)()
    try:
        VideoFolder(data_dir=str(tmp_path / "videos"), cache_dir=str(tmp_path / "cache")).download_and_prepare()
        assert datasets.are_progress_bars_disabled() is not shown
    finally:
        (datasets.disable_progress_bars if before else datasets.enable_progress_bars)()
    assert "examples" not in capfd.readouterr().err
