"""The classes of the datasets, in our order, and the names under which the datasets write them.

Labels are mapped by name wherever a dataset writes names. Where it writes numbers, whether they count from 0 or from 1
is found from the numbers and checked; nothing is guessed.
"""

from collections.abc import Sequence

from ...configuration_hdf import EMOTIONS

EXPRESSIONS = EMOTIONS
MAFW_EXPRESSIONS = (*EXPRESSIONS, "contempt", "anxiety", "helplessness", "disappointment")

_OTHER_NAMES = {
    "happy": "happiness", "sad": "sadness", "angry": "anger", "surprised": "surprise", "disgusted": "disgust",
    "fearful": "fear", "scared": "fear", "joy": "happiness", "contemptuous": "contempt", "anxious": "anxiety",
    "helpless": "helplessness", "disappointed": "disappointment",
}  # fmt: skip


def expression_name(text: str) -> str | None:
    """Our name of an expression, whatever its case and form (`"Happy"` is `"happiness"`); `None` if it is none."""
    name = text.strip().lower()
    name = _OTHER_NAMES.get(name, name)
    return name if name in MAFW_EXPRESSIONS else None


def resolve_labels(
    texts: Sequence[str], places: Sequence[str], names: Sequence[str], base: int | None = None
) -> tuple[list[str], int | None]:
    """
    Class names of labels as a file writes them: names, or numbers that count from 0 or from 1.

    Args:
        texts (`Sequence[str]`): the labels of all files that belong together, as written.
        places (`Sequence[str]`): file and line of each, for messages.
        names (`Sequence[str]`): the classes, in order.
        base (`int`, *optional*): 0 or 1, where the numbers do not tell; `None` finds it from the numbers.

    Returns:
        The name of each label, and the base (`None` if the labels are names).

    Raises:
        ValueError: if a label is unknown, if names and numbers are mixed, or if the numbers fit neither base, both,
            or not the given one.
    """
    numeric = [text.strip().lstrip("-").isdigit() for text in texts]
    if not any(numeric):
        known = {name.lower(): name for name in names}
        resolved = []
        for text, place in zip(texts, places, strict=True):
            name = known.get(text.strip().lower()) or expression_name(text)
            if name not in names:
                raise ValueError(f"{place}: unknown label {text!r}; the classes are {', '.join(names)}.")
            resolved.append(name)
        return resolved, None
    if not all(numeric):
        index = numeric.index(not numeric[0])
        raise ValueError(f"{places[index]}: label {texts[index]!r} among labels like {texts[0]!r}: names or numbers?")
    numbers = [int(text) for text in texts]
    base = _label_base(numbers, places, len(names), base)
    return [names[number - base] for number in numbers], base


def refuse_numbers(texts: Sequence[str], places: Sequence[str], reason: str) -> None:
    """Raises a `ValueError` with `reason` if a label is a number, where only names are safe."""
    for text, place in zip(texts, places, strict=True):
        if text.strip().isdigit():
            raise ValueError(f"{place}: label {text!r} is a number. {reason}")


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


__all__ = ["EXPRESSIONS", "MAFW_EXPRESSIONS", "expression_name", "refuse_numbers", "resolve_labels"]
