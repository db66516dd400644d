"""What is told of a run names no path of this machine and no token."""

import json

import pytest

from modeling_hdf.evaluation.privacy import (
    find_local_path,
    find_secret,
    find_secret_of_command,
    public_command,
    public_start,
    shorten_paths,
    unreadable_entries,
)
from modeling_hdf.pretrained import SHIPPED

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
    ("message", "told"),
    [
        (
            "/home/me/My Videos/secret project/x 1.mp4: cannot be read: it is empty",
            "x 1.mp4: cannot be read: it is empty",
        ),
        (r"C:\My Videos\x.mp4: cannot be read", "x.mp4: cannot be read"),
        ("[Errno 2] No such file: '/home/me/My Videos/x.mp4'", "[Errno 2] No such file: 'x.mp4'"),
        ("happiness/x 1.mp4: no frame of /home/me/x.mp4 was read", "happiness/x 1.mp4: no frame of x.mp4 was read"),
    ],
)
def test_of_a_path_in_a_message_only_the_file_is_kept(message, told):
    assert unreadable_entries({"a": message}) == [{"clip_id": "a", "message": told}]


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
    for name, path in SHIPPED.items():
        assert public_start(name) == public_start(path) == public_start(path + "/") == f"shipped:{name}"
    assert public_start("MCG-NJU/videomae-base") == "MCG-NJU/videomae-base"
    assert public_start(str(tmp_path / "secret" / "first")) == "local:first"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "first").mkdir(parents=True)
    assert public_start("outputs/first") == "local:first"  # a folder here, although it reads like a repository


def joined(*parts: str) -> str:
    """A made-up secret, which does not stand in this file as a whole: tools that look for secrets would stop at it."""
    return "".join(parts)


SECRETS = [
    (TOKEN, "Hugging Face"),
    (joined("ghp", "_", "aB3" * 12), "GitHub"),
    (joined("github", "_pat_", "11A" * 8, "_", "b2C" * 10), "GitHub"),
    (joined("glpat", "-", "aB3_" * 6), "GitLab"),
    (joined("AKIA", "ABCDEFGH12345678"), "access key of AWS"),
    (joined('aws_secret_access_key = "', "aB3/" * 10, '"'), "secret key of AWS"),
    (joined("sk", "-", "aB3" * 16), "sk-"),
    (joined("sk", "-proj-", "aB3_" * 12), "sk-"),
    (joined("AIza", "aB3_-" * 7), "Google"),
    (joined("xoxb", "-", "1234567890-abc"), "Slack"),
    (joined("-----BEGIN ", "OPENSSH PRIVATE KEY-----"), "private key"),
    (joined("-----BEGIN ", "PRIVATE KEY-----"), "private key"),
    (joined("-----BEGIN ", "PGP PRIVATE KEY BLOCK-----"), "private key"),
    (joined("https://me:", "secret@example.org/x"), "password in a URL"),
    (joined("postgresql://:", "secret@localhost"), "password in a URL"),
]


@pytest.mark.parametrize("secret, kind", SECRETS)
def test_secrets_are_found_in_any_text_and_only_their_kind_and_line_is_told(secret, kind):
    for text in (secret, f"first\nsecond ({secret})", f"'{secret}'"):
        found = find_secret(text)
        assert kind in found.kind and found.line == 1 + text.count("\n")
        assert find_secret(b"\xff\0" + text.encode()) == found
        assert secret not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        *("hf_faces", "org/hf_videomae", "task-specific-and-rather-long-name-1", "sk-learn-and-other-libraries-of-it"),
        *(
            "https://example.org/a:b@c",
            "https://example.org:8080/x",
            "me@example.org",
            "f'https://{user}:{key}@{host}'",
        ),
        *("a" * 64, "-----BEGIN PUBLIC KEY-----", "Akiabcdefgh12345678"),
    ],
)
def test_names_addresses_and_checksums_are_no_secrets(text):
    assert find_secret(text) is None and find_secret(text.encode()) is None


def test_a_short_token_is_found_in_a_command_alone():
    for command in ("train.py hf_short", "train.py --hub_token hf", "train.py --other-token=x"):
        assert find_secret(command) is None and find_secret_of_command(command) is not None


@pytest.mark.parametrize(
    "text, path, of_a_name",
    [
        ("from /home/me/clips", "/home/me/clips", "/home/me/clips"),
        ("/ none", None, None),
        ("/other2", "/other2", None),
        ("anger / contempt", None, None),
        (r"C:\Users\me", r"C:\Users\me", r"C:\Users\me"),
        ("x/y", None, None),
    ],
)
def test_a_name_holds_a_path_only_if_that_has_a_folder(text, path, of_a_name):
    assert find_local_path(text) == path and find_local_path(text, is_name=True) == of_a_name
