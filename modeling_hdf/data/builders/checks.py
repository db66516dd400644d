"""The check of a dataset: its counts beside the published counts, and every clip with a problem."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from .clip_files import SHORT, UNUSABLE, ClipFiles
from .listing import SPLITS, ListedClip, PublishedCounts, count_labels

_MEANINGS = {
    "missing": "no such file or folder",
    "empty": "no frame, or 0 bytes",
    "unreadable": "damaged, or no permission",
    "short": f"fewer than {SHORT} frames; used, with frames repeated",
}


def missing_limit(text: str) -> int | float:
    """`max_missing` as a command line or a recipe gives it: a number of clips (`"5"`) or a share (`"0.05"`, `"1e-5"`).

    Raises:
        ValueError: for a text that is neither.
    """
    try:
        limit = float(text) if set(text) & set(".eE") else int(text)
    except ValueError:
        limit = -1
    if limit < 0 or (isinstance(limit, float) and limit > 1):
        raise ValueError(
            f"`max_missing` (--max-missing) is {text!r}; it must be a number of clips (5) or a share (0.05)."
        )
    return limit


def allowed_missing(max_missing: int | float, num_listed: int) -> int:
    """Number of clips that may be missing: `max_missing` is this number (`int`) or a share of the clips (`float`)."""
    if isinstance(max_missing, float):
        return int(Fraction(str(max_missing)) * num_listed)  # 0.29 * 100 is 28.999...
    return max_missing


@dataclass
class DatasetCheck:
    """The outcome of checking a dataset.

    Attributes:
        name: dataset and fold.
        labels: names of the classes, in order.
        clips: all listed clips, with their splits.
        files: the files found for each clip, by its path.
        published: the counts that the authors publish.
        notes: notes on how the data were found and read.
        max_missing: how many listed clips may be unusable; see [`allowed_missing`].
        peer_protocol: whether the test split is also the validation split.
    """

    name: str
    labels: tuple[str, ...]
    clips: list[ListedClip]
    files: dict[str, ClipFiles]
    published: PublishedCounts
    notes: list[str] = field(default_factory=list)
    max_missing: int | float = 0
    peer_protocol: bool = False

    @property
    def problems(self) -> dict[str, list[ListedClip]]:
        """The clips of each kind of problem: `"missing"`, `"empty"`, `"unreadable"` (unusable) and `"short"`."""
        problems: dict[str, list[ListedClip]] = {kind: [] for kind in (*UNUSABLE, "short")}
        for clip in self.clips:
            files = self.files[clip.path]
            if files.problem is not None:
                problems[files.problem].append(clip)
            elif files.is_short:
                problems["short"].append(clip)
        return problems

    @property
    def usable(self) -> list[ListedClip]:
        """The listed clips that can be read."""
        return [clip for clip in self.clips if self.files[clip.path].problem is None]

    @property
    def failure(self) -> str | None:
        """The reason why the check fails; `None` if it passes."""
        unusable = len(self.clips) - len(self.usable)
        allowed = allowed_missing(self.max_missing, len(self.clips))
        if unusable > allowed:
            return (
                f"{unusable} of {len(self.clips)} listed clips are missing, empty or unreadable; `max_missing` "
                f"(`--max-missing`) allows {allowed}."
            )
        if not self.usable:
            return "No clip is left."
        return None

    def raise_for_failure(self, num_names: int = 10) -> None:
        """Raises a `ValueError` that names the clips if the check fails."""
        if self.failure is not None:
            raise ValueError("\n".join([f"{self.name}: {self.failure}", *self.problem_lines(num_names)]))

    def table(self) -> str:
        """Clips per class and split, listed and published. Published training clips include the validation clips."""
        counts = {split: list(by_label.values()) for split, by_label in count_labels(self.clips, self.labels).items()}
        counts["all"] = np.sum(list(counts.values()), axis=0).tolist()
        if self.peer_protocol:
            counts["validation"] = counts["test"]
        rows = [["class", *self.labels, "total"]]  # one list for each column of the table
        for split in ("train", "validation", "test", "all"):
            rows.append([split, *map(str, counts[split]), str(sum(counts[split]))])
            if split in self.published.totals:
                classes = map(str, self.published.classes.get(split, "-" * len(self.labels)))
                rows.append([f"({split} published)", *classes, str(self.published.totals[split])])
        return _aligned(list(zip(*rows, strict=True)))

    def problem_lines(self, num_names: int = 10, kinds: Sequence[str] = (*UNUSABLE, "short")) -> list[str]:
        """Each kind of problem with its count and the names of its first `num_names` clips."""
        lines, problems = [], self.problems
        for kind in kinds:
            clips = problems[kind]
            if not clips:
                continue
            counts = Counter(clip.split for clip in clips)
            by_split = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
            lines.append(f"{kind}: {len(clips)} ({by_split}) - {_MEANINGS[kind]}")
            for clip in clips[:num_names]:
                files = self.files[clip.path]
                detail = f"{clip.path}: {files.num_frames} frames" if kind == "short" else files.detail
                lines.append(f"  {clip.clip_id} ({clip.label}, {clip.split}): {detail}")
            if len(clips) > num_names:
                lines.append(f"  ... and {len(clips) - num_names} more")
        return lines

    def lines(self, num_names: int = 10) -> list[str]:
        """The whole check, line by line: what `hdf data check` prints."""
        lines = [self.name, *(f"  {note}" for note in self.notes), "", self.table(), ""]
        lines += self.problem_lines(num_names) or ["every listed clip was found"]
        total, published = len(self.clips), self.published.totals.get("all")
        if published and total != published:
            relation = "a small copy" if total < published else "more than published; is it the right annotation?"
            lines.append(f"lists {total} of {published} published clips: {relation}")
        if self.peer_protocol:
            lines.append("peer protocol: the validation split is the test split; mark every result of it")
        lines.append(f"FAIL: {self.failure}" if self.failure else "PASS")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


def class_counts(dataset: Any) -> dict:
    """
    Number of clips per class, also of classes without clips.

    Args:
        dataset (`Dataset` or `DatasetDict`): with a `ClassLabel` column `label`.

    Returns:
        `{"happiness": 12, ...}` for one split, `{"train": {"happiness": 12, ...}, ...}` for several.

    Example:

    ```python
    >>> from modeling_hdf.data import SyntheticFaces, class_counts
    >>> builder = SyntheticFaces(num_train=70)
    >>> builder.download_and_prepare()
    >>> class_counts(builder.as_dataset(split="train"))["fear"]
    10
    ```
    """
    if isinstance(dataset, dict):
        return {split: class_counts(rows) for split, rows in dataset.items()}
    names = dataset.features["label"].names
    counted = np.bincount(np.asarray(dataset["label"][:], dtype=np.int64), minlength=len(names))
    return dict(zip(names, counted.tolist(), strict=True))


__all__ = ["DatasetCheck", "allowed_missing", "class_counts", "missing_limit"]
