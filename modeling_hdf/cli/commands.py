"""The commands of `hdf` and their options. Nothing here imports torch; each command's own module does its work."""

import argparse

from .. import __version__
from ..pretrained import RAW_VIDEO_MODEL
from .parser import (
    DATASETS,
    CommandParser,
    at_least,
    common_options,
    count_or_share,
    existing_file,
    existing_folder,
    json_object,
    model_folder,
    model_name,
    names,
    repository_name,
    seconds,
)

# Their options include transformers' TrainingArguments: [`training_parser`] reads them.
TRAINING_COMMANDS = {
    "train": "train a model by a recipe, test it, and leave a folder that is ready for the Hub",
    "pretrain": "pretrain a VideoMAE backbone on clips without labels",
}


def build_parser() -> CommandParser:
    """The parser of all commands. The attribute `module` of a parsed command names the module that runs it."""
    parser = CommandParser(
        prog="hdf",
        description="HDF: dynamic facial expression recognition.",
        epilog="`hdf COMMAND --help` explains a command. Exit codes: 0 if it went well, 1 if a check failed or the "
        "input is bad, 2 for a wrong call.",
    )
    parser.add_argument("--version", action="version", version=f"hdf {__version__}", help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, text in TRAINING_COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    common = [common_options()]
    _add_predict(commands, common)
    _add_evaluate(commands, common)
    _add_robustness(commands, common)
    _add_calibrate(commands, common)
    _add_folds(commands, common)
    _add_report(commands, common)
    data = commands.add_parser("data", help="check, crop and publish datasets")
    data_commands = data.add_subparsers(metavar="COMMAND", dest="data_command", required=True)
    _add_check(data_commands, common)
    _add_faces(data_commands, common)
    _add_publish(data_commands, common)
    _add_convert(commands, common)
    _add_export(commands, common)
    _add_demo(commands, common)
    _add_push(commands, common)
    _add_completion(commands, common)
    return parser


def _add_predict(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "predict",
        parents=common,
        help="tell each person's expressions over time in videos",
        description="Finds and follows all people in raw videos, never across a cut, and classifies sliding windows "
        "of each face; overlapping windows are averaged. Who somebody is, is not recognised: who leaves and comes "
        "back, or is shown again after a cut, gets a new number. Labels are expressions as others perceive them, not "
        "what a person feels. A bad file does not cost the others: it is named, and the exit code is 1.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a video, a picture, a URL, a folder of frames, a folder that is searched at any depth, a pattern such "
        'as "videos/*.mp4", or - for standard input',
    )
    parser.add_argument(
        "--model",
        type=model_name,
        default=RAW_VIDEO_MODEL,
        help=f"folder or Hub repository of a model, or one that ships; default {RAW_VIDEO_MODEL}",
    )
    parser.add_argument("--window", type=seconds, default=2.0, metavar="S", help="seconds the model sees; default 2")
    parser.add_argument("--hop", type=seconds, default=0.5, metavar="S", help="seconds between windows; default 0.5")
    parser.add_argument(
        "--same-person", action="store_true", help="join tracks that do not overlap in time, for one person on camera"
    )
    parser.add_argument(
        "--labels", type=existing_file, metavar="FILE", help="JSON object that gives classes new names"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder for a table per video and summary.csv; done videos stay"
    )
    parser.add_argument("--format", choices=("csv", "parquet", "jsonl"), default="csv", help="of tables; default csv")
    parser.add_argument("--subtitles", choices=("vtt", "srt"), help="write subtitles into the output folder")
    parser.add_argument(
        "--annotate", action="store_true", help="write videos with boxes, numbers and labels, with sound"
    )
    parser.add_argument("--plot", action="store_true", help="write curves over time as PNG, and a page with pictures")
    parser.add_argument("--whole", action="store_true", help="take clips as they are: each shows one face, cropped")
    parser.add_argument("--top", type=at_least(1), default=3, metavar="N", help="--whole: classes to print; default 3")
    parser.add_argument("--batch-size", type=at_least(1), default=8, help="windows per batch; default 8")
    parser.add_argument("--device", help="such as cpu or cuda:1; default: a GPU if there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the model; default: as saved")
    parser.set_defaults(module="predict")


def _add_model_and_data(parser: argparse.ArgumentParser, data_required: bool = True) -> None:
    parser.add_argument("model", type=model_name, help="folder or Hub repository of a trained model")
    parser.add_argument("--dataset", required=data_required, choices=DATASETS, help="folder: videos of your own")
    _add_data_dir(parser)
    parser.add_argument("--fold", type=at_least(1), help="fold 1 to 5, for a dataset with folds")
    parser.add_argument(
        "--max-missing",
        type=count_or_share,
        default=0,
        metavar="X",
        help="clips that may be missing or unreadable, without an exit code of 1: a number, or a share such as 0.01",
    )
    parser.add_argument(
        "--overrides", type=json_object, default={}, metavar="JSON", help="builder fields, as in training"
    )
    parser.add_argument("--batch-size", type=at_least(1), default=16, help="clips per batch; default 16")
    parser.add_argument("--num-workers", type=at_least(0), default=0, help="processes that read clips; default 0")


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--temporal-sampling", help="uniform, segments or dense; default: as the training run tested, else uniform"
    )
    parser.add_argument(
        "--sampling-stride",
        type=int,
        help="distance of the frames of dense sampling; default: as the training run tested, else 1",
    )


