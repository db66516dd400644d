"""The commands of `hdf data` and their options."""

import argparse

from .options import add_data_dir, add_overrides, add_own_data, add_push_options
from .parser import DATASETS, at_least, existing_folder


def add_data_commands(commands: argparse._SubParsersAction, common: list) -> None:
    """Adds check, faces and publish."""
    _add_check(commands, common)
    _add_faces(commands, common)
    _add_publish(commands, common)


def _add_check(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "check",
        parents=common,
        help="look at every clip of a dataset and compare its counts with the published ones",
        description="Lists clips per class and split beside the published counts, and every clip that is missing, "
        "empty, unreadable or short. Without --full it lists every folder of frames, reads the headers of every video "
        "and decodes the first frame of every clip; with --full it decodes every frame.",
    )
    real = [name for name in DATASETS if name != "synthetic"]
    parser.add_argument("dataset", choices=real, help="folder: videos of your own")
    add_data_dir(parser, required=True)
    parser.add_argument(
        "--fold", type=at_least(1), help="fold 1 to 5, for a dataset with folds; default: all whose files are there"
    )
    parser.add_argument("--full", action="store_true", help="decode every frame of every clip")
    parser.add_argument("--variant", help="which form of the dataset, where it lies there in several")
    parser.add_argument(
        "--clips-dir", type=existing_folder, metavar="DIR", help="the clips, in place of those in the data dir"
    )
    parser.add_argument("--peer-protocol", action="store_true", help="cut no validation split; select on test")
    parser.add_argument("--names", type=at_least(0), default=10, help="clips to name per kind of problem; default 10")
    add_own_data(parser)
    add_overrides(parser, """other fields of the dataset's builder, as in training, such as '{"channels": "both"}'""")
    parser.set_defaults(module="check")


def _add_faces(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "faces",
        parents=common,
        help="cut the faces out of a folder of videos, frame folders and images",
        description="Cut the main face out of every clip under IN, upright and steady, into the same tree under OUT. "
        "Run it again to do what is missing. OUT/faces.jsonl has a line for each clip; only what it lists is "
        "replaced. The exit code is 1 if any clip has no face or cannot be read, 130 after Ctrl-C.",
    )
    parser.add_argument(
        "source", type=existing_folder, metavar="IN", help="folder with videos, frame folders or images"
    )
    parser.add_argument("target", metavar="OUT", help="folder for the crops")
    parser.add_argument("--size", type=int, default=224, help="edge in pixels (default %(default)s)")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.1,
        help="space on each side of the face, as a share of its height (default %(default)s)",
    )
    parser.add_argument("--all-faces", action="store_true", help="one crop for each face, NAME_face0 for the main one")
    parser.add_argument(
        "--format",
        choices=["same", "mp4", "frames"],
        default="same",
        help="same: MP4 from videos, frame folders from frame folders (default); or one of the two for both",
    )
    parser.add_argument(
        "--max-side",
        type=int,
        default=320,
        help="faces are searched in frames scaled down to this longer side in pixels (default %(default)s); raise it "
        "for small faces, 0 is full size",
    )
    parser.add_argument(
        "--single-images", action="store_true", help="images in one folder are independent pictures, not one clip"
    )
    parser.add_argument(
        "--only", default="*", metavar="PATTERN", help="crop only clips whose name fits, such as '01-*'; default: all"
    )
    parser.add_argument("--workers", type=at_least(1), help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="do all clips again")
    parser.set_defaults(module="faces")


def _add_publish(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "publish",
        parents=common,
        help="write a dataset as Parquet with a card, and push it",
        description="Writes Parquet files with the videos in them and a dataset card, and pushes exactly these with "
        "--repo, in one commit; if the push breaks off, repeat the command. "
        "Videos are embedded as they are, folders of frames as H.264 (nearly lossless). RAVDESS and CREMA-D are "
        "published under the licences of their authors; for DFEW, FERV39k, MAFW and FER2013, whose authors do not "
        "allow it, the command refuses. Column `group` and the names of clips are published as they are.",
    )
    parser.add_argument("dataset", choices=DATASETS, help="folder: videos of your own")
    parser.add_argument("out", help="folder to write; new, or written by the same command")
    add_data_dir(parser)
    parser.add_argument("--name", help="name of the dataset, for the card")
    parser.add_argument("--license", help="own data: licence identifier, such as cc-by-4.0")
    parser.add_argument("--description", default="", help="what the clips show, for the card")
    add_overrides(parser, "synthetic data: builder fields")
    parser.add_argument(
        "--fps", type=at_least(1), default=25, help="frames per second of folders of frames; default 25"
    )
    parser.add_argument("--repo", help="dataset repository to push to, owner/name; created if need be")
    add_push_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="write OUT as with --repo, and push nothing")
    add_own_data(parser)
    parser.set_defaults(module="publish")
