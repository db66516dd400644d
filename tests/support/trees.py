"""Small trees in the formats of DFEW, FERV39k, MAFW, FER2013, RAVDESS, CREMA-D and own data.

Each frame is of one colour that spells its position in the clip and the clip's number, so that order and identity can
be read back from the pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import openpyxl
from PIL import Image

from modeling_hdf.data import encode_mp4

NUM_FRAMES = 12
EMOTIONS = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")  # as the datasets write them
OURS = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
VOTE_COLUMNS = ["order", "1happy", "2sad", "3neutral", "4angry", "5surprise", "6disgust", "7fear", "label"]
SCENES = ("Action", "War")
_STEP = 18


@dataclass(frozen=True)
class Expected:
    """What a loader must find: `number` is spelled by the pixels, `split` is train or test."""

    clip_id: str
    label: str
    split: str
    number: int


def picture(position: int, number: int, size: int = 16) -> np.ndarray:
    """A frame `(size, size, 3)` of one colour: its position (from 0) in red, the clip's number in green and blue."""
    colour = (_STEP * (position % 14), _STEP * (number % 14), _STEP * (number // 14 % 14))
    return np.full((size, size, 3), colour, dtype=np.uint8)


def read_back(clip: np.ndarray) -> tuple[list[int], int]:
    """Positions of the frames as shown, and the clip's number (modulo 196)."""
    colours = np.rint(clip[:, 4:12, 4:12].mean(axis=(1, 2)) / _STEP).astype(int)  # (F, 3)
    numbers = set((colours[:, 1] + 14 * colours[:, 2]).tolist())
    assert len(numbers) == 1, numbers
    return colours[:, 0].tolist(), numbers.pop()


def write_frames(folder: Path, names: Iterable[str], number: int = 0, size: int = 16) -> None:
    """Frames under `names`, the first of which is position 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(names):
        options = {} if name.endswith(".png") else {"quality": 95, "subsampling": 0}
        Image.fromarray(picture(position, number, size)).save(folder / name, **options)


def write_video(path: Path, number: int = 0, num_frames: int = NUM_FRAMES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.stack([picture(position, number) for position in range(num_frames)])
    path.write_bytes(encode_mp4(frames, fps=25, crf=5.0))


def write_clip(path: Path, names: Sequence[str] | None, number: int) -> None:
    """A folder of frames under `names`, or a video `path.mp4` if there are none."""
    if names is None:
        write_video(path.with_name(f"{path.name}.mp4"), number)
    else:
        write_frames(path, names, number)


def unpadded(_: int) -> list[str]:
    return [f"{index}.jpg" for index in range(1, NUM_FRAMES + 1)]


def padded(number: int) -> list[str]:
    return [f"{number:05d}_{index:05d}.jpg" for index in range(1, NUM_FRAMES + 1)]


def half_padded(number: int) -> list[str]:
    return [f"{number:05d}_{index}.jpg" for index in range(1, NUM_FRAMES + 1)]


def single(_: int) -> list[str]:
    return ["1.jpg"]


def pictures_png(_: int) -> list[str]:
    return [f"{index:02d}.png" for index in range(1, NUM_FRAMES + 1)]


def video(_: int) -> None:
    return None


DFEW_FORMS = {
    "original": ("Clip/original", video),
    "clip_224x224": ("Clip/clip_224x224", padded),
    "jpg_256": ("Clip/jpg_256", half_padded),
    "clip_224x224_16f": ("Clip/clip_224x224_16f", unpadded),
    "clip_224x224_16f padded": ("Clip/clip_224x224_16f", padded),
}


def write_dfew(
    root: Path,
    form: str = "clip_224x224",
    *,
    base: int = 1,
    spelling: str = "{split}(single-labeled)",
    file: str = "set_1.csv",
    id_format: str = "{}",
    per_class: int = 4,
    clips_at: str | None = None,
) -> list[Expected]:
    """DFEW's fold 1: of each class `per_class` clips, the last for test. Returns what is listed."""
    folder, naming = DFEW_FORMS[form]
    expected, lines = [], {"train": [], "test": []}
    for index in range(7 * per_class):
        label, number, split = index % 7, 3 + 5 * index, "test" if index >= 7 * (per_class - 1) else "train"
        write_clip(root / (clips_at or folder) / f"{number:05d}", naming(number), number)
        expected.append(Expected(id_format.format(number), OURS[label], split, number))
        lines[split].append(f"{id_format.format(number)},{label + base}")
    for split, rows in lines.items():
        path = root / "EmoLabel_DataSplit" / spelling.format(split=split) / file.format(split=split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["video_name,label", *rows, ""]))
    return expected


def write_votes(root: Path, expected: list[Expected], columns: Sequence[str] = VOTE_COLUMNS) -> Path:
    """`annotation.xlsx`: for each clip six votes for its class and `number % 4` for happiness."""
    workbook = openpyxl.Workbook()
    workbook.active.append(list(columns))
    for clip in expected:
        votes = [6 * (label == clip.label) for label in OURS]
        votes[0] += clip.number % 4
        workbook.active.append([clip.number, *votes, OURS.index(clip.label) + 1])
    path = root / "Annotation" / "annotation.xlsx"
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook.save(path)
    return path


def write_ferv39k(
    root: Path,
    clips: str = "2_ClipsforFaceCrop",
    *,
    header: str | None = None,
    naming=padded,
    scenes: Sequence[str] = SCENES,
) -> list[Expected]:
    """FERV39k: of each scene and class two clips for training and one for test."""
    expected, lines = [], {"train": [], "test": []}
    number = 0
    for scene in scenes:
        for emotion, label in zip(EMOTIONS, OURS, strict=True):
            for index, split in enumerate(("train", "train", "test")):
                name = f"{index + 9:04d}"  # 0009, 0010, 0011
                write_clip(root / clips / scene / emotion / name, naming(number), number)
                expected.append(Expected(f"{scene}/{emotion}/{name}", label, split, number))
                lines[split].append(f"{scene}/{emotion}/{name} {emotion}")
                number += 1
    setups = root / "4_setups" / "All_scenes"
    setups.mkdir(parents=True, exist_ok=True)
    for split, rows in lines.items():
        (setups / f"{split}_All.csv").write_text("\n".join([*([header] if header else []), *rows, ""]))
    return expected


MAFW_CLASSES = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt", "anxiety", "helplessness",
    "disappointment",
)  # fmt: skip
MAFW_FORMS = {
    "faces": ("data/frames_crop_align_224", pictures_png),
    "frames": ("data/frames", pictures_png),
    "clips": ("data/clips", video),
}