def _add_data_dir(parser: argparse.ArgumentParser, required: bool = False) -> None:
    text = "folder of the dataset, as it was unpacked"
    parser.add_argument("--data-dir", type=existing_folder, required=required, metavar="DIR", help=text)


def _add_evaluate(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "evaluate",
        parents=common,
        help="measure a model on a split of a dataset",
        description="WAR, UAR, macro F1, recall per class, confusion matrix and calibration error with 95 % "
        "bootstrap intervals, also by groups of clips. Classes are matched by name: clips of a class that the model "
        "lacks are left out and counted, and the probabilities of classes that the dataset lacks are taken out. A "
        "clip that cannot be read is named, and counts in no figure.",
    )
    _add_model_and_data(parser)
    _add_sampling(parser)
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "all"),
        help="default test; of a folder without splits that is a random fifth. all: every clip, of a folder alone. "
        "A folder may also hold nothing but test/<class>/",
    )
    parser.add_argument(
        "--num-views",
        type=at_least(1),
        help="temporal views per clip, averaged; default: as the training run tested, else 1",
    )
    parser.add_argument(
        "--group-by", nargs="+", metavar="FACTOR", help="such as scene or yaw; default: all, with the worst shown"
    )
    parser.add_argument("--resamples", type=at_least(1), default=1000, help="of the bootstrap; default 1000")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the bootstrap; default 0")
    parser.add_argument(
        "--output", metavar="DIR", help="folder for metrics.json, predictions (Parquet, CSV) and confusion matrix"
    )
    parser.set_defaults(module="evaluate")


