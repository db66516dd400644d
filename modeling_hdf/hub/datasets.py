"""Publishing a dataset: Parquet files with embedded videos, a dataset card, and the push to the Hub."""

import filecmp
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData

from ..data.arguments import PUBLISHED_DATASETS
from ..data.builders.checks import class_counts
from ..data.clip_io import load_clip
from ..data.files import remove_parts_of, whole_or_absent
from ..data.paths import check_clip, path_inside, regular_file
from ..data.video_encoding import encode_mp4
from .client import check_repository, push_files
from .gate import check_files, refuse_secret
from .markdown import plain_text

# Names of folders and files that occur only in datasets whose clips may not be handed on.
_NAMES = {
    "emolabel_datasplit": "DFEW", "clip_224x224": "DFEW", "clip_224x224_16f": "DFEW", "clip_224x224_avi": "DFEW",
    "jpg_256": "DFEW", "2_clipsforfacecrop": "FERV39k", "3_clipsforscenimages": "FERV39k", "4_setups": "FERV39k",
    "no_caption": "MAFW", "frames_crop_align_224": "MAFW", "fer2013": "FER2013", "fer2013.csv": "FER2013",
    "icml_face_data.csv": "FER2013",
}  # fmt: skip
_FER2013_STILL = re.compile(r"(private|public)test_\d+\.\w+")  # in folders of stills with any name
_FILE_BYTES = 400_000_000
_ROWS_AT_ONCE = 32
_CRF = 12  # close to the stored frames: about 45 dB


def refuse_forbidden(dataset: str, paths: Iterable[str | os.PathLike] = ()) -> None:
    """
    Raises a `ValueError` if the name of a dataset or the folders of its clips show that its authors do not allow to
    hand on clips.

    Args:
        dataset (`str`): name of the dataset.
        paths (`Iterable[str]`): clips and folders. A path inside a folder that only such a dataset has, or a
            folder that contains such a folder or file, is refused too.
    """
    refusals = {title: terms.refusal for title, terms in PUBLISHED_DATASETS.values() if terms.refusal is not None}
    owner = PUBLISHED_DATASETS.get(dataset.lower(), (None,))[0]
    owner = owner if owner in refusals else None
    for path in paths:
        names = {part.lower() for part in Path(os.path.realpath(path)).parts}
        if os.path.isdir(path):
            names |= {name.lower() for name in os.listdir(path)}
        owner = owner or next((_NAMES[name] for name in sorted(names) if name in _NAMES), None)
        owner = owner or ("FER2013" if any(map(_FER2013_STILL.fullmatch, names)) else None)
    if owner is not None:
        raise ValueError(f"{owner} {refusals[owner]} Publish your model instead, and name the dataset.")


def publish_dataset(
    splits: Mapping[str, datasets.Dataset],
    folder: str | os.PathLike,
    *,
    name: str,
    license: str,
    description: str = "",
    synthetic: bool = False,
    fps: int = 25,
    data_dir: str | os.PathLike | None = None,
    places: Mapping[str, str] | None = None,
    repo_id: str | None = None,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
) -> Path:
    """
    Writes a folder that `datasets.load_dataset` reads, locally and on the Hub, and pushes it in one commit if
    `repo_id` is given. To repeat a push, call this again with the same data and the same folder.

    Videos and stills are embedded byte for byte, and so is a frame that is alone in its folder. Folders of several
    frames become H.264 videos, nearly lossless (constant rate factor 12), 4:2:0, with an odd height or width extended
    by repeating the last row or column. Columns without any value are left out; all other columns, also `clip_id` and
    `group`, are published unchanged.

    Args:
        splits (`Mapping[str, Dataset]`): result of `builder.as_dataset()` of [`VideoFolder`] or [`SyntheticFaces`].
        folder (`str` or `Path`): where to write; must be empty, not exist, or hold the same dataset already; its card
            then names the new `repo_id`.
        name (`str`): name for the card.
        license (`str`): licence identifier of the Hub, such as `"cc-by-4.0"`.
        description (`str`, *optional*): what the clips show, for the card.
        synthetic (`bool`, *optional*, defaults to `False`): whether the faces are rendered.
        fps (`int`, *optional*, defaults to 25): frames per second of clips that are folders of frames.
        data_dir (`str` or `Path`, *optional*): folder that must contain every clip on disk, after following links.
            Without it no clip may lie on disk: a list or a link could name any file of this machine.
        places (`Mapping[str, str]`, *optional*): file and line that list a clip, by its `clip_id`, for messages.
        repo_id (`str`, *optional*): dataset repository to push to, created if need be.
        private (`bool`, *optional*, defaults to `False`): create the repository as a private one.
        revision (`str`, *optional*): branch to push to, created if need be; default: the main one.
        dry_run (`bool`, *optional*, defaults to `False`): write the files for `repo_id` and push nothing.

    Returns the folder.

    Raises:
        ValueError: if the clips may not be handed on, see [`refuse_forbidden`]; for a clip that lies outside
            of `data_dir` or is neither video nor picture; for a token or a path of this machine, see [`check_files`].
        FileExistsError: if the folder holds something else.
        OutputError: if the folder cannot be written.
        HubError: if the Hub refuses or fails; see [`~modeling_hdf.hub.client.push_files`].
    """
    folder = Path(folder)
    if repo_id is not None:
        check_repository(repo_id)
    paths = {os.path.dirname(path) for rows in splits.values() for clip in rows["clip"] for path in clip_paths(clip)}
    refuse_forbidden(name, paths)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "README.md").is_file():
        raise _not_empty(folder)
    for rows in splits.values():
        for clip, clip_id in zip(rows["clip"], rows["clip_id"], strict=True):
            refuse_outside(clip, data_dir, (places or {}).get(clip_id, f"clip {clip_id!r}"))
    remove_parts_of(folder)
    with whole_or_absent(folder) as part:
        (part / "data").mkdir(parents=True)
        for split, rows in splits.items():
            _write_parquet(rows, part / "data", split, fps)
        fields = {"name": name, "license": license, "description": description, "synthetic": synthetic}
        _write_card(splits, part, repository=repo_id, **fields)
        check_files({file: part / file for file in _files(part)})
        if folder.is_dir() and any(folder.iterdir()) and not _is_same_dataset(folder, part):
            raise _not_empty(folder)
    if repo_id is not None and not dry_run:
        push_files(
            {file: folder / file for file in _files(folder)},
            repo_id,
            replaces=r"data/[^/]+\.parquet",
            message=f"Publish {name}",
            repo_type="dataset",
            private=private,
            revision=revision,
        )
    return folder


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _is_same_dataset(folder: Path, other: Path) -> bool:
    """Whether two folders hold the same files, apart from the repository name in the card."""

    def card(where: Path) -> str:
        return re.sub(r'load_dataset\("[^"]*"', "", (where / "README.md").read_text(encoding="utf-8"))

    files = _files(folder)
    return (
        files == _files(other)
        and all(filecmp.cmp(folder / file, other / file, shallow=False) for file in files if file != "README.md")
        and card(folder) == card(other)
    )


