"""Checks for entries of a JSON file. A check takes an entry and its name, and raises a `ValueError` with the name."""

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]


def must_be(words: str, accepts: Callable[[Any], bool]) -> Check:
    """The check that a function accepts the entry; `words` describe a valid entry."""

    def check(value: Any, name: str) -> None:
        if not accepts(value):
            shown = repr(value)
            shown = shown if len(shown) < 80 else shown[:76] + " ..."
            raise ValueError(f"`{name}` is {shown}; it must be {words}")

    return check


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_interval(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_share, value)) and value[0] <= value[1]


text = must_be("a text", lambda value: isinstance(value, str))
flag = must_be("true or false", lambda value: isinstance(value, bool))
whole = must_be("a whole number", _is_whole)
count = must_be("a whole number of at least 0", lambda value: _is_whole(value) and value >= 0)
positive_count = must_be("a whole number of at least 1", lambda value: _is_whole(value) and value >= 1)
not_negative = must_be("a number of at least 0", lambda value: _is_number(value) and value >= 0)
positive = must_be("a number above 0", lambda value: _is_number(value) and value > 0)
share = must_be("a number from 0 to 1", _is_share)
interval = must_be("a pair [low, high] of numbers from 0 to 1", _is_interval)
json_object = must_be("an object", lambda value: isinstance(value, dict))
json_list = must_be("a list", lambda value: isinstance(value, list | tuple))


def one_of(*choices: str) -> Check:
    """The check that the entry is one of some texts."""
    return must_be(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def or_null(check: Check) -> Check:
    """The check of an entry that may be null."""
    return lambda value, name: None if value is None else check(value, name)


def each(check: Check) -> Check:
    """The check of every entry of an object whose keys are names."""

    def check_all(value: Any, name: str) -> None:
        json_object(value, name)
        for key, entry in value.items():
            text(key, f"{name}: a key")
            check(entry, f"{name}.{key}")

    return check_all


def list_of(check: Check) -> Check:
    """The check of every entry of a list."""

    def check_all(value: Any, name: str) -> None:
        json_list(value, name)
        for index, entry in enumerate(value):
            check(entry, f"{name}[{index}]")

    return check_all


def record(may_have: Mapping[str, Check] | None = None, /, **checks: Check) -> Check:
    """The check of an object with these entries, and perhaps those of `may_have`; other entries are ignored."""

    def check_all(value: Any, name: str) -> None:
        json_object(value, name)
        for key, check in checks.items():
            if key not in value:
                raise ValueError(f"`{name}` has no {key}")
            check(value[key], f"{name}.{key}")
        for key, check in (may_have or {}).items():
            if key in value:
                check(value[key], f"{name}.{key}")

    return check_all


__all__ = [
    *("Check", "count", "each", "flag", "interval", "json_object", "list_of", "must_be", "not_negative", "one_of"),
    *("or_null", "positive", "positive_count", "record", "share", "text", "whole"),
]
