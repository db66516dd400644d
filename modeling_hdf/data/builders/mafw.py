"""MAFW: clips of films, programmes and short videos in eleven expressions, in five folds (Liu et al., ACM MM 2022)."""

import os
from dataclasses import dataclass
from typing import ClassVar

from .base import ExpressionBuilder, ExpressionConfig
from .clip_folders import ClipIndex, choose_clips, clip_number, find_folders, repetition_note
from .labels import MAFW_EXPRESSIONS, refuse_numbers, resolve_labels
from .listing import ListedClip, Listing, PublishedCounts
from .split_files import one_of
from .terms import Terms, gated


@dataclass
class MAFWConfig(ExpressionConfig):
    """
    Which fold of MAFW, from where; see [`ExpressionConfig`].

    `data_dir` holds `split/single/no_caption/set_1/train.txt` and so on (`split` may have any name), and the clips in
    one of these forms: `faces` (`frames_crop_align_224` or `frames_crop_aligned`), `frames`, `clips` (videos). Without
    `variant` the builder takes the first form found, in this order.
    """

    dataset: ClassVar[str] = "MAFW"
    terms: ClassVar[Terms] = gated(dataset)
    label_names: ClassVar[tuple[str, ...]] = MAFW_EXPRESSIONS
    folds: ClassVar[tuple[str, ...]] = ("fold1", "fold2", "fold3", "fold4", "fold5")
    variants: ClassVar[dict[str, str]] = {
        "faces": r"frames_crop_align(ed)?(_\d+)?",
        "frames": "frames",
        "clips": "clips",
    }

    def split_file(self, split: str) -> str:
        """`train.txt` or `test.txt` of this fold, of the clips with a single label."""
        folders = find_folders(self.data_dir, {"split": "no_caption"})["split"]
        # The folder `compound` holds the folds of clips with several labels.
        folders = [folder for folder in folders if os.path.basename(os.path.dirname(folder)).lower() != "compound"]
        path = one_of(folders, f"set_{self.fold}/{split}.txt")
        if path is None:
            raise FileNotFoundError(f"{self.data_dir}: holds no single/no_caption/set_{self.fold}/{split}.txt.")
        return path

    def read_listing(self) -> Listing:
        """Reads the two split files of the fold and finds their clips by number."""
        lines, files = self.read_split_files()
        texts, places = [line.label for _, line in lines], [line.place for _, line in lines]
        reason = "The order of MAFW's classes differs between sources; use its own file, which names them."
        refuse_numbers(texts, places, reason)
        labels, _ = resolve_labels(texts, places, self.label_names)
        roots, notes = choose_clips(self.data_dir, self.variants, self.variant, self.clips_dir, files[0])
        index = ClipIndex(roots)
        clips = []
        for (split, line), label in zip(lines, labels, strict=True):
            number = clip_number(line.clip, line.place)
            path = index.find(number, expected=os.path.splitext(line.clip)[0])
            clips.append(ListedClip(line.clip, label, split, path, line.place, fold=self.fold))
        return Listing(clips, self.label_names, files, notes + repetition_note(index))

    def published(self) -> PublishedCounts:
        """Counts of fold 1, and of all clips with a single label."""
        totals = {"all": 9172}
        return PublishedCounts(totals | ({"train": 7333, "test": 1839} if self.fold == 1 else {}))


class MAFW(ExpressionBuilder):
    """MAFW, one fold: 9,172 clips with one of eleven expressions.

    The classes are our seven, then contempt, anxiety, helplessness and disappointment, mapped by name. The data are
    licence-gated: ask the authors for a copy (no download). See [`ExpressionBuilder`] for columns and splits
    and [`MAFWConfig`] for the arguments. The annotation names no person or source, so the validation split is cut
    clip by clip.

    Example:

    ```python
    >>> from modeling_hdf.data import MAFW
    >>> builder = MAFW(config_name="fold1", data_dir="MAFW")
    >>> builder.download_and_prepare()
    >>> train = builder.as_dataset(split="train")
    ```
    """

    BUILDER_CONFIG_CLASS = MAFWConfig


__all__ = ["MAFW", "MAFWConfig"]
