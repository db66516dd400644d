"""Damage to files, the same again for the same random numbers: to bytes, and to the values in JSON and YAML."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 50_000_000)
_VALUES = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**30, 10**400, 1e308, 0.5, -0.5),
    *(float("nan"), float("inf"), float("-inf")),
    *("", "text", "7", "/", "..", "\0", "ä\n", "x" * 5000, [], [[]], [1], ["a", None], {}, {"a": {}}, {"": None}),
)


def flip_bits(content: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 3, 20))):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def truncate(content: bytearray, random: Random) -> None:
    del content[random.randrange(len(content)) :]


def remove(content: bytearray, random: Random) -> None:
    start = random.randrange(len(content))
    del content[start : start + random.choice((1, 4, 50, 1000))]


def splice(content: bytearray, random: Random) -> None:
    """A piece of the file stands once more, at another place."""
    start, target = random.randrange(len(content)), random.randrange(len(content))
    content[target:target] = content[start : start + random.choice((4, 50, 1000))]


def insert(content: bytearray, random: Random) -> None:
    start = random.randrange(len(content))
    content[start:start] = random.randbytes(random.choice((1, 4, 50, 1000)))


def write_number(content: bytearray, random: Random) -> None:
    """A size, a count or a time becomes very large, or zero. Most headers lie near the start or the end."""
    place = random.choice((random.randrange(min(200, len(content))), random.randrange(len(content))))
    size = random.choice((2, 4, 8))
    number = random.choice(_NUMBERS) % (1 << 8 * size)
    content[place : place + size] = number.to_bytes(size, random.choice(("big", "little")))


_OF_BYTES = (flip_bits, truncate, remove, splice, insert, write_number, write_number)


def damage_bytes(content: bytes, random: Random) -> bytes:
    """One to four kinds of damage, one after the other."""
    damaged = bytearray(content)
    for _ in range(random.randint(1, 4)):
        if damaged:
            random.choice(_OF_BYTES)(damaged, random)
    return bytes(damaged)


def damage_value(value: Any, random: Random) -> Any:
    """One entry, however deep, becomes another value, goes, or comes twice."""
    if not isinstance(value, dict | list) or not value or random.random() < 0.05:
        return random.choice(_VALUES)
    value = value.copy()
    place = random.choice(list(value) if isinstance(value, dict) else range(len(value)))
    way = random.random()
    if way < 0.15:
        del value[place]
    elif way < 0.25:
        if isinstance(value, list):
            value.insert(place, value[place])
        else:
            value[f"{place}x"] = value[place]
    elif way < 0.6:
        value[place] = random.choice(_VALUES)
    else:
        value[place] = damage_value(value[place], random)
    return value


def _damage_values(
    content: bytes, random: Random, load: Callable[[bytes], Any], dump: Callable[[Any], str], share: float
) -> bytes:
    if random.random() > share:
        return damage_bytes(content, random)
    value = load(content)
    for _ in range(random.randint(1, 3)):
        value = damage_value(value, random)
    return dump(value).encode("utf-8", "replace")


def damage_json(content: bytes, random: Random) -> bytes:
    """Wrong values in two thirds of the files, wrong bytes in the others."""
    return _damage_values(content, random, json.loads, json.dumps, 0.67)


def damage_yaml(content: bytes, random: Random) -> bytes:
    """As [`damage_json`]."""
    return _damage_values(content, random, yaml.safe_load, yaml.safe_dump, 0.67)


def damage_json_lines(content: bytes, random: Random) -> bytes:
    """As [`damage_json`], in some of the lines."""
    lines = content.splitlines()
    for index in random.sample(range(len(lines)), random.randint(1, 2)):
        lines[index] = damage_json(lines[index], random)
    return b"\n".join(lines) + b"\n"


def damage_safetensors(content: bytes, random: Random) -> bytes:
    """The header, which is the length of a JSON text and the text, and in some files the end."""
    size = int.from_bytes(content[:8], "little")
    if random.random() < 0.4:
        return damage_bytes(content[: 8 + size], random) + content[8 + size :]
    if random.random() < 0.2:
        return content[: random.randrange(len(content))]
    header = damage_json(content[8 : 8 + size], random)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


__all__ = ["damage_bytes", "damage_json", "damage_json_lines", "damage_safetensors", "damage_yaml"]
