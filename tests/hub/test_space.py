"""`hdf push --space`: the page of `hdf demo` as a Space, dry and against the emulator."""

import ast
from importlib.metadata import version

import pytest
import yaml

from modeling_hdf.cli.main import main

pytest.importorskip("gradio")
FILES = {"app.py", "requirements.txt", "README.md"}


def written(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_dry_run_writes_a_page_that_shows_the_model_that_ships(online, tmp_path):
    space = tmp_path / "space"
    assert main(["push", "hdf-tiny-synthetic", "--space", "org/demo", "--dry-run", str(space)]) == 0
    assert not online.requests
    files = written(space)
    assert set(files) == FILES
    assert 'serve("hdf-tiny-synthetic", host="0.0.0.0")' in files["app.py"]
    ast.parse(files["app.py"])
    assert files["requirements.txt"] == f"hdf-dfer[demo,face]=={version('hdf-dfer')}\n"
    card = yaml.safe_load(files["README.md"].split("---")[1])
    assert (card["sdk"], card["app_file"]) == ("gradio", "app.py") and "models" not in card
    assert str(card["sdk_version"]) == version("gradio")
    assert "not what a person feels" in files["README.md"]
    assert "The weights of `hdf-tiny-synthetic` come with terms of their own." in files["README.md"]


def test_model_and_space_are_pushed_and_the_space_names_the_model(online, folder):
    assert main(["push", str(folder), "org/hdf-dfew", "--space", "org/demo", "--private"]) == 0
    assert {"model.safetensors", "README.md"} <= set(online.files("org/hdf-dfew"))
    repository = online.repositories["space", "org/demo"]
    head = repository.commits[repository.branches["main"]].files
    assert FILES <= set(head) and repository.private
    assert b'serve("org/hdf-dfew"' in head["app.py"] and b"models:\n  - org/hdf-dfew\n" in head["README.md"]


def test_a_dry_run_of_both_writes_two_folders(online, folder, tmp_path):
    out = tmp_path / "out"
    assert main(["push", str(folder), "org/hdf-dfew", "--space", "org/demo", "--dry-run", str(out)]) == 0
    assert set(written(out / "space")) == FILES and (out / "model" / "model.safetensors").is_file()
    assert not online.requests


@pytest.mark.parametrize(("options", "word"), [(["--private"], "as"), ([], "if")])
def test_the_command_says_what_the_space_needs_to_start(online, folder, tmp_path, capsys, options, word):
    push = ["push", str(folder), "org/hdf-dfew", "--space", "org/demo", *options]
    for call in ([*push, "--dry-run", str(tmp_path / "out")], push):
        assert main(call) == 0
        printed = capsys.readouterr().out
        assert f"the Space starts if hdf-dfer {version('hdf-dfer')} is on the package index" in printed
        assert f"{word} org/hdf-dfew is private, the Space needs a secret HF_TOKEN" in printed
    assert main(["push", "hdf-tiny-synthetic", "--space", "org/demo", "--dry-run", str(tmp_path / "ships")]) == 0
    assert "HF_TOKEN" not in capsys.readouterr().out  # the checkpoint comes with the package


def test_a_branch_that_the_page_would_not_load_is_refused(online, folder, capsys):
    assert main(["push", str(folder), "org/hdf-dfew", "--space", "org/demo", "--revision", "fold2"]) == 2
    assert "leave out --revision or --space" in capsys.readouterr().err and not online.requests


@pytest.mark.parametrize("options", [[], ["--space", "org/demo"]])
def test_a_folder_of_ones_own_needs_a_repository(online, folder, capsys, options):
    assert main(["push", str(folder), *options]) == 2
    assert "Give the repository of the model" in capsys.readouterr().err and not online.requests


def test_a_wrong_name_of_a_space_is_a_wrong_call(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["push", "hdf-tiny-synthetic", "--space", "demo"])
    assert ended.value.code == 2 and "is written owner/name" in capsys.readouterr().err