def _add_robustness(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "robustness",
        parents=common,
        help="measure a model on corrupted clips",
        description="WAR and UAR under corruptions of the sequence (dropped, duplicated, swapped, frozen, black and "
        "foreign frames, jitter, changed speed, late onset) and of the style (brightness, contrast, colour, grey, "
        "blur, noise, JPEG, H.264, low resolution, occlusion), each in five severities. The pixels depend on clip, "
        "corruption and seed alone, so every model sees the same. Each clip is read as 64 frames, spread evenly.",
    )
    _add_model_and_data(parser)
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="default test")
    parser.add_argument("--corruptions", nargs="+", metavar="NAME", help="some of them; default: all")
    parser.add_argument(
        "--severities", nargs="+", type=int, choices=range(1, 6), default=[1, 2, 3, 4, 5], metavar="N", help="1 to 5"
    )
    parser.add_argument("--max-clips", type=at_least(1), metavar="N", help="as many random clips; default: all")
    parser.add_argument("--seed", type=at_least(0), default=0, help="of the corruptions; default 0")
    parser.add_argument(
        "--baseline",
        type=existing_file,
        metavar="FILE",
        help="robustness.json of another model on the same clips, for the mean corruption error",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for robustness.json and a picture")
    parser.set_defaults(module="robustness")


def _add_calibrate(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "calibrate",
        parents=common,
        help="fit the temperature of a model on the validation split",
        description="Fits one temperature on the validation split that the model was selected on, writes it into the "
        "model's config.json, where pipelines find it, and shows the calibration error on the test split before and "
        "after. No weight and no predicted class changes. The details go to calibration.json.",
    )
    _add_model_and_data(parser)
    _add_sampling(parser)
    parser.set_defaults(module="calibrate", num_views=1)  # pipelines take a single view


def _add_folds(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "folds",
        parents=common,
        help="mean and standard deviation over the folds of a dataset",
        description="Reads the metrics.json of each fold, as training or `hdf evaluate --output` wrote it.",
    )
    parser.add_argument("folders", nargs="+", type=existing_folder, metavar="DIR", help="one folder per fold")
    parser.add_argument("--allow-missing-folds", action="store_true", help="take a mean of the folds that are there")
    parser.set_defaults(module="folds")


def _add_report(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "report",
        parents=common,
        help="write one HTML page of a run",
        description="Writes one page that loads nothing: numbers with intervals, training curves, confusion matrix, "
        "reliability diagram, the worst clips, a t-SNE map of the features, the gates of the DAM layers over a few "
        "clips, command and environment. Clips are read again for features and gates; for other datasets than the "
        "synthetic one that takes --data-dir, and their frames are drawn only with --frames.",
    )
    parser.add_argument(
        "folder", type=existing_folder, metavar="DIR", help="what training or `hdf evaluate --output` wrote"
    )
    parser.add_argument(
        "--model", type=model_name, help="folder or Hub repository of the model; default: the one that was measured"
    )
    _add_data_dir(parser)
    parser.add_argument(
        "--max-missing", type=count_or_share, default=0, metavar="X", help="clips that may be missing, as in the run"
    )
    parser.add_argument(
        "--overrides",
        type=json_object,
        default={},
        metavar="JSON",
        help="fields of the dataset's builder that the run does not record: folders",
    )
    parser.add_argument("--clips", type=at_least(0), default=4, metavar="N", help="clips to draw gates of; default 4")
    parser.add_argument(
        "--frames",
        action="store_true",
        help="draw frames of clips that are not synthetic; the page may then not be handed on",
    )
    parser.add_argument("--output", metavar="FILE", help="the file; default: report.html in the folder")
    parser.set_defaults(module="report")


def _add_own_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metadata", help="own data: CSV or JSON-lines file with `path` and `label`, in the data dir")
    parser.add_argument("--labels", type=names, help="own data: names of the classes, in order, with commas")
    parser.add_argument("--label-base", type=int, choices=(0, 1), help="whether numeric labels count from 0 or 1")
    parser.add_argument(
        "--max-missing",
        type=count_or_share,
        default=0,
        metavar="X",
        help="listed clips that may be missing, empty or unreadable: a number (5) or a share (0.01); default 0",
    )


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
    _add_data_dir(parser, required=True)
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
    _add_own_data(parser)
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
    parser.add_argument("--workers", type=at_least(1), help="processes (default: one per core)")
    parser.add_argument("--overwrite", action="store_true", help="do all clips again")
    parser.set_defaults(module="faces")


def _add_push_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--private", action="store_true", help="create the repository as a private one")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to push to, created if need be; default: main")


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
    _add_data_dir(parser)
    parser.add_argument("--name", help="name of the dataset, for the card")
    parser.add_argument("--license", help="own data: licence identifier, such as cc-by-4.0")
    parser.add_argument("--description", default="", help="what the clips show, for the card")
    parser.add_argument(
        "--overrides", type=json_object, default={}, metavar="JSON", help="synthetic data: builder fields"
    )
    parser.add_argument(
        "--fps", type=at_least(1), default=25, help="frames per second of folders of frames; default 25"
    )
    parser.add_argument("--repo", help="dataset repository to push to, owner/name; created if need be")
    _add_push_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="write OUT as with --repo, and push nothing")
    _add_own_data(parser)
    parser.set_defaults(module="publish")


