"""DFEW trees of the tests, prepared by the builder."""

from pathlib import Path

from modeling_hdf.data import DFEW


def prepare(root: Path, **options) -> DFEW:
    builder = DFEW(
        **{"config_name": "fold1", "data_dir": str(root), "cache_dir": str(root.parent / "cache")} | options
    )
    builder.download_and_prepare()
    return builder


def rows_of(root: Path, **options):
    return prepare(root, **options).as_dataset()


def split_csv(root: Path, split: str) -> Path:
    return root / "EmoLabel_DataSplit" / f"{split}(single-labeled)" / "set_1.csv"
