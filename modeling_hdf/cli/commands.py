"""The commands of `hdf` and their options. Nothing here imports torch; each command's own module does its work."""

import argparse

from .. import __version__
from ..pretrained import RAW_VIDEO_MODEL
from .data_commands import add_data_commands
from .options import add_data_dir, add_model_and_data, add_overrides, add_push_options, add_sampling
from .parser import (
    CommandParser,
    at_least,
    common_options,
    count_or_share,
    existing_file,
    existing_folder,
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
    add_data_commands(data_commands, common)
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
    _add_outputs(parser)
    parser.add_argument("--whole", action="store_true", help="take clips as they are: each shows one face, cropped")
    parser.add_argument("--top", type=at_least(1), default=3, metavar="N", help="--whole: classes to print; default 3")
    parser.add_argument("--batch-size", type=at_least(1), default=8, help="windows per batch; default 8")
    parser.add_argument(
        "--workers",
        type=at_least(1),
        default=1,
        metavar="N",
        help="videos at once, each in a process that loads the model; default 1",
    )
    parser.add_argument("--device", help="such as cpu or cuda:1; default: a GPU if there is one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the model; default: as saved")
    parser.set_defaults(module="predict")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """What `hdf predict` writes."""
    parser.add_argument(
        "--output", metavar="DIR", help="folder for a table per video and summary.csv; done videos stay"
    )
    parser.add_argument("--format", choices=("csv", "parquet", "jsonl"), default="csv", help="of tables; default csv")
    parser.add_argument("--subtitles", choices=("vtt", "srt"), help="write subtitles into the output folder")
    parser.add_argument(
        "--annotate", action="store_true", help="write videos with boxes, numbers and labels, with sound"
    )
    parser.add_argument("--plot", action="store_true", help="write curves over time as PNG, and a page with pictures")


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
    add_model_and_data(parser)
    add_sampling(parser)
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test", "all"),
        help="default test; of a folder without splits that is a random fifth. all: every clip, without --fold, by a "
        "model that was not trained on the dataset. A folder may also hold nothing but test/<class>/",
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
    add_model_and_data(parser)
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
    add_model_and_data(parser)
    add_sampling(parser)
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
    add_data_dir(parser)
    parser.add_argument(
        "--max-missing", type=count_or_share, default=0, metavar="X", help="clips that may be missing, as in the run"
    )
    add_overrides(parser, "fields of the dataset's builder that the run does not record: folders")
    parser.add_argument("--clips", type=at_least(0), default=4, metavar="N", help="clips to draw gates of; default 4")
    parser.add_argument(
        "--frames",
        action="store_true",
        help="draw frames of clips that are not synthetic; the page may then not be handed on",
    )
    parser.add_argument("--output", metavar="FILE", help="the file; default: report.html in the folder")
    parser.set_defaults(module="report")


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
        "most 1e-4, on random and rendered clips, and on your own (--clips). `hdf predict` and `hdf evaluate` take "
        "model.onnx as a model; other programs need onnxruntime and numpy alone. Needs the extra `export`.",
    )
    add_model_and_data(parser, data_required=False)
    parser.add_argument("out", help="folder to write into")
    parser.add_argument("--to", choices=("onnx", "torch"), default="onnx", help="default onnx")
    parser.add_argument(
        "--clips",
        nargs="+",
        type=existing_file,
        default=[],
        metavar="FILE",
        help="clips of your own, each with one face, cropped, on which the export is checked too",
    )
    parser.add_argument(
        "--int8",
        action="store_true",
        help="also write model_int8.onnx, with 8-bit weights, and print its loss of UAR on a --dataset",
    )
    parser.add_argument(
        "--split", default="test", choices=("train", "validation", "test"), help="of the dataset; default test"
    )
    parser.set_defaults(module="export", num_views=1, temporal_sampling=None, sampling_stride=None)


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
    parser.add_argument(
        "--benchmark",
        type=repository_name,
        metavar="OWNER/DATASET",
        help="also publish WAR and UAR for the leaderboard of this benchmark of the Hub, whose clips metrics.json "
        "measured; its tasks are `war` and `uar`. A later push without the option removes the result",
    )
    add_push_options(parser)
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
