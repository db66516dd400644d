"""Publishing a dataset: Parquet files with the videos in them, a dataset card, and the way to the Hub."""

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData, HfApi

from modeling_hdf.data.clip_io import load_clip
from modeling_hdf.data.clip_report import class_counts
from modeling_hdf.data.video_encoding import encode_mp4

GATED = {"dfew": "DFEW", "ferv39k": "FERV39k", "mafw": "MAFW"}
# Names of folders that only those datasets have.
_GATED_FOLDERS = {
    "emolabel_datasplit": "DFEW", "clip_224x224": "DFEW", "clip_224x224_16f": "DFEW", "clip_224x224_avi": "DFEW",
    "jpg_256": "DFEW", "2_clipsforfacecrop": "FERV39k", "3_clipsforscenimages": "FERV39k", "4_setups": "FERV39k",
    "no_caption": "MAFW", "frames_crop_align_224": "MAFW",
}  # fmt: skip
_FILE_BYTES = 400_000_000
_ROWS_AT_ONCE = 32
_CRF = 12  # close to the frames that are stored: about 45 dB


def refuse_gated(dataset: str, paths: Iterable[str | os.PathLike] = ()) -> None:
    """
    Raises a `ValueError` for a dataset that must not be handed on, by its name or by where its clips lie.

    Args:
        dataset (`str`): name of the dataset.
        paths (`Iterable[str]`): clips and folders; one within a folder that only a licence-gated dataset has, or a
            folder that holds one, is refused too.
    """
    owner = GATED.get(dataset.lower())
    for path in paths:
        names = {part.lower() for part in Path(os.path.realpath(path)).parts}
        if os.path.isdir(path):
            names |= {name.lower() for name in os.listdir(path)}
        owner = owner or next((_GATED_FOLDERS[name] for name in sorted(names) if name in _GATED_FOLDERS), None)
    if owner is not None:
        raise ValueError(
            f"{owner} is licence-gated: its authors hand out copies on a signed agreement that forbids handing them "
            "on, and the people in it have not agreed to more. Publish your model instead, and name the dataset."
        )


def publish_dataset(
    splits: Mapping[str, datasets.Dataset],
    folder: str | os.PathLike,
    *,
    name: str,
    license: str,
    description: str = "",
    synthetic: bool = False,
    fps: int = 25,
    repo_id: str | None = None,
    private: bool = False,
) -> Path:
    """
    Writes a folder that `datasets.load_dataset` reads here and on the Hub, and uploads it if `repo_id` is given.

    Videos are embedded byte for byte. Frame folders become H.264 videos, nearly lossless (constant rate factor 12),
    4:2:0, with an odd height or width extended by repeating the last row or column. Columns without any value are
    left out; the others, `clip_id` and `group` too, are published as they are.

    Args:
        splits (`Mapping[str, Dataset]`): what `builder.as_dataset()` of [`VideoFolder`] or [`SyntheticFaces`] gives.
        folder (`str` or `Path`): where to write; must be empty or not exist.
        name (`str`): name for the card.
        license (`str`): licence identifier of the Hub, such as `"cc-by-4.0"`.
        description (`str`, *optional*): what the clips show, for the card.
        synthetic (`bool`, *optional*, defaults to `False`): whether the faces are rendered.
        fps (`int`, *optional*, defaults to 25): frames per second of clips that are folders of frames.
        repo_id (`str`, *optional*): dataset repository to upload to, created if need be.
        private (`bool`, *optional*, defaults to `False`): whether a repository that is created is private.

    Returns the folder.

    Raises:
        ValueError: if the clips belong to a licence-gated dataset, see [`refuse_gated`].
        FileExistsError: if the folder is not empty.
    """
    folder = Path(folder)
    paths = {os.path.dirname(path) for rows in splits.values() for clip in rows["clip"] for path in clip_paths(clip)}
    refuse_gated(name, paths)
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: is not empty; give a folder that does not exist yet.")
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        _write_parquet(rows, folder / "data", split, fps)
    _write_card(splits, folder, name=name, license=license, description=description, synthetic=synthetic)
    if repo_id is not None:
        api = HfApi()
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder, commit_message=f"Publish {name}")
    return folder


def clip_paths(clip: Mapping[str, Any]) -> list[str]:
    """Paths on disk that a clip refers to; none for embedded bytes."""
    if clip.get("frames") is not None:
        return list(clip["frames"][:1])
    return [] if clip.get("bytes") is not None else [clip["path"]]


def _write_parquet(rows: datasets.Dataset, folder: Path, split: str, fps: int) -> None:
    """Files `split-00000.parquet`, ... of up to about 400 MB each."""
    kept = [name for name in rows.column_names if name == "clip" or any(value is not None for value in rows[name])]
    features = datasets.Features({name: rows.features[name] for name in kept} | {"clip": datasets.Video(decode=False)})
    schema, writer, number, written = features.arrow_schema, None, 0, 0
    for batch in _batches(rows, fps):
        table = pa.Table.from_pylist([{name: row[name] for name in kept} for row in batch], schema=schema)
        if writer is None or written + table.nbytes > _FILE_BYTES:
            if writer is not None:
                writer.close()
            writer, written = pq.ParquetWriter(folder / f"{split}-{number:05d}.parquet", schema), 0
            number += 1
        writer.write_table(table)
        written += table.nbytes
    writer.close()


def _batches(rows: datasets.Dataset, fps: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        batch = rows.select(range(start, min(start + _ROWS_AT_ONCE, len(rows))))
        yield [row | {"clip": embed_clip(row, fps)} for row in batch]


def embed_clip(row: Mapping[str, Any], fps: int) -> dict[str, Any]:
    """`{"bytes", "path"}` of a row's clip: the file's bytes, or its frames encoded."""
    clip = row["clip"]
    if clip.get("frames") is not None:
        frames = load_clip(row)
        height, width = frames.shape[1:3]
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        name = os.path.basename(os.path.dirname(clip["frames"][0]))
        return {"bytes": encode_mp4(frames, fps, _CRF), "path": f"{name}.mp4"}
    content = clip["bytes"] if clip.get("bytes") is not None else Path(clip["path"]).read_bytes()
    return {"bytes": content, "path": os.path.basename(clip["path"])}


def _write_card(
    splits: Mapping[str, datasets.Dataset], folder: Path, *, name: str, license: str, description: str, synthetic: bool
) -> None:
    counts = class_counts(dict(splits))
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    data = DatasetCardData(
        license=license,
        task_categories=["video-classification"],
        tags=["dynamic-facial-expression-recognition", *(["synthetic"] if synthetic else [])],
        pretty_name=name,
        configs=[{"config_name": "default", "data_files": files}],
    )
    template = resources.files("modeling_hdf.hub_cards") / "dataset_card.md"
    with resources.as_file(template) as template_path:
        card = DatasetCard.from_template(
            data,
            template_path=str(template_path),
            dataset_name=name,
            description=description,
            synthetic=synthetic,
            splits=list(splits),
            labels=list(next(iter(counts.values()))),
            counts=counts,
            license=license,
        )
    card.save(folder / "README.md")


__all__ = ["GATED", "embed_clip", "publish_dataset", "refuse_gated"]