def write_mafw(root: Path, form: str = "frames", annotation: str = "split/single/no_caption") -> list[Expected]:
    """MAFW's fold 1: of each class three clips, the last for test."""
    folder, naming = MAFW_FORMS[form]
    expected, lines = [], {"train": [], "test": []}
    for index in range(33):
        label, number, split = MAFW_CLASSES[index // 3], 2 + 3 * index, "test" if index % 3 == 2 else "train"
        write_clip(root / folder / f"{number:05d}", naming(number), number)
        expected.append(Expected(f"{number:05d}.mp4", label, split, number))
        lines[split].append(f"{number:05d}.mp4 {label}")
    for split, rows in lines.items():
        path = root / annotation / "set_1" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*rows, ""]))
    return expected


FER2013_NUMBERS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
FER2013_USAGES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
FER2013_FOLDERS = dict(zip(OURS, ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear"), strict=True))
FER2013_HEADERS = ("emotion,pixels,Usage", "emotion, Usage, pixels")  # fer2013.csv, icml_face_data.csv


def still(number: int, size: int = 48) -> np.ndarray:
    """A grey still `(size, size)`, different for each number, with an upper half that spells it."""
    levels = np.tile(np.arange(size, dtype=np.int64) * 5 % 256, (size, 1))
    levels[: size // 2] = number % 256
    levels[0, 0] = number // 256
    return levels.astype(np.uint8)


def fer2013_stills(per_class: int = 4) -> list[tuple[str, str, int]]:
    """Label, split and number of each still: of each class one for test, one for validation, the others for train."""
    stills = []
    for index in range(7 * per_class):
        split = ("test", "validation")[index // 7] if index < 14 else "train"
        stills.append((OURS[index % 7], split, index))
    return stills


def write_fer2013(path: Path, stills: Sequence[tuple[str, str, int]], header: str = FER2013_HEADERS[0]) -> None:
    """FER2013's table of `(label, split, number)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header]
    for label, split, number in stills:
        cells = {
            "emotion": str(FER2013_NUMBERS.index(label)),
            "Usage": FER2013_USAGES[split],
            "pixels": " ".join(map(str, still(number).ravel().tolist())),
        }
        lines.append(",".join(cells[name.strip()] for name in header.split(",")))
    path.write_text("\n".join([*lines, ""]))


def write_fer2013_folders(root: Path, stills: Sequence[tuple[str, str, int]], named: bool = False) -> None:
    """FER2013 as folders of pictures, whose folder test holds PublicTest and PrivateTest together; with `named`, the
    name of a picture tells which, as in the folders of Kaggle."""
    for index, (label, split, number) in enumerate(stills):
        folder = root / ("train" if split == "train" else "test") / FER2013_FOLDERS[label]
        folder.mkdir(parents=True, exist_ok=True)
        usage = FER2013_USAGES[split] if named or split == "train" else "Test"
        Image.fromarray(still(number)).save(folder / f"{usage}_{index}.jpg")


RAVDESS_LABELS = {
    "01": "neutral", "02": "calm", "03": "happiness", "04": "sadness", "05": "anger", "06": "fear", "07": "disgust",
    "08": "surprise",
}  # fmt: skip


def write_ravdess(
    root: Path, actors: Iterable[int], channels: Sequence[str] = ("01",), modalities: Sequence[str] = ("01", "02")
) -> list[Expected]:
    """RAVDESS: every take of the actors, unpacked from archives, in each modality. Returns them with sound.

    Takes with sound have even numbers, the same without sound the number below.
    """
    expected, number = [], 0
    for actor in actors:
        for channel in channels:
            archive = (
                root / f"Video_{'Speech' if channel == '01' else 'Song'}_Actor_{actor:02d}" / f"Actor_{actor:02d}"
            )
            for emotion, label in RAVDESS_LABELS.items():
                if channel == "02" and (actor == 18 or label in ("disgust", "surprise")):
                    continue
                for intensity in ("01",) if label == "neutral" else ("01", "02"):
                    for statement in ("01", "02"):
                        for repetition in ("01", "02"):
                            number = (number + 2) % 196
                            rest = f"{channel}-{emotion}-{intensity}-{statement}-{repetition}-{actor:02d}"
                            for modality in modalities:
                                write_video_once(archive / f"{modality}-{rest}.mp4", number - (modality == "02"))
                            expected.append(Expected(f"01-{rest}", label, "train", number))
    return expected


@cache
def encoded(number: int) -> bytes:
    """A video of a clip's number."""
    frames = np.stack([picture(position, number) for position in range(NUM_FRAMES)])
    return encode_mp4(frames, fps=25, crf=5.0)


def write_video_once(path: Path, number: int) -> None:
    """As [`write_video`], but each number is encoded once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(number))


CREMAD_LABELS = {
    "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness",
}  # fmt: skip
CREMAD_OURS = ("happiness", "sadness", "neutral", "anger", "disgust", "fear")
CREMAD_VOTES = ("A", "D", "F", "H", "N", "S")  # in the order of CREMAD_LABELS


def write_cremad(root: Path, actors: Sequence[int], folder: str = "VideoFlash") -> list[Expected]:
    """CREMA-D: of each actor a clip of each emotion, with its list of clips, votes and demographics."""
    expected = []
    for actor in actors:
        for emotion, label in CREMAD_LABELS.items():
            name = f"{actor}_IEO_{emotion}_{'XX' if emotion == 'NEU' else 'HI'}"
            number = len(expected) + 1
            write_video_once(root / folder / f"{name}.flv", number)
            expected.append(Expected(name, label, "train", number))
    names = [f'{clip.number},"{clip.clip_id}"' for clip in expected]
    (root / "SentenceFilenames.csv").write_text("\n".join(['"Stimulus_Number","Filename"', *names, ""]))
    write_cremad_votes(root, expected)
    people = []
    for actor in actors:
        sex, race = "Male" if actor % 3 else "Female", ("Caucasian", "Asian")[actor % 2]
        people.append(f'{actor},{20 + actor % 50},"{sex}","{race}","Hispanic"')
    header = '"ActorID","Age","Sex","Race","Ethnicity"'
    (root / "VideoDemographics.csv").write_text("\n".join([header, *people, ""]))
    return expected


def write_cremad_votes(root: Path, expected: Sequence[Expected]) -> None:
    """`tabulatedVotes.csv`: the voice alone sounds neutral (9 votes), the face is seen as acted by `5 + number % 3`
    and as happy by 2, both together as acted (8 votes)."""
    columns = [*CREMAD_VOTES, "fileName", "numResponses", "agreement", "emoVote", "meanEmoResp"]
    lines = ['"",' + ",".join(f'"{name}"' for name in columns)]
    for kind in (1, 2, 3):
        for clip in expected:
            votes = dict.fromkeys(CREMAD_LABELS.values(), 0)
            votes["neutral"] += 9 * (kind == 1)
            votes[clip.label] += {1: 0, 2: 5 + clip.number % 3, 3: 8}[kind]
            votes["happiness"] += 2 * (kind == 2)
            cells = ",".join(str(votes[label]) for label in CREMAD_LABELS.values())
            lines.append(
                f'"{100_000 * kind + clip.number}",{cells},"{clip.clip_id}",{sum(votes.values())},0.5,"A:D",51.5'
            )
    path = root / "processedResults" / "tabulatedVotes.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]))


def check_rows(splits, expected: list[Expected], names: Sequence[str] = OURS) -> None:
    """Asserts that the dataset holds exactly the expected clips, each with its label, pixels and frame order."""
    from modeling_hdf.data import load_clip

    found = {}
    for split, rows in splits.items():
        assert rows.features["label"].names == list(names)
        for row in rows:
            assert row["clip_id"] not in found, f"{row['clip_id']} is in two splits"
            found[row["clip_id"]] = ("test" if split == "test" else "train", row)
    assert set(found) == {clip.clip_id for clip in expected}
    for clip in expected:
        split, row = found[clip.clip_id]
        assert (split, names[row["label"]]) == (clip.split, clip.label), clip
        positions, number = read_back(load_clip(row))
        assert positions == list(range(NUM_FRAMES)), clip
        assert number == clip.number % 196, clip
