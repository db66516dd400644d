"""FERV39k: clips of 22 kinds of scene in seven expressions, one split (Wang et al., CVPR 2022, arXiv 2203.09463)."""

from dataclasses import dataclass
from typing import ClassVar

from .base import ExpressionBuilder, ExpressionConfig
from .clip_folders import ClipIndex, choose_clips, clip_number, find_folders, repetition_note
from .labels import expression_name, refuse_numbers, resolve_labels
from .listing import ListedClip, Listing, PublishedCounts
from .split_files import one_of
from .terms import Terms, gated

_TRAIN = (5854, 5523, 7790, 5906, 2502, 1833, 1680)
_TEST = (1473, 1393, 1958, 1487, 638, 467, 431)


@dataclass
class FERV39kConfig(ExpressionConfig):
    """
    Where FERV39k lies and how it is split; see [`ExpressionConfig`].

    `data_dir` holds `4_setups/All_scenes/train_All.csv` and `test_All.csv`, and the clips in one of these forms:
    `faces` (`2_ClipsforFaceCrop`), `scenes` (`3_ClipsforScenImages`). Without `variant` the builder takes the first
    form found, in this order.

    Args:
        scene_disjoint: whether the validation split is cut by whole scenes. The annotation does not name the film or
            programme of a clip, but clips of one source share a kind of scene. So only a cut by whole scenes keeps
            each source in one split. In return, validation has two or three kinds of scene that training does not
            have, and its shares of the classes are approximate; the test split has all 22 kinds. `False` cuts clip by
            clip, by exact shares.
    """

    scene_disjoint: bool = True

    dataset: ClassVar[str] = "FERV39k"
    terms: ClassVar[Terms] = gated(dataset)
    variants: ClassVar[dict[str, str]] = {
        "faces": r"2_ClipsforFaceCrop(-\d+)*",
        "scenes": r"3_ClipsforScene?Images(-\d+)*",
    }

    def split_file(self, split: str) -> str:
        """`train_All.csv` or `test_All.csv`."""
        folders = find_folders(self.data_dir, {"split": "All_scenes"})["split"]
        path = one_of(folders, f"{split}_All.csv")
        if path is None:
            raise FileNotFoundError(f"{self.data_dir}: holds no 4_setups/All_scenes/{split}_All.csv.")
        return path

    def read_listing(self) -> Listing:
        """Reads the two split files and finds their clips by scene, emotion and number."""
        lines, files = self.read_split_files()
        texts, places = [line.label for _, line in lines], [line.place for _, line in lines]
        reason = "Rewritten files number FERV39k's classes in two orders; use its own file, which names them."
        refuse_numbers(texts, places, reason)
        labels, _ = resolve_labels(texts, places, self.label_names)
        roots, notes = choose_clips(self.data_dir, self.variants, self.variant, self.clips_dir)
        index, other_folder = ClipIndex(roots), []
        clips = []
        for (split, line), label in zip(lines, labels, strict=True):
            parts = line.clip.replace("\\", "/").strip("/").split("/")
            if len(parts) != 3:
                raise ValueError(f"{line.place}: expected a clip such as 'Action/Sad/0010', got {line.clip!r}.")
            scene, emotion, name = parts
            path = index.find(clip_number(name, line.place), f"{scene}/{emotion}", expected=name)
            clips.append(ListedClip(line.clip, label, split, path, line.place, scene=scene, group=scene))
            if expression_name(emotion) != label:
                other_folder.append(line)
        if other_folder:
            place = other_folder[0].place
            notes.append(f"{len(other_folder)} clips lie in the folder of another class than their label ({place})")
        return Listing(clips, self.label_names, files, notes + repetition_note(index), self.scene_disjoint)

    def published(self) -> PublishedCounts:
        """Counts of the official split."""
        both = tuple(train + test for train, test in zip(_TRAIN, _TEST, strict=True))
        classes = {"train": _TRAIN, "test": _TEST, "all": both}
        return PublishedCounts({split: sum(counts) for split, counts in classes.items()}, classes)


class FERV39k(ExpressionBuilder):
    """FERV39k: 38,935 clips of 22 kinds of scene with one of seven expressions.

    The data are licence-gated: ask the authors for a copy (no download). See [`ExpressionBuilder`] for columns
    and splits and [`FERV39kConfig`] for the arguments.

    Example:

    ```python
    >>> from modeling_hdf.data import FERV39k
    >>> builder = FERV39k(data_dir="FERV39k")
    >>> builder.download_and_prepare()
    >>> train = builder.as_dataset(split="train")
    ```
    """

    BUILDER_CONFIG_CLASS = FERV39kConfig


__all__ = ["FERV39k", "FERV39kConfig"]
