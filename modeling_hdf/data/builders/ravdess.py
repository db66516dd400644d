"""RAVDESS: acted speech and song of 24 people (Livingstone and Russo, 2018, doi 10.1371/journal.pone.0196391)."""

import itertools
import os
import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from .acted import ActedBuilder, ActedConfig
from .labels import EXPRESSIONS
from .listing import ListedClip, Listing, PublishedCounts
from .terms import RAVDESS_TERMS, Terms

_EMOTIONS = ("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise")  # 01 to 08
_CHANNELS = ("speech", "song")  # 01, 02
_SUNG = ("neutral", "calm", "happiness", "sadness", "anger", "fear")
_NOT_SINGING = 18
_ACTORS = range(1, 25)
_HIGHEST = {"modality": 3, "channel": 2, "emotion": 8, "intensity": 2, "statement": 2, "repetition": 2, "actor": 24}
_WITH_SOUND, _WITHOUT_SOUND = 1, 2

Calm = Literal["drop", "neutral", "own"]
Channels = Literal["speech", "song", "both"]


@dataclass(frozen=True)
class Take:
    """The seven numbers in a file's name, each from 1."""

    modality: int
    channel: int
    emotion: int
    intensity: int
    statement: int
    repetition: int
    actor: int

    @classmethod
    def of(cls, name: str) -> "Take":
        """
        Reads a name such as `01-01-03-02-01-01-12`.

        Raises:
            ValueError: if a number is out of range; the message names the file and the number.
        """
        numbers = dict(zip(_HIGHEST, map(int, name.split("-")), strict=True))
        for field, number in numbers.items():
            if not 1 <= number <= _HIGHEST[field]:
                raise ValueError(
                    f"{name}: the {field} in the name is {number:02d}; RAVDESS has 01 to {_HIGHEST[field]:02d}."
                )
        return cls(**numbers)

    @property
    def label(self) -> str:
        """The acted emotion."""
        return _EMOTIONS[self.emotion - 1]

    @property
    def name(self) -> str:
        """Name of the file, without suffix."""
        return "-".join(f"{getattr(self, field):02d}" for field in _HIGHEST)


def takes_of(actor: int, channel: int) -> list[Take]:
    """The takes that an actor spoke (60) or sang (44, none by actor 18), as videos with sound."""
    emotions = [number for number, name in enumerate(_EMOTIONS, start=1) if channel == 1 or name in _SUNG]
    if channel == 2 and actor == _NOT_SINGING:
        return []
    return [
        Take(_WITH_SOUND, channel, emotion, intensity, statement, repetition, actor)
        for emotion in emotions
        for intensity, statement, repetition in itertools.product((1, 2), repeat=3)
        if _EMOTIONS[emotion - 1] != "neutral" or intensity == 1
    ]