def _add_convert(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "convert",
        parents=common,
        help="turn an original VideoMAE or X3D checkpoint into a transformers folder",
        description="Reads a pretraining or fine-tuned checkpoint of a plain ViT in the format of the original "
        "VideoMAE code (.pth), or an X3D that pytorchvideo published (.pyth), without unpickling it, and writes "
        "weights (safetensors), configuration and preprocessing. Every weight is used, or the command stops and names "
        "it. What their shapes do not tell can be given.",
    )
    parser.add_argument("source", type=existing_file, help="the .pth or .pyth file")
    parser.add_argument("out", help="folder to write; must be empty or not exist")
    parser.add_argument("--heads", type=int, help="attention heads; default: one per 64 channels, ViT-H and -g 16")
    parser.add_argument("--decoder-heads", type=int, help="the same for the decoder of a pretraining checkpoint")
    parser.add_argument("--image-size", type=int, help="pixels; default: as stored, or 224; X3D: 160")
    parser.add_argument("--num-frames", type=int, help="frames of a clip; default: as stored, or 16; X3D: 13")
    parser.add_argument("--labels", type=names, help="names of the classes, in the classifier's order, with commas")
    parser.set_defaults(module="convert")


def _add_export(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "export",
        parents=common,
        help="write a model as one file, for onnxruntime or torch.export",
        description="Writes model.onnx or model.pt2, for any batch size, with config.json (the classes) and "
        "video_preprocessor_config.json beside it. The file is kept only if its logits differ from the model's by at "
        "most 1e-4, on random and on rendered clips. `hdf predict` and `hdf evaluate` take model.onnx as a model; "
        "other programs need onnxruntime and numpy alone. Needs the extra `export`.",
    )
    _add_model_and_data(parser, data_required=False)
    parser.add_argument("out", help="folder to write into")
    parser.add_argument("--to", choices=("onnx", "torch"), default="onnx", help="default onnx")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also write model_int8.onnx, with 8-bit weights, and print its loss of UAR on a --dataset",
    )
    parser.add_argument(
        "--split", default="test", choices=("train", "validation", "test"), help="of the dataset; default test"
    )
    parser.set_defaults(module="export", num_views=1)


def _add_demo(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "demo",
        parents=common,
        help="show a web page that answers videos and a webcam",
        description="Serves one page: upload a video, record one, or press an example, and see each person's "
        "expressions over time; a second tab answers a webcam live. Only this machine sees the page, unless --host "
        "says otherwise. Files are deleted with their answer, and no network is needed. Needs the extras `demo` and "
        "`face`. Ctrl-C stops it.",
    )
    parser.add_argument(
        "--model", type=model_name, default=RAW_VIDEO_MODEL, help=f"as for `hdf predict`; default {RAW_VIDEO_MODEL}"
    )
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1; 0.0.0.0 shows it to the network")
    parser.add_argument("--port", type=at_least(0), default=7860, help="default 7860; 0: any free one")
    parser.set_defaults(module="demo")


def _add_push(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "push",
        parents=common,
        help="publish a trained model on the Hub",
        description="Checks the folder of a trained model and publishes weights (safetensors), configuration, video "
        "processor, code, metrics.json, pictures and a model card, in one commit. Nothing else of the folder is "
        "published: no checkpoints, no optimizer states, no README.md; the card is written from metrics.json, whose "
        "numbers must be of these very weights. Without metrics.json the card says that the model was not evaluated. "
        "If a push breaks off, repeat the command.",
    )
    parser.add_argument(
        "folder",
        type=model_folder,
        help="output folder of a training run, or of its checkpoints; or the one that ships",
    )
    parser.add_argument(
        "repository",
        nargs="?",
        help="owner/name on the Hub; created if need be. Optional with --space if FOLDER ships",
    )
    parser.add_argument(
        "--space",
        type=repository_name,
        metavar="OWNER/NAME",
        help="also push the page of `hdf demo` for this model, as a Space. It needs the extra `demo`",
    )
    _add_push_options(parser)
    parser.add_argument("--message", default="Publish the model", help="commit message")
    parser.add_argument(
        "--dry-run", metavar="DIR", help="push nothing, and write what would be pushed into DIR, a new folder"
    )
    parser.set_defaults(module="push")


def _add_completion(commands: argparse._SubParsersAction, common: list) -> None:
    parser = commands.add_parser(
        "completion",
        parents=common,
        help="print a script that completes `hdf` in a shell",
        description="Bash: hdf completion bash > ~/.local/share/bash-completion/completions/hdf",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    parser.set_defaults(module="completion")


__all__ = ["TRAINING_COMMANDS", "build_parser"]
