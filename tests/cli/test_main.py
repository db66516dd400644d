"""The command line as such: what it answers without torch, what it prints where, and how it fails."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from modeling_hdf.cli import pretrain, train
from modeling_hdf.cli.commands import build_parser
from modeling_hdf.cli.main import main
from modeling_hdf.cli.parser import DATASETS
from modeling_hdf.cli.training import field_names
from modeling_hdf.data.arguments import BUILDERS
from modeling_hdf.faces.folders import CropSettings

TINY = "hdf-tiny-synthetic"
FACE = Path(__file__).parents[2] / "examples" / "face.mp4"
WITHOUT_TORCH = """
import sys

sys.argv[0] = "hdf"
from modeling_hdf.cli.main import main

try:
    code = main(sys.argv[1:])
except SystemExit as stopped:
    code = stopped.code
print([name for name in ("torch", "transformers", "numpy", "pandas") if name in sys.modules])
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, "train a model by a recipe"),
        (["--version"], 0, f"hdf {version('hdf-dfer')}"),
        (["evaluate", "--help"], 0, "with 95 % bootstrap intervals"),
        ([], 2, "required: COMMAND"),
        (["trian"], 2, "invalid choice 'trian'; did you mean 'train'"),
        (["data", "chek"], 2, "did you mean 'check'"),
        (["evaluate", "nowhere", "--dataset", "dfew"], 2, "nowhere: there is no such folder"),
        (["evaluate", "outputs/a/b", "--dataset", "dfew"], 2, "outputs/a/b: there is no such folder"),
        (["evaluate", TINY, "--dataset", "dfw"], 2, "invalid choice 'dfw'; did you mean 'dfew'"),
        (["evaluate", TINY, "--dataset", "dfew", "--data-dir", "nowhere"], 2, "nowhere: there is no such folder"),
        (["evaluate", TINY, "--dataset", "dfew", "--max-missing", "2.0"], 2, "2.0 is neither a number of clips"),
        (["evaluate", TINY, "--dataset", "dfew", "--max-missing", "1e9"], 2, "1e9 is neither a number of clips"),
        (["predict", "a.mp4", "--tpo", "2"], 2, "unrecognized argument --tpo; did you mean '--top'"),
        (["report", "nowhere"], 2, "nowhere: there is no such folder"),
        (["train", "--recip", "dfew"], 2, "unrecognized argument --recip; did you mean '--recipe'"),
        (["train", "--recipe", "dfw"], 2, "No train configuration 'dfw'"),
        (["train", "--accelerate_config", "gpus"], 2, "No accelerate configuration 'gpus'"),
        (["pretrain", "--data-dir", "nowhere"], 2, "nowhere: there is no such folder"),
    ],
)
def test_help_wrong_calls_and_bad_paths_are_answered_without_torch(tmp_path, arguments, code, message):
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in " ".join((done.stdout + done.stderr).split())
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Traceback" not in done.stderr


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "modeling_hdf", "--version"], capture_output=True, text=True)
    assert done.stdout == f"hdf {version('hdf-dfer')}\n" and done.returncode == 0


def test_datasets_are_those_of_the_builders():
    assert set(DATASETS) == set(BUILDERS)


def test_defaults_of_face_cropping_are_those_of_its_settings(tmp_path):
    parsed = build_parser().parse_args(["data", "faces", str(tmp_path), "out"])
    assert CropSettings(**{each.name: getattr(parsed, each.name) for each in fields(CropSettings)}) == CropSettings()


@pytest.mark.parametrize(("name", "module"), [("train", train), ("pretrain", pretrain)])
def test_options_of_training_that_are_known_early_are_those_of_the_parser(name, module):
    options = {option[2:].replace("-", "_") for option in module.training_parser()._option_string_actions}
    assert field_names(name) | {"help"} == {option for option in options if option not in ("h", "")} - {
        option for option in options if option.startswith("no_") and option.removeprefix("no_") in options
    }


@pytest.mark.parametrize(("text", "message"), [('{"seed": 1, "seed": 2}', "gives 'seed' twice"), ("{", "is not JSON")])
def test_fields_given_as_json_are_read_strictly(text, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        build_parser().parse_args(["evaluate", TINY, "--dataset", "synthetic", "--overrides", text])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["evaluate", TINY], ["report", "."], ["data", "publish", "synthetic", "out"]])
def test_fields_have_the_name_of_training_too(command):
    dataset = ["--dataset", "synthetic"] if command[0] == "evaluate" else []
    for name in ("--overrides", "--dataset-overrides", "--dataset_overrides"):
        assert build_parser().parse_args([*command, *dataset, name, '{"seed": 1}']).overrides == {"seed": 1}


def test_the_result_goes_to_stdout_as_json_and_all_else_to_stderr(capsys):
    assert main(["predict", "--whole", "--model", TINY, str(FACE), "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert sum(result["predictions"][str(FACE)].values()) == pytest.approx(1, abs=1e-5) and not result["failures"]
    assert f"{FACE}: surprise" in printed.err


def test_quiet_prints_errors_alone(tmp_path, capsys):
    assert main(["predict", "--whole", "--model", TINY, str(FACE), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    (tmp_path / "run").mkdir()
    assert main(["report", str(tmp_path / "run"), "--quiet"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("hdf report: error: ") and "metrics.json" in printed.err


def test_an_unexpected_error_is_one_line_and_with_debug_a_traceback(tmp_path, capsys, monkeypatch):
    def fail(folders):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("modeling_hdf.cli.folds.read_fold", fail)
    assert main(["folds", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "hdf folds: error: RuntimeError: first second (--debug shows where)\n"
    with pytest.raises(RuntimeError, match="first"):
        main(["folds", str(tmp_path), "--debug"])


def test_an_error_of_a_process_that_reads_data_is_one_line(tmp_path, capsys, monkeypatch):
    def fail(folders):
        loader = DataLoader([0], num_workers=1, collate_fn=lambda items: Path(tmp_path / "gone.mp4").read_bytes())
        next(iter(loader))

    monkeypatch.setattr("modeling_hdf.cli.folds.read_fold", fail)
    assert main(["folds", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1 and "gone.mp4" in printed and "No such file" in printed


@pytest.mark.parametrize("end", ["killed", "left"])
def test_a_killed_process_that_reads_data_is_named_in_one_line(tmp_path, capsys, monkeypatch, end):
    def die(items):
        os.kill(os.getpid(), signal.SIGKILL) if end == "killed" else os._exit(3)

    def fail(folders):
        next(iter(DataLoader([0], num_workers=1, collate_fn=die)))

    monkeypatch.setattr("modeling_hdf.cli.folds.read_fold", fail)
    assert main(["folds", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert (
        "error: a process that reads clips was killed, perhaps for want of memory: use fewer (--num-workers" in printed
    )


def test_an_interrupt_is_no_traceback(tmp_path, capsys, monkeypatch):
    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_hdf.cli.folds.read_fold", interrupt)
    assert main(["folds", str(tmp_path)]) == 130
    assert capsys.readouterr().err == ""


def test_completion_knows_commands_and_the_options_of_training(capsys):
    pytest.importorskip("shtab", reason="the extra `completion` is not installed")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for word in ("calibrate", "--group-by", "--sam_rho", "--mask_ratio", "--accelerate_config", "--machine-rank"):
        assert word in script


def test_completion_without_its_library_names_the_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert 'pip install "hdf-dfer[completion]"' in capsys.readouterr().err
