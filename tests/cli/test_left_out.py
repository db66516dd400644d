"""Clips that a training leaves out are told each time, also if the prepared dataset comes from a cache."""

import shutil

from evaluated_models import own_dataset_cache  # noqa: F401
from trees import write_dfew

from modeling_hdf import HDFTrainingArguments
from modeling_hdf.cli.training_data import prepare
from modeling_hdf.data import DataArguments

TOLD = "1 of 28 listed clips of DFEW are missing, empty or unreadable, and left out"


def test_a_training_from_the_cache_tells_them_too(tmp_path, capsys):
    root = tmp_path / "DFEW"
    write_dfew(root)
    training = HDFTrainingArguments(output_dir=str(tmp_path / "out"), report_to="none")
    data = DataArguments(dataset="dfew", data_dir=str(root), fold=1, max_missing="1")
    prepare(data, training)
    assert "left out" not in capsys.readouterr().out
    shutil.rmtree(root / "Clip/clip_224x224/00003")
    for is_cached in (False, True):
        parts = prepare(data, training)
        assert (parts["dfew"].builder.check_result is None) == is_cached
        assert TOLD in capsys.readouterr().out