def _not_empty(folder: Path) -> FileExistsError:
    return FileExistsError(f"{folder}: is not empty, and holds something else; give a folder that does not exist yet.")


def clip_paths(clip: Mapping[str, Any]) -> list[str]:
    """Paths on disk that a clip refers to; none for embedded bytes."""
    if clip.get("frames") is not None:
        return list(clip["frames"])
    return [] if clip.get("bytes") is not None else [clip["path"]]


def refuse_outside(clip: Mapping[str, Any], data_dir: str | os.PathLike | None, place: str) -> None:
    """
    Refuses a clip if one of its files lies outside the folder, or is a device or a pipe.

    Args:
        clip (`Mapping`): the clip of a row.
        data_dir (`str` or `Path`, *optional*): the folder.
        place (`str`): file and line that list the clip, for the message.

    Raises:
        ValueError: names the place and the path. FileNotFoundError: if a file has gone.
    """
    for path in clip_paths(clip):
        if data_dir is None:
            raise ValueError(f"{place}: {path} lies on disk; give the folder of the clips as `data_dir`.")
        try:
            regular_file(path_inside(data_dir, path))
        except ValueError as error:
            raise ValueError(f"{place}: is not published. {error}") from error


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
    """
    `{"bytes", "path"}` of a row's clip: the bytes of its only file, or its frames encoded.

    Raises:
        ValueError: if it is neither a video nor a picture, or holds a token or a private key.
    """
    clip = row["clip"]
    if clip.get("frames") is not None:
        frames = load_clip(row)  # refuses an animation among the frames
        if len(frames) > 1:
            height, width = frames.shape[1:3]
            frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            name = os.path.basename(os.path.dirname(clip["frames"][0]))
            return {"bytes": encode_mp4(frames, fps, _CRF), "path": f"{name}.mp4"}
        clip = {"path": clip["frames"][0]}  # a still
    content = clip["bytes"] if clip.get("bytes") is not None else Path(clip["path"]).read_bytes()
    name = str(clip["path"])
    check_clip(name, content)
    refuse_secret(name, content)
    return {"bytes": content, "path": os.path.basename(name)}


def _write_card(
    splits: Mapping[str, datasets.Dataset],
    folder: Path,
    *,
    repository: str | None,
    name: str,
    license: str,
    description: str,
    synthetic: bool,
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
            repository=repository or "path/or/repository",
            dataset_name=name,
            description=description,
            synthetic=synthetic,
            splits=list(splits),
            labels=list(next(iter(counts.values()))),
            classes=", ".join(map(plain_text, next(iter(counts.values())))),
            plain_text=plain_text,
            counts=counts,
            license=license,
        )
    card.save(folder / "README.md")


__all__ = ["embed_clip", "publish_dataset", "refuse_forbidden", "refuse_outside"]
