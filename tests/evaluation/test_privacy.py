"""What is told of a run names no path of this machine and no token."""

import json

import pytest

from modeling_hdf.evaluation.privacy import public_command, public_start, refuse_private_texts, shorten_paths

TOKEN = "hf_" + "aB3" * 11 + "x"


@pytest.mark.parametrize(
    "word, shortened",
    [
        ("/home/me/DFEW", "DFEW"),
        ("/home/me/my data/DFEW/", "DFEW"),
        ("--data-dir=/mnt/disk 1/DFEW", "--data-dir=DFEW"),
        ("~/DFEW", "DFEW"),
        ("~me/DFEW", "DFEW"),
        ("../../me/DFEW", "DFEW"),
        (r"C:\Users\me\DFEW", "DFEW"),
        ('{"clips_dir": "/home/me/clips", "fps": 25}', '{"clips_dir": "clips", "fps": 25}'),
        ("outputs/dfew", "outputs/dfew"),
        ("MCG-NJU/videomae-base", "MCG-NJU/videomae-base"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("file:///home/me/DFEW", "DFEW"),
        ("--data-dir=file:/home/me/DFEW", "--data-dir=DFEW"),
        ("anger / contempt", "anger / contempt"),
        ("/", "/"),
        ("--learning_rate", "--learning_rate"),
        ("1e-3", "1e-3"),
        ("-0.1", "-0.1"),
    ],
)
def test_of_a_local_path_only_the_last_part_is_kept(word, shortened):
    assert shorten_paths(word) == shortened


@pytest.mark.parametrize(
    "words",
    [
        ["--hub_token", TOKEN],
        [f"--hub_token={TOKEN}"],
        ["--hub-token", "secret"],
        ["--hub-token=secret"],
        ["--hub_tok", "secret"],  # argparse takes abbreviations
        ["--hub_t=secret"],
        ["--other_api_token", "secret"],
    ],
)
def test_a_command_is_told_without_its_tokens(words):
    argv = ["train.py", "--push_to_hub", "true", *words, "--average_tokens_across_devices", "true"]
    assert public_command(argv) == "train.py --push_to_hub true --average_tokens_across_devices true"


def test_a_token_anywhere_in_a_command_is_masked():
    argv = ["train.py", "--dataset_overrides", json.dumps({"token": TOKEN, "path": f"x/{TOKEN}"}), TOKEN]
    command = public_command(argv)
    assert TOKEN not in command and command.count("TOKEN") == 3
    assert public_command(["train.py", "--hub_token", "--seed", "3"]) == "train.py --seed 3"


def test_a_start_is_told_by_its_repository_or_its_folder_alone(tmp_path, monkeypatch):
    assert public_start(None) is None
    assert public_start("MCG-NJU/videomae-base") == "MCG-NJU/videomae-base"
    assert public_start(str(tmp_path / "secret" / "first")) == "local:first"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "first").mkdir(parents=True)
    assert public_start("outputs/first") == "local:first"  # a folder here, although it reads like a repository


@pytest.mark.parametrize(
    "content, message",
    [
        ({"a": [{"b": "/home/me/clips"}]}, "a.json: names a path of this machine, '/home/me/clips'"),
        ({"a": [TOKEN]}, "a.json: holds a token"),
        ({"command": "train.py hf_short"}, "a.json: holds a token"),
    ],
)
def test_private_texts_are_refused(content, message):
    with pytest.raises(ValueError, match=message) as error:
        refuse_private_texts("a.json", content)
    assert TOKEN not in str(error.value)
    refuse_private_texts("a.json", {"id2label": {"0": "/ none"}, "a": "hf_faces", "b": [1, None, "x/y"]})
