"""The classes of the datasets, in our order, and the names that the datasets use for them.

Labels that are names are mapped by name. For labels that are numbers, the code finds from the numbers whether they
count from 0 or from 1, and fails if they fit both.
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
    """Our name of an expression, for any case and form (`"Happy"` is `"happiness"`); `None` for any other text."""
    name = plain_name(text)
    name = _OTHER_NAMES.get(name, name)
    return name if name in MAFW_EXPRESSIONS else None


def plain_name(text: str) -> str:
    """A name without differences of typing: case, extra spaces, and composed or decomposed accents."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def class_meaning(name: str) -> str:
    """What classes of different datasets that are one class have in common: the expression, or else the plain name."""
    return expression_name(name) or plain_name(name)


def whole_number(text: str) -> int | None:
    """The whole number in a text such as `"3"`, `"03"` or `"3.0"`; `None` for any other text, such as `"²"`."""
    match = _WHOLE_NUMBER.fullmatch(text.strip())
    return int(match[1]) if match else None


def find_name(text: str, names: Sequence[str]) -> str | None:
    """
    The class in `names` that a label names; `None` if there is no such class.

    The label is compared in this order: as written; without regard to case and spaces; by value, for names that are
    numbers (`"3.0"` is `"3"`); as another name of the same expression (`"Happy"` is `"happiness"`).

    Raises:
        ValueError: if the label fits several classes.
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
    Finds the class names of the labels in a file: names, or numbers that count from 0 or from 1.

    A class may have a number as its name; numbers in the file are then names. Otherwise they count the classes.

    Args:
        texts (`Sequence[str]`): the labels of all files that belong together, as written.
        places (`Sequence[str]`): file and line of each label, for messages.
        names (`Sequence[str]`): the classes, in order.
        base (`int`, *optional*): 0 or 1, the number of the first class; `None` finds the base from the numbers.

    Returns:
        The class name of each label, and the base (`None` if the labels are names).

    Raises:
        ValueError: if a label is unknown or fits several classes, if names and numbers are mixed, if the numbers do
            not fit `base`, if they fit both bases or neither, or if `base` is set for classes named by numbers.
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
    """Raises a `ValueError` with `reason` if a label is a number."""
    for text, place in zip(texts, places, strict=True):
        if whole_number(text) is not None:
            raise ValueError(f"{place}: label {text!r} is a number. {reason}")


def spelling_notes(texts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A note for each class whose label is spelled in several ways."""
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
    "class_meaning",
    "expression_name",
    "find_name",
    "plain_name",
    "refuse_numbers",
    "resolve_labels",
    "spelling_notes",
    "whole_number",
]
