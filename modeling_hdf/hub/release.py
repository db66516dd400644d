"""Publishing a model folder: which of its files travel, whether they belong together, and the numbers of its card."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from huggingface_hub import CommitInfo
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import get_relative_imports

from ..configuration_hdf import HDFConfig
from ..data.files import write_bytes
from ..modeling_hdf import HDFForVideoClassification
from .cards import LOCAL_PREFIX, model_card
from .client import Files, is_hub_id, push_files

CONFIG, PROCESSOR, METRICS = "config.json", "video_preprocessor_config.json", "metrics.json"
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
PICTURES = ("confusion_matrix.png", "training_curves.png")
_SHARD = r"model-\d+-of-\d+\.safetensors"
# What an earlier push may have left that must not stay beside the files of this one.
REPLACES = rf"model\.safetensors(\.index\.json)?|{_SHARD}|metrics\.json|confusion_matrix\.png|training_curves\.png"
# An absolute path, also as a file URL, one in the home folder, or one that leaves the working directory, where it
# starts within a text.
_LOCAL_PATH = re.compile(
    r"""(?:^|(?<=[\s"'=,\[({]))"""
    r"""(?:~[^\s"'/\\]*[/\\]|(?:[Ff]ile:)?/+(?=[^\s/"',])|[A-Za-z]:[/\\]|\\\\|\.\.[/\\])[^\s"',]*"""
)
# Of `config.json`, what holds names of classes: there a slash is no path.
_CLASS_NAMES = ("id2label", "label2id")
# An option with a token, `--hub_token` in all its spellings and abbreviations, and a token of the Hub itself.
_TOKEN_OPTION = re.compile(r"--(?:[A-Za-z0-9]+[-_])*(?:token|hub[-_](?:t|to|tok|toke))(?=$|[\s=])")
_TOKEN = re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]+")
_LONG_TOKEN = re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{20,}")  # where a name such as `hf_faces` may stand as well


# ---- metrics ----


def write_metrics(folder: str | os.PathLike, metrics: dict[str, Any], start: str | None, argv: Sequence[str]) -> dict:
    """
    Writes `metrics.json` beside the weights that it is of, without any path of this machine, and without tokens.

    Args:
        folder (`str` or `Path`): folder with the weights.
        metrics (`dict`): result of [`classification_report`] and what it is of: `dataset`, `fold`,
            `split`, `peer_protocol`, `temporal_sampling`, `num_views`, `seed`.
        start (`str`, *optional*): checkpoint that training started from: a Hub repository, or a folder, of which only
            the name is kept.
        argv (`Sequence[str]`): the command line, see [`public_command`].

    Returns:
        `dict`: the metrics with `base_model`, `command` and `weights_sha256`, the checksum of each file of weights.
    """
    if start is not None and (os.path.exists(start) or not is_hub_id(start)):
        start = LOCAL_PREFIX + os.path.basename(os.path.abspath(start))
    metrics = {
        "base_model": start,
        **metrics,
        "command": public_command(argv),
        "weights_sha256": weights_sha256(folder),
    }
    (Path(folder) / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def public_command(argv: Sequence[str]) -> str:
    """A command line without options that hold a token, with any other token masked and paths shortened."""
    words, is_token = [], False
    for word in argv:
        if is_token and not word.startswith("--"):
            is_token = False
            continue
        option = _TOKEN_OPTION.match(word)
        is_token = option is not None and option[0] == word
        if option is None:
            words.append(_TOKEN.sub("TOKEN", shorten_paths(word)))
    return shlex.join(words)


def shorten_paths(word: str) -> str:
    """A word of a command line with only the last part of each path that is absolute, or starts with `~` or `..`."""
    option, sign, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if _LOCAL_PATH.match(value):  # the whole word, in which a folder's name may hold a space
        return option + sign + _last_part(value)
    return _LOCAL_PATH.sub(lambda match: _last_part(match[0]), word)


def _last_part(path: str) -> str:
    return (PureWindowsPath if "\\" in path else PurePosixPath)(path).name or "path"


def weights_sha256(folder: str | os.PathLike) -> dict[str, str]:
    """Checksum of each file of weights in a folder, by its name."""
    digests = {}
    for name in _weight_names(Path(folder)):
        with open(Path(folder) / name, "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


# ---- the files of a model ----


def model_files(folder: str | os.PathLike) -> dict[str, Path]:
    """
    The files of a model that travel: configuration, weights, video processor and code, and nothing else of the folder.

    Raises:
        FileNotFoundError: names all that are missing.
        ValueError: for weights that are damaged, incomplete or do not fit `config.json`, for a folder with two sets of
            weights, and for a file that names a path of this machine or holds a token.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder.")
    names = [name for name in (CONFIG, PROCESSOR) if (folder / name).is_file()]
    code = sorted(set().union(*(_code_files(folder, name) for name in names)))
    wanted = [CONFIG, PROCESSOR, *_weight_names(folder), *code]
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: is no complete model; missing: {', '.join(missing)}. `save_pretrained` of the model and of "
            "its HDFVideoProcessor, after `import modeling_hdf`, write them."
        )
    _check_weights(folder)
    files = {name: folder / name for name in wanted}
    for name in wanted:
        if name.endswith(".json"):
            _refuse_private_texts(files[name])
    return files


def _weight_names(folder: Path) -> list[str]:
    """`model.safetensors`, or the index and the files that it names."""
    if not (folder / WEIGHTS_INDEX).is_file():
        return [WEIGHTS]
    if (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder}: holds both {WEIGHTS} and {WEIGHTS_INDEX}; remove the one that is old.")
    shards = sorted(set(_read_json(folder / WEIGHTS_INDEX).get("weight_map", {}).values()))
    if not shards or not all(re.fullmatch(_SHARD, name) for name in shards):
        raise ValueError(f"{folder / WEIGHTS_INDEX}: names no files of weights model-00001-of-0000N.safetensors.")
    return [WEIGHTS_INDEX, *shards]


def _code_files(folder: Path, name: str) -> set[str]:
    """The modules that `auto_map` of a file names, and what they import."""
    references = _read_json(folder / name).get("auto_map", {})
    required = (
        ("AutoConfig", "AutoModel", "AutoModelForVideoClassification") if name == CONFIG else ("AutoVideoProcessor",)
    )
    lacking = [auto_class for auto_class in required if auto_class not in references]
    if lacking:
        raise ValueError(
            f"{folder / name}: `auto_map` lacks {', '.join(lacking)}, so nobody could load it with "
            "trust_remote_code=True; save the classifier and its processor again, after `import modeling_hdf`."
        )
    pending, found = {f"{reference.rsplit('.', 1)[0]}.py" for reference in references.values()}, set()
    while pending:
        module = pending.pop()
        found.add(module)
        if (folder / module).is_file():
            pending |= {f"{name}.py" for name in get_relative_imports(folder / module)} - found
    return found


def _check_weights(folder: Path) -> None:
    """Compares the tensors in the headers of the files with those of the model that `config.json` describes."""
    config = _read_config(folder)
    with torch.device("meta"):
        expected = {name: list(value.shape) for name, value in HDFForVideoClassification(config).state_dict().items()}
    found = {}
    for name in _weight_names(folder):
        if name == WEIGHTS_INDEX:
            continue
        try:
            with safe_open(folder / name, "pt") as tensors:
                found |= {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}
        except SafetensorError as error:
            raise ValueError(f"{folder / name}: is damaged ({error}); save the model again.") from error
    for difference in (set(expected) - set(found), set(found) - set(expected)):
        if difference:
            where = "lack" if difference <= set(expected) else "hold the unknown"
            raise ValueError(f"{folder}: its weights {where} {sorted(difference)[0]!r}, so they do not fit {CONFIG}.")
    wrong = sorted(name for name, shape in expected.items() if found[name] != shape)
    if wrong:
        raise ValueError(
            f"{folder}: {wrong[0]!r} has the shape {found[wrong[0]]}, {CONFIG} asks for {expected[wrong[0]]}."
        )


def _read_config(folder: Path) -> HDFConfig:
    try:
        return HDFConfig.from_pretrained(folder)
    except (StrictDataclassError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG}: {' '.join(str(error).split())}") from error


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object.")
    return content


def _texts(value: Any) -> list[str]:
    """All texts within JSON, but for keys and the names of classes."""
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key not in _CLASS_NAMES]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _refuse_private_texts(path: Path) -> None:
    content = _read_json(path)
    texts, command = _texts(content), str(content.get("command", ""))
    if any(map(_LONG_TOKEN.search, texts)) or _TOKEN.search(command) or _TOKEN_OPTION.search(command):
        raise ValueError(
            f"{path}: holds a token; take it out before publishing, and revoke it if others could read it."
        )
    for text in texts:
        found = _LOCAL_PATH.search(text)
        if found:
            raise ValueError(f"{path}: names a path of this machine, {found[0]!r}; take it out before publishing.")


# ---- the push ----


def model_release(
    folder: str | os.PathLike, repo_id: str | None = None, revision: str | None = None, *, may_be_stale: bool = False
) -> Files:
    """
    All that is published of a model folder: its files, the numbers and pictures of its evaluation, and its card.

    The card is written from `config.json` and `metrics.json`; a `README.md` in the folder is not published.

    Args:
        folder (`str` or `Path`): folder that `examples/train.py` or the Trainer left.
        repo_id (`str`, *optional*): where it goes, for the card.
        revision (`str`, *optional*): branch that it goes to, for the card.
        may_be_stale (`bool`, *optional*, defaults to `False`): leave out a `metrics.json` that is of other weights, as
            that of an earlier run is while training goes on, in place of an error.

    Raises:
        FileNotFoundError, ValueError: see [`model_files`].
        ValueError: if `metrics.json` is not of these weights.
    """
    folder = Path(folder)
    files: dict[str, Path | bytes] = {**model_files(folder)}
    metrics = _read_json(folder / METRICS) if (folder / METRICS).is_file() else None
    if metrics is not None and metrics.get("weights_sha256") != weights_sha256(folder):
        if not may_be_stale:
            raise ValueError(
                f"{folder / METRICS}: its `weights_sha256` is not that of the weights beside it, so its numbers are "
                "of another model. Evaluate these weights, or remove the file to publish them without numbers."
            )
        metrics = None
    if metrics is not None:
        _refuse_private_texts(folder / METRICS)
        files |= {name: folder / name for name in (METRICS, *PICTURES)}
        missing = [name for name in PICTURES if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(f"{folder}: {', '.join(missing)} of the evaluation in {METRICS} is missing.")
    try:
        card = model_card(_read_config(folder), metrics, repo_id, revision)
    except KeyError as error:
        raise ValueError(f"{folder / METRICS}: lacks the field {error}.") from error
    return files | {"README.md": str(card).encode("utf-8")}


def write_model_card(folder: str | os.PathLike) -> Path:
    """
    Writes `README.md` from the `config.json` and the `metrics.json` of a folder, or without numbers if the latter is
    missing or of other weights.

    Raises: see [`model_release`].
    """
    path = Path(folder) / "README.md"
    write_bytes(path, model_release(folder, may_be_stale=True)["README.md"])
    return path


def push_model(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Publish the model",
    token: str | None = None,
    may_be_stale: bool = False,
) -> CommitInfo:
    """
    Pushes a model folder in one commit, after all checks. See [`model_release`] and [`push_files`].
    """
    files = model_release(folder, repo_id, revision, may_be_stale=may_be_stale)
    return push_files(
        files, repo_id, replaces=REPLACES, message=message, private=private, revision=revision, token=token
    )


__all__ = [
    *("model_files", "model_release", "public_command", "push_model", "shorten_paths"),
    *("write_metrics", "write_model_card"),
]
