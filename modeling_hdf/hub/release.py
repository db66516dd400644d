"""Publishing a model folder: selects the files to publish, and checks that they belong together."""

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from huggingface_hub import CommitInfo
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import custom_object_save, get_relative_imports

from ..configuration_hdf import HDFConfig
from ..data.files import read_json, write_bytes
from ..data.paths import checked_file
from ..evaluation.results import METRICS, read_results
from ..evaluation.weights import SHARD, WEIGHTS_INDEX, weight_names, weights_sha256
from ..inference.classifier import check_finite
from ..modeling_hdf import HDFForVideoClassification
from ..pretrained import shipped_name
from ..video_processing_hdf import HDFVideoProcessor
from .benchmark import BENCHMARK_RESULTS, benchmark_results
from .cards import LICENSE, model_card
from .client import check_repository, push_files
from .gate import Files, check_files, refuse_private

CONFIG, PROCESSOR = "config.json", "video_preprocessor_config.json"
PICTURES = ("confusion_matrix.png", "training_curves.png")
_DAMAGED = "Save the model again."
# Files of an earlier push that this push must delete or replace.
REPLACES = "|".join(
    [r"model\.safetensors(\.index\.json)?", SHARD, *map(re.escape, (METRICS, *PICTURES, BENCHMARK_RESULTS, LICENSE))]
)


# ---- the files of a model ----


def model_files(folder: str | os.PathLike) -> dict[str, Path | bytes]:
    """
    The files of a model to publish: configuration, weights, video processor and code, and no other file.

    A folder without code, such as that of the shipped checkpoint, gets the code of this package, and configuration and
    processor that name it.

    Raises:
        FileNotFoundError: if files are missing; names them all.
        ValueError: for weights that are damaged, incomplete or do not fit `config.json`, for a folder with two sets of
            weights, and for a file that lies outside the folder, does not match its suffix, or holds private data;
            see [`checked_file`] and [`refuse_private`].
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder.")
    passed = _pass_gate(folder, (CONFIG, PROCESSOR))  # before reading them
    if os.path.lexists(folder / WEIGHTS_INDEX):
        checked_file(folder, WEIGHTS_INDEX)
    has_code = any("auto_map" in read_json(folder / name, _DAMAGED) for name in passed)
    code = set().union(*(_code_files(folder, name) for name in passed)) if has_code else ()
    wanted = [CONFIG, PROCESSOR, *weight_names(folder), *sorted(code)]
    missing = [name for name in wanted if not os.path.lexists(folder / name)]
    if missing:
        raise FileNotFoundError(
            f"{folder}: is no complete model; missing: {', '.join(missing)}. `save_pretrained` of the model and of "
            "its HDFVideoProcessor, after `import modeling_hdf`, write them."
        )
    files = _pass_gate(folder, wanted)
    _check_weights(folder)
    return files if has_code else files | _saved_with_code(folder)


def _saved_with_code(folder: Path) -> dict[str, bytes]:
    """Configuration, processor and code of a model whose folder has no code, as `save_pretrained` writes them."""
    config = _read_config(folder)
    with tempfile.TemporaryDirectory() as saved:
        with torch.device("meta"):
            custom_object_save(HDFForVideoClassification(config), saved, config=config)
        config.save_pretrained(saved)
        HDFVideoProcessor.from_pretrained(folder).save_pretrained(saved)
        code = set().union(*(_code_files(Path(saved), name) for name in (CONFIG, PROCESSOR)))
        return {name: Path(saved, name).read_bytes() for name in (CONFIG, PROCESSOR, *sorted(code))}


def _pass_gate(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The real paths of the files that exist; see [`checked_file`] and [`refuse_private`]."""
    files = {name: checked_file(folder, name) for name in names if os.path.lexists(folder / name)}
    for name, path in files.items():
        refuse_private(str(folder / name), path)
    return files


def _code_files(folder: Path, name: str) -> set[str]:
    """The modules that `auto_map` of a file names, and the modules that they import."""
    references = read_json(folder / name, _DAMAGED).get("auto_map", {})
    references = references if isinstance(references, dict) else {}
    required = (
        ("AutoConfig", "AutoModel", "AutoModelForVideoClassification") if name == CONFIG else ("AutoVideoProcessor",)
    )
    lacking = [auto_class for auto_class in required if auto_class not in references]
    if lacking:
        raise ValueError(
            f"{folder / name}: `auto_map` lacks {', '.join(lacking)}, so nobody could load it with "
            "trust_remote_code=True; save the classifier and its processor again, after `import modeling_hdf`."
        )
    pending, found = {str(reference).rsplit(".", 1)[0] for reference in references.values()}, set()
    while pending:
        module = pending.pop()
        if not module.isidentifier():
            raise ValueError(f"{folder / name}: its code asks for {module!r}, which is no module of this folder.")
        found.add(f"{module}.py")
        for path in _pass_gate(folder, (f"{module}.py",)).values():
            pending |= {each for each in get_relative_imports(path) if f"{each}.py" not in found}
    return found


