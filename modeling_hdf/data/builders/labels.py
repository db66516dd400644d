"""The classes of the datasets, in our order, and the names under which the datasets write them.

Labels are mapped by name wherever a dataset writes names. Where it writes numbers, whether they count from 0 or from 1
is found from the numbers and checked; nothing is guessed.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

from ...configuration_hdf import EMOTIONS

EXPRESSIONS = EMOTIONS
MAFW_EXPRESSIONS = (*EXPRESSIONS, "contempt", "anxiety", "helplessness", "disappointment")

_OTHER_NAMES = {
    "happy": "happiness", "sad": "sadness", "angry": "anger", "surprised": "surprise", "disgusted": "disgust",
    "fearful": "fear", "scared": "fear", "joy": "happiness", "contemptuous": "contempt", "anxious": "anxiety",
    "helpless": "helplessness", "disappointed": "disappointment",
}  # fmt: skip
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(\.0*)?")


def expression_name(text: str) -> str | None:
    """Our name of an expression, whatever its case and form (`"Happy"` is `"happiness"`); `None` if it is none."""
    name = plain_name(text)
    name = _OTHER_NAMES.get(name, name)
    return name if name in MAFW_EXPRESSIONS else None


def plain_name(text: str) -> str:
    """A name without what typing varies: case, spaces around it or doubled, and composed or decomposed accents."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def whole_number(text: str) -> int | None:
    """The number that a text writes, `"3"`, `"03"` or `"3.0"`; `None` if it is none, as `"²"`."""
    match = _WHOLE_NUMBER.fullmatch(text.strip())
    return int(match[1]) if match else None


def find_name(text: str, names: Sequence[str]) -> str | None:
    """
    The class that a label names, of the classes `names`; `None` if it names none.

    The name as it is written comes first; then without regard to case and spaces; then, of names that are numbers, by
    value (`"3.0"` is `"3"`); then as another name of the same expression (`"Happy"` is `"happiness"`).

    Raises:
        ValueError: if it may be one of several.
    """
    keys: tuple[Callable[[str], str | int | None], ...] = (str.strip, plain_name, whole_number, expression_name)
    for key in keys:
        wanted = key(text)
        found = [] if wanted is None else [name for name in names if key(name) == wanted]
        if len(found) > 1:
            raise ValueError(f"label {text!r} may be {' or '.join(map(repr, found))}; write the name as it is.")
        if found:
            return found[0]
    return None


def resolve_labels(
    texts: Sequence[str], places: Sequence[str], names: Sequence[str], base: int | None = None
) -> tuple[list[str], int | None]:
    """
    Class names of labels as a file writes them: names, or numbers that count from 0 or from 1.

    A label that is the name of a class is that class, also if the name is a number. Only where no class is named by a
    number do numbers count classes.

    Args:
        texts (`Sequence[str]`): the labels of all files that belong together, as written.
        places (`Sequence[str]`): file and line of each, for messages.
        names (`Sequence[str]`): the classes, in order.
        base (`int`, *optional*): 0 or 1, where the numbers do not tell; `None` finds it from the numbers.

    Returns:
        The name of each label, and the base (`None` if the labels are names).

    Raises:
        ValueError: if a label is unknown or may be several classes, if names and numbers are mixed, if the numbers fit
            neither base, both, or not the given one, or if a base is given for classes named by numbers.
    """
    first = {text: place for text, place in zip(reversed(texts), reversed(places), strict=True)}
    found = {text: _find_at(text, names, place) for text, place in first.items()}
    if any(whole_number(name) is not None for name in names):
        if base is not None:
            raise ValueError(f"`label_base` has no meaning: classes are named by numbers ({', '.join(names)}).")
        are_numbers = []
    else:
        are_numbers = [whole_number(text) is not None for text in texts]
    if not any(are_numbers):
        for text, name in found.items():
            if name is None:
                raise ValueError(f"{first[text]}: unknown label {text!r}; the classes are {', '.join(names)}.")
        return [found[text] for text in texts], None
    if not all(are_numbers):
        index = are_numbers.index(not are_numbers[0])
        raise ValueError(f"{places[index]}: label {texts[index]!r} among labels like {texts[0]!r}: names or numbers?")
    numbers = [whole_number(text) for text in texts]
    base = _label_base(numbers, places, len(names), base)
    return [names[number - base] for number in numbers], base


def _find_at(text: str, names: Sequence[str], place: str) -> str | None:
    try:
        return find_name(text, names)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def refuse_numbers(texts: Sequence[str], places: Sequence[str], reason: str) -> None:
    """Raises a `ValueError` with `reason` if a label is a number, where only names are safe."""
    for text, place in zip(texts, places, strict=True):
        if whole_number(text) is not None:
            raise ValueError(f"{place}: label {text!r} is a number. {reason}")


def spelling_notes(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A note for each class whose labels are written in several ways."""
    written: dict[str, set[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        written.setdefault(label, set()).add(text)
    return [
        f"labels {', '.join(map(repr, sorted(ways)))} are one class, {label!r}"
        for label, ways in written.items()
        if len(ways) > 1
    ]


def _label_base(numbers: list[int], places: Sequence[str], num_classes: int, base: int | None) -> int:
    fitting = [start for start in (0, 1) if start <= min(numbers) and max(numbers) < start + num_classes]
    low, high = (numbers.index(value) for value in (min(numbers), max(numbers)))
    found = f"labels run from {numbers[low]} ({places[low]}) to {numbers[high]} ({places[high]})"
    if not fitting or (base is not None and base not in fitting):
        wanted = f"0 to {num_classes - 1} or 1 to {num_classes}" if base is None else f"to count from {base}"
        raise ValueError(f"The {found}; they must be {wanted}. Are these files of one source?")
    if base is None and len(fitting) > 1:
        raise ValueError(
            f"The {found}: that fits labels counted from 0 and from 1. Say which with `label_base` "
            "(`--label-base`): 1 for DFEW's own files."
        )
    return fitting[0] if base is None else base


__all__ = [
    "EXPRESSIONS",
    "MAFW_EXPRESSIONS",
    "expression_name",
    "find_name",
    "plain_name",
    "refuse_numbers",
    "resolve_labels",
    "spelling_notes",
    "whole_number",
]
