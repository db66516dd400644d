"""DFEW: clips of films in seven expressions, in five folds (Jiang et al., ACM MM 2020, arXiv 2008.05924)."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from .base import ExpressionBuilder, ExpressionConfig
from .clip_folders import ClipIndex, choose_clips, clip_number, find_folders, repetition_note
from .labels import resolve_labels
from .listing import ListedClip, Listing, PublishedCounts
from .split_files import one_of
from .terms import Terms, gated
from .vote_files import read_votes

_TRAIN_TEST = {
    "fold1": (9356, 2341),
    "fold2": (9356, 2341),
    "fold3": (9357, 2340),
    "fold4": (9358, 2339),
    "fold5": (9361, 2336),
}
_CLASSES = (2445, 1894, 2669, 2173, 1469, 145, 902)


@dataclass
class DFEWConfig(ExpressionConfig):
    """
    Which fold of DFEW, from where; see [`ExpressionConfig`].

    `data_dir` holds `EmoLabel_DataSplit/train(single-labeled)/set_1.csv` and so on, and the clips in one of these
    forms: `clip_224x224` (aligned frames), `jpg_256` (the same under another name), `clip_224x224_avi`,
    `clip_224x224_16f` (interpolated to 16 frames), `original` (the films' clips, not cropped). Without `variant` the
    builder takes the first form found, in this order.

    Args:
        label_base: 1 if the labels in the split files count from 1 (the original files), 0 if they count from 0 (some
            rewritten files). `None` finds the base from the numbers, and fails if they fit both.
    """

    label_base: int | None = None

    dataset: ClassVar[str] = "DFEW"
    terms: ClassVar[Terms] = gated(dataset)
    has_votes: ClassVar[bool] = True
    votes_name: ClassVar[str] = "Annotation/annotation.xlsx"
    folds: ClassVar[tuple[str, ...]] = tuple(_TRAIN_TEST)
    variants: ClassVar[dict[str, str]] = {
        "clip_224x224": "clip_224x224",
        "jpg_256": "jpg_256",
        "clip_224x224_avi": "clip_224x224_avi",
        "clip_224x224_16f": "clip_224x(224_)?16f",
        "original": "original",
    }

    def split_file(self, split: str) -> str:
        """The split file of this fold."""
        patterns = {"split": rf"{split}[ _]?\(?(single[-_ ]?label?led)?\)?", "around": "EmoLabel_DataSplit"}
        found = find_folders(self.data_dir, patterns)["split"]
        path = one_of(found, f"set_{self.fold}.csv", f"{split}_set_{self.fold}.csv")
        if path is None:
            raise FileNotFoundError(
                f"{self.data_dir}: holds no EmoLabel_DataSplit/{split}(single-labeled)/set_{self.fold}.csv."
            )
        return path

    def read_listing(self) -> Listing:
        """Reads the two split files of the fold and finds their clips by number."""
        lines, files = self.read_split_files()
        texts, places = [line.label for _, line in lines], [line.place for _, line in lines]
        labels, base = resolve_labels(texts, places, self.label_names, self.label_base)
        roots, notes = choose_clips(self.data_dir, self.variants, self.variant, self.clips_dir, files[0])
        index = ClipIndex(roots)
        clips = []
        for (split, line), label in zip(lines, labels, strict=True):
            number = clip_number(line.clip, line.place)
            path = index.find(number, expected=f"{number:05d}")
            clips.append(ListedClip(line.clip, label, split, path, line.place, fold=self.fold))
        notes.append("labels are names" if base is None else f"labels count from {base}")
        votes = self.votes_file()
        notes.append("no annotation.xlsx: no votes" if votes is None else f"votes: {votes}")
        files += [votes] if votes else []
        return Listing(clips, self.label_names, files, notes + repetition_note(index))

    def votes_file(self) -> str | None:
        """Path of `Annotation/annotation.xlsx`, if it exists."""
        folders = find_folders(self.data_dir, {"annotation": "annotation"})["annotation"]
        return one_of([*folders, self.data_dir], "annotation.xlsx")

    @cached_property
    def votes(self) -> dict[str, list[int]]:
        """See [`ExpressionConfig`]."""
        file = self.votes_file()
        by_number = read_votes(file, self.label_names) if file else {}
        numbers = {clip.clip_id: clip_number(clip.clip_id, clip.place) for clip in self.listing.clips}
        return {clip_id: by_number[number] for clip_id, number in numbers.items() if number in by_number}

    def published(self) -> PublishedCounts:
        """Counts of single-labelled clips with a detected face."""
        train, test = _TRAIN_TEST[self.name]
        return PublishedCounts({"train": train, "test": test, "all": sum(_CLASSES)}, {"all": _CLASSES})


class DFEW(ExpressionBuilder):
    """DFEW, one fold: 11,697 clips of films with one of seven expressions.

    The data are licence-gated: ask the authors for a copy (no download). See [`ExpressionBuilder`] for columns
    and splits and [`DFEWConfig`] for the arguments. `votes` is set if `annotation.xlsx` exists. The annotation names
    no person or film, so the validation split is cut clip by clip.

    Example:

    ```python
    >>> from modeling_hdf.data import DFEW
    >>> builder = DFEW(config_name="fold1", data_dir="DFEW")
    >>> builder.download_and_prepare()
    >>> train = builder.as_dataset(split="train")
    ```
    """

    BUILDER_CONFIG_CLASS = DFEWConfig


__all__ = ["DFEW", "DFEWConfig"]