@dataclass
class RAVDESSConfig(ActedConfig):
    """
    Which fold of RAVDESS, from where; see [`ActedConfig`].

    `data_dir` holds the unpacked `Video_Speech_Actor_01.zip` to `..._24.zip`, and those of the song: files such as
    `Actor_12/01-01-03-02-01-01-12.mp4` at any depth. Each take is published with sound and without: the builder takes
    one of the two, with sound if it is there. Of an actor who is there, a take that is not there counts as missing.

    The folds are those of the literature, which counts them from 0: no actor of the test split is in the others.

    Args:
        channels: `"speech"` (1,440 takes), `"song"` (1,012) or `"both"`.
        calm: what becomes of calm, which is no class of other datasets: `"drop"` leaves it out, `"neutral"` counts it
            as neutral, `"own"` makes it an eighth class.
    """

    channels: Channels = "speech"
    calm: Calm = "drop"

    dataset: ClassVar[str] = "RAVDESS"
    terms: ClassVar[Terms] = RAVDESS_TERMS
    whole: ClassVar[dict[str, Any]] = {"channels": "both", "calm": "own"}
    clip_name: ClassVar[re.Pattern] = re.compile(r"\d\d(-\d\d){6}")
    example: ClassVar[str] = "Actor_12/01-01-03-02-01-01-12.mp4"
    test_actors: ClassVar[dict[str, tuple[int, ...]]] = {
        "fold1": (2, 5, 14, 15, 16),
        "fold2": (3, 6, 7, 13, 18),
        "fold3": (10, 11, 12, 19, 20),
        "fold4": (8, 17, 21, 23, 24),
        "fold5": (1, 4, 9, 22),
    }
    folds: ClassVar[tuple[str, ...]] = tuple(test_actors)

    def __post_init__(self):
        super().__post_init__()
        if self.channels not in (*_CHANNELS, "both"):
            raise ValueError(f"`channels` is {self.channels!r}; choose 'speech', 'song' or 'both'.")
        if self.calm not in ("drop", "neutral", "own"):
            raise ValueError(f"`calm` is {self.calm!r}; choose 'drop', 'neutral' or 'own'.")

    def read_listing(self) -> Listing:
        """Reads the names of the files."""
        found, notes = self.find_clips()
        takes = [take for take in map(Take.of, found) if take.modality != 3]
        unused = {replace(take, modality=_WITH_SOUND) for take in takes if take.channel not in self._channel_numbers}
        takes = [take for take in takes if take.channel in self._channel_numbers]
        if unused:
            other = _CHANNELS[next(iter(unused)).channel - 1]
            told = f"{len(unused)} takes of {other} lie there and are not used; `channels` says which are"
            if not takes:
                raise FileNotFoundError(
                    f"{self.clips_dir or self.data_dir}: holds no take of {self.channels}. {told}."
                )
            notes.append(told)
        there: dict[Take, Take] = {}  # the take with sound: the take to use
        for take in sorted(takes, key=lambda take: -take.modality):
            there[replace(take, modality=_WITH_SOUND)] = take
        doubled = len(takes) - len(there)
        notes.append(f"{doubled} takes lie there with and without sound; the file with sound is used")
        folders = {(take.actor, take.channel): os.path.dirname(found[take.name]) for take in takes}
        expected = {take for actor, channel in folders for take in takes_of(actor, channel)}
        clips = []
        for take in sorted(expected | set(there), key=lambda take: take.name):
            label = self._label_of(take)
            if label is None:
                continue
            name = there.get(take, take).name
            path = found.get(name, os.path.join(folders[take.actor, take.channel], f"{name}.mp4"))
            split, group = self.split_of(take.actor), f"{take.actor:02d}"
            clips.append(ListedClip(name, label, split, path, path, fold=self.fold, group=group))
        num_calm = sum(take.label == "calm" for take in there)
        notes.append(f"calm: {num_calm} clips, {_CALM_NOTES[self.calm]}")
        return Listing(clips, self._labels, [], notes, has_groups=True)

    def _label_of(self, take: Take) -> str | None:
        """Class of a take; `None` for a calm one that is left out."""
        if take.label != "calm":
            return take.label
        return {"drop": None, "neutral": "neutral", "own": "calm"}[self.calm]

    @property
    def _channel_numbers(self) -> tuple[int, ...]:
        return (1, 2) if self.channels == "both" else (_CHANNELS.index(self.channels) + 1,)

    @property
    def _labels(self) -> tuple[str, ...]:
        return (*EXPRESSIONS, "calm") if self.calm == "own" else EXPRESSIONS

    def published(self) -> PublishedCounts:
        """Counts of the takes, with `channels`, `calm` and the actors of the fold."""
        classes = {"train": dict.fromkeys(self._labels, 0), "test": dict.fromkeys(self._labels, 0)}
        for actor, channel in itertools.product(_ACTORS, self._channel_numbers):
            for take in takes_of(actor, channel):
                label = self._label_of(take)
                if label is not None:
                    classes[self.split_of(actor)][label] += 1
        counts = {split: tuple(by_label.values()) for split, by_label in classes.items()}
        counts["all"] = tuple(map(sum, zip(*counts.values(), strict=True)))
        return PublishedCounts({split: sum(numbers) for split, numbers in counts.items()}, counts)


_CALM_NOTES = {"drop": "left out", "neutral": "counted as neutral", "own": "a class of their own"}


class RAVDESS(ActedBuilder):
    """RAVDESS, one fold: 24 actors who speak, and 23 who sing, two sentences with one of seven expressions.

    Open data (CC BY-NC-SA 4.0, https://zenodo.org/records/1188976): not for commercial use. See [`ExpressionBuilder`]
    for columns and splits and [`RAVDESSConfig`] for the arguments. More columns: `group` (the actor), `sex`,
    `intensity` (normal or strong) and `channel` (speech or song).

    Example:

    ```python
    >>> from modeling_hdf.data import RAVDESS
    >>> builder = RAVDESS(config_name="fold1", data_dir="RAVDESS")
    >>> builder.download_and_prepare()
    >>> train = builder.as_dataset(split="train")
    ```
    """

    BUILDER_CONFIG_CLASS = RAVDESSConfig
    about = {"sex": "string", "intensity": "string", "channel": "string"}

    def known_of(self, clip_id: str) -> dict[str, Any]:
        take = Take.of(clip_id)
        return {
            "sex": "male" if take.actor % 2 else "female",
            "intensity": "normal" if take.intensity == 1 else "strong",
            "channel": _CHANNELS[take.channel - 1],
        }


__all__ = ["RAVDESS", "RAVDESSConfig", "Take", "takes_of"]
