"""CREMA-D: acted speech of 91 people with votes of a crowd (Cao et al., 2014, doi 10.1109/TAFFC.2014.2336244)."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from ..file_names import printable
from .acted import ActedBuilder, ActedConfig
from .cremad_tables import VOTED_ON, Person, read_crowd_votes, read_names, read_people
from .labels import EXPRESSIONS
from .listing import ListedClip, Listing, PublishedCounts
from .split_files import one_of, with_subfolders
from .terms import CREMAD_TERMS, Terms

_EMOTIONS = {
    "HAP": "happiness", "SAD": "sadness", "NEU": "neutral", "ANG": "anger", "DIS": "disgust", "FEA": "fear",
}  # fmt: skip
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
_LABELS = tuple(name for name in EXPRESSIONS if name != "surprise")
_CLASSES = (1271, 1271, 1087, 1271, 1271, 1271)
# Damaged, empty, or showing something else than the name says (the README of CREMA-D, and reports of users).
_DAMAGED = (
    "1047_IEO_FEA_LO", "1047_IEO_SAD_LO", "1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX",
)  # fmt: skip


@dataclass
class CREMADConfig(ActedConfig):
    """
    Which fold of CREMA-D, from where; see [`ActedConfig`].

    `data_dir` is a clone of the repository, with the videos fetched by Git LFS: `VideoFlash/1001_DFA_ANG_XX.flv` and
    so on (at any depth). These files of the repository are read if they are there: `SentenceFilenames.csv`, the list
    of all clips, without which a missing clip is not noticed; `VideoDemographics.csv`; and
    `processedResults/tabulatedVotes.csv`.

    The label is the emotion that the actor was asked to show. The crowd often saw another one: people who saw the
    face without sound agreed with the label for 58 % of the clips.

    The authors publish no split. The five folds are a permutation of the actors by `numpy.random.default_rng(0)`,
    cut in five.

    Args:
        votes_on: what the crowd of `votes` saw or heard: `"face"`, `"voice"` or `"both"`.
    """

    votes_on: str = "face"

    dataset: ClassVar[str] = "CREMA-D"
    terms: ClassVar[Terms] = CREMAD_TERMS
    has_votes: ClassVar[bool] = True
    votes_name: ClassVar[str] = "processedResults/tabulatedVotes.csv"
    labels_are_votes: ClassVar[bool] = False
    label_names: ClassVar[tuple[str, ...]] = _LABELS
    clip_name: ClassVar[re.Pattern] = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_([A-Z]{2})")
    example: ClassVar[str] = "VideoFlash/1001_DFA_ANG_XX.flv"
    test_actors: ClassVar[dict[str, tuple[int, ...]]] = {
        "fold1": (
            *(1006, 1009, 1010, 1011, 1012, 1014, 1017, 1020, 1021, 1026, 1028, 1045, 1069, 1071, 1075, 1083, 1086),
            *(1090, 1091),
        ),
        "fold2": (
            *(1003, 1005, 1016, 1024, 1031, 1035, 1037, 1040, 1043, 1051, 1053, 1056, 1058, 1065, 1073, 1074, 1076),
            1087,
        ),
        "fold3": (
            *(1001, 1002, 1004, 1007, 1018, 1019, 1022, 1025, 1029, 1036, 1044, 1048, 1054, 1061, 1063, 1066, 1067),
            1068,
        ),
        "fold4": (
            *(1013, 1015, 1023, 1027, 1033, 1038, 1041, 1046, 1047, 1050, 1052, 1059, 1062, 1072, 1084, 1085, 1088),
            1089,
        ),
        "fold5": (
            *(1008, 1030, 1032, 1034, 1039, 1042, 1049, 1055, 1057, 1060, 1064, 1070, 1077, 1078, 1079, 1080, 1081),
            1082,
        ),
    }
    folds: ClassVar[tuple[str, ...]] = tuple(test_actors)

    def __post_init__(self):
        super().__post_init__()
        if self.votes_on not in VOTED_ON:
            raise ValueError(f"`votes_on` is {self.votes_on!r}; choose one of {', '.join(VOTED_ON)}.")

    def file(self, name: str) -> str | None:
        """Path of a file of the repository, such as `VideoDemographics.csv`; `None` if it is not there."""
        return one_of(with_subfolders(self.data_dir), name)

    def votes_file(self) -> str | None:
        """Path of `processedResults/tabulatedVotes.csv`, if it exists."""
        return self.file(self.votes_name)

    @cached_property
    def votes(self) -> dict[str, list[int]]:
        """See [`ExpressionConfig`]."""
        file = self.votes_file()
        return {} if file is None else read_crowd_votes(file, self.label_names, self.votes_on)

    @cached_property
    def people(self) -> dict[str, Person]:
        """What is known of the actors, by their numbers as text; empty without `VideoDemographics.csv`."""
        file = self.file(_ABOUT["demographics"])
        return {} if file is None else read_people(file)

    def missing_sources(self) -> dict[str, str]:
        """By column, see [`ExpressionConfig`]."""
        if self.file(_ABOUT["demographics"]) is not None:
            return {}
        told = (
            f"{self.data_dir}: holds no {_ABOUT['demographics']}, which tells {', '.join(_OF_PEOPLE)} of the actors; "
            "copy it there from a clone of https://github.com/CheyneyComputerScience/CREMA-D."
        )
        return dict.fromkeys(_OF_PEOPLE, told)

    def read_listing(self) -> Listing:
        """Reads the list of clips, or else the names of the files."""
        found, notes = self.find_clips()
        names_file = self.file("SentenceFilenames.csv")
        if names_file is None:
            names = dict.fromkeys(sorted(found), "")
            notes.append("no SentenceFilenames.csv: missing clips are not noticed")
        else:
            names = read_names(names_file)
            unlisted = sorted(set(found) - set(names))
            if unlisted:
                notes.append(f"{len(unlisted)} clips are not in {names_file} and not used, such as {unlisted[0]}")
        folder = os.path.dirname(next(iter(found.values())))
        clips = [
            self._listed(name, found.get(name, os.path.join(folder, f"{name}.flv")), place)
            for name, place in names.items()
        ]
        files = {what: self.file(name) for what, name in _ABOUT.items()}
        notes += [
            f"no {_ABOUT[what]}: no {what}" if file is None else f"{what}: {file}" for what, file in files.items()
        ]
        unknown = sorted({clip.group for clip in clips} - set(self.people))
        if self.people and unknown:
            notes.append(f"actors without demographics: {', '.join(unknown)}")
        damaged = [name for name in _DAMAGED if name in found]
        if damaged:
            notes.append(
                "known in the published set as damaged, or as showing something else than their names say, look at "
                f"them: {', '.join(damaged)}"
            )
        read = [file for file in (names_file, *files.values()) if file is not None]
        return Listing(clips, self.label_names, read, notes, has_groups=True)

    def _listed(self, name: str, path: str, place: str) -> ListedClip:
        match = self.clip_name.fullmatch(name)
        actor = int(match[1]) if match else 0
        if not match or match[2] not in _EMOTIONS or match[3] not in _LEVELS or not 1001 <= actor <= 1091:
            raise ValueError(
                f"{place or printable(path)}: {name!r} is no name of a clip of CREMA-D: actor (1001 to 1091), "
                f"sentence, emotion ({', '.join(_EMOTIONS)}), level ({', '.join(_LEVELS)})."
            )
        split = self.split_of(actor)
        return ListedClip(name, _EMOTIONS[match[2]], split, path, place or path, fold=self.fold, group=match[1])

    def published(self) -> PublishedCounts:
        """Counts of all clips."""
        return PublishedCounts({"all": sum(_CLASSES)}, {"all": _CLASSES})


_OF_PEOPLE = ("sex", "age", "race", "ethnicity")
_ABOUT = {"votes": CREMADConfig.votes_name, "demographics": "VideoDemographics.csv"}


class CREMAD(ActedBuilder):
    """CREMA-D, one fold: 7,442 clips of 91 actors who speak twelve sentences with one of six expressions.

    Open data (ODbL 1.0, contents DbCL 1.0, https://github.com/CheyneyComputerScience/CREMA-D). See
    [`ExpressionBuilder`] for columns and splits and [`CREMADConfig`] for the arguments; there is no surprise. More
    columns: `group` (the actor), `sex`, `age`, `race` and `ethnicity` as `VideoDemographics.csv` states them, and
    `level`, the intensity (low, medium, high, unspecified).

    Example:

    ```python
    >>> from modeling_hdf.data import CREMAD
    >>> builder = CREMAD(config_name="fold1", data_dir="CREMA-D")
    >>> builder.download_and_prepare()
    >>> train = builder.as_dataset(split="train")
    ```
    """

    BUILDER_CONFIG_CLASS = CREMADConfig
    about = {"sex": "string", "age": "int32", "race": "string", "ethnicity": "string", "level": "string"}

    def known_of(self, clip_id: str) -> dict[str, Any]:
        actor, _, _, level = clip_id.split("_")
        person = self.config.people.get(actor, Person())
        return {
            "sex": person.sex,
            "age": person.age,
            "race": person.race,
            "ethnicity": person.ethnicity,
            "level": _LEVELS[level],
        }


__all__ = ["CREMAD", "CREMADConfig"]