def _check_weights(folder: Path) -> None:
    """Compares the tensors of the files with the model that `config.json` describes; see [`check_finite`] too."""
    config = _read_config(folder)
    with torch.device("meta"):
        expected = {name: list(value.shape) for name, value in HDFForVideoClassification(config).state_dict().items()}
    found = {}
    for name in weight_names(folder):
        if name == WEIGHTS_INDEX:
            continue
        try:
            with safe_open(folder / name, "pt") as tensors:
                found |= {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}
                check_finite(str(folder / name), ((key, tensors.get_tensor(key)) for key in tensors.keys()))
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


# ---- the push ----


def model_release(
    folder: str | os.PathLike,
    repo_id: str | None = None,
    revision: str | None = None,
    *,
    benchmark: str | None = None,
    may_be_stale: bool = False,
) -> Files:
    """
    All files to publish from a model folder: model, numbers and pictures of its evaluation, the terms of the weights
    (`LICENSE.md`, if there is one), and card.

    The card is written from `config.json` and `metrics.json`; a `README.md` in the folder is not published.

    Args:
        folder (`str` or `Path`): folder that `hdf train` or the Trainer wrote.
        repo_id (`str`, *optional*): repository, for the card. Without it, the card of a shipped checkpoint is the one
            that ships.
        revision (`str`, *optional*): branch, for the card.
        benchmark (`str`, *optional*): benchmark on the Hub whose clips `metrics.json` measured, `"owner/name"`; its
            leaderboard then reads WAR and UAR. It needs `repo_id`. See [`benchmark_results`].
        may_be_stale (`bool`, *optional*, defaults to `False`): leave out a `metrics.json` that belongs to other
            weights instead of raising an error; during training it may come from an earlier run.

    Raises:
        FileNotFoundError, ValueError: see [`model_files`].
        ValueError: if `metrics.json` belongs to other weights, is damaged, or lacks a field of the card; for a
            `benchmark` without `metrics.json`.
    """
    folder = Path(folder)
    if repo_id is not None:
        check_repository(repo_id)
    files: dict[str, Path | bytes] = {**model_files(folder)}
    evaluation = _pass_gate(folder, (METRICS,))
    results = read_results(folder) if evaluation else None
    if results is not None and results.weights_sha256 != weights_sha256(folder):
        if not may_be_stale:
            raise ValueError(
                f"{folder / METRICS}: its `weights_sha256` is not that of the weights beside it, so its numbers are "
                "of another model. Evaluate these weights, or remove the file to publish them without numbers."
            )
        results = None
    if results is not None:
        evaluation |= _pass_gate(folder, PICTURES)
        missing = [name for name in PICTURES if name not in evaluation]
        if missing:
            raise FileNotFoundError(f"{folder}: {', '.join(missing)} of the evaluation in {METRICS} is missing.")
        files |= evaluation
    terms = _pass_gate(folder, (LICENSE,))
    shipped = shipped_name(os.fspath(folder)) if repo_id is None else None
    card = model_card(_read_config(folder), results, repo_id, revision, shipped=shipped, has_license=bool(terms))
    written = {"README.md": str(card).encode("utf-8")}
    if benchmark is not None:
        if results is None:
            raise ValueError(f"{folder}: has no {METRICS}, so there is no result for the leaderboard of {benchmark}.")
        written[BENCHMARK_RESULTS] = benchmark_results(results, benchmark, repo_id, revision)
    check_files(written)
    return files | terms | written


def write_model_card(folder: str | os.PathLike) -> Path:
    """
    Writes `README.md` from the `config.json` and the `metrics.json` of a folder, or without numbers if
    `metrics.json` is missing or belongs to other weights.

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
    benchmark: str | None = None,
    may_be_stale: bool = False,
) -> CommitInfo:
    """
    Pushes a model folder in one commit, after all checks. See [`model_release`] and [`push_files`].
    """
    files = model_release(folder, repo_id, revision, benchmark=benchmark, may_be_stale=may_be_stale)
    return push_files(
        files, repo_id, replaces=REPLACES, message=message, private=private, revision=revision, token=token
    )


__all__ = ["model_files", "model_release", "push_model", "write_model_card"]
