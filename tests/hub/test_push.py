"""`hdf push` against the emulator: what is pushed, where to, and what goes wrong."""

import json
import shutil

import pytest
from hub_emulator import READ_TOKEN, Fault
from huggingface_hub import HfApi, ModelCard
from travelling_files import TRAVELLING_FILES

from modeling_hdf import HDFForVideoClassification
from modeling_hdf.cli.main import main

PUBLISHED = {
    *("README.md", "config.json", "video_preprocessor_config.json", "model.safetensors", "metrics.json"),
    *("confusion_matrix.png", "training_curves.png", *TRAVELLING_FILES),
}


def push(folder, *arguments, repository="org/hdf-dfew") -> int:
    return main(["push", str(folder), repository, *map(str, arguments)])


def test_a_push_holds_the_model_and_nothing_else_of_the_folder(online, folder, capsys):
    assert push(folder) == 0
    pushed = online.files("org/hdf-dfew")
    assert set(pushed) == PUBLISHED
    for name in PUBLISHED - {"README.md"}:
        assert pushed[name] == (folder / name).read_bytes(), name
    assert "model.safetensors" in online.head("org/hdf-dfew").lfs
    assert f"{online.endpoint}/org/hdf-dfew/commit/" in capsys.readouterr().out


def test_the_card_has_the_numbers_of_the_metrics_not_those_of_a_card_in_the_folder(online, folder):
    assert push(folder) == 0
    card = ModelCard(online.files("org/hdf-dfew")["README.md"].decode())
    metrics = json.loads((folder / "metrics.json").read_text())
    results = {result.metric_name: result for result in card.data.eval_results}
    assert results["WAR"].metric_value == round(metrics["war"], 4)
    assert results["UAR"].metric_value == round(metrics["uar"], 4)
    assert results["WAR"].dataset_type == "dfew" and results["WAR"].dataset_config == "fold2"
    assert card.data.model_name == "hdf-dfew" and card.data.datasets == ["dfew"] and card.data.license == "other"
    assert 'model="org/hdf-dfew", trust_remote_code' in card.text and "0.99" not in card.content
    assert "hand-written" in (folder / "README.md").read_text()


def test_a_dry_run_writes_what_a_push_pushes_and_asks_no_hub(online, folder, tmp_path):
    assert push(folder, "--dry-run", tmp_path / "dry", "--revision", "fold2") == 0
    assert not online.requests
    assert push(folder, "--revision", "fold2") == 0
    written = {path.relative_to(tmp_path / "dry").as_posix() for path in (tmp_path / "dry").rglob("*")}
    pushed = online.files("org/hdf-dfew", "fold2")
    assert written == set(pushed)
    for name, content in pushed.items():
        assert (tmp_path / "dry" / name).read_bytes() == content, name


@pytest.mark.parametrize(
    ("trained", "license", "asks"),
    [
        (["dfew", "folder"], None, True),  # pretrained on a folder, which may hold anything
        (["dfew", "folder"], "The terms of FERV39k bind these weights.", False),
        (["dfew", "synthetic"], None, False),
    ],
)
def test_a_push_asks_for_the_terms_of_what_a_folder_held(folder, tmp_path, capsys, trained, license, asks):
    metrics = json.loads((folder / "metrics.json").read_text())
    starts = ["local:pretrained", None]
    metrics |= {
        "base_model": starts[0],
        "trainings": [{"base_model": start, "dataset": name} for start, name in zip(starts, trained, strict=True)],
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if license is not None:
        (folder / "LICENSE.md").write_text(license)
    assert push(folder, "--dry-run", tmp_path / "dry") == 0
    assert (f"bind the weights: write them into {folder / 'LICENSE.md'}" in capsys.readouterr().out) is asks


def test_a_dry_run_replaces_nothing(folder, tmp_path, capsys):
    assert push(folder, "--dry-run", folder) == 1
    assert "is not empty" in capsys.readouterr().err
    assert "hand-written" in (folder / "README.md").read_text()


def test_a_branch_is_created_and_the_main_one_left_alone(online, folder):
    assert push(folder, "--revision", "fold2") == 0
    assert set(online.files("org/hdf-dfew", "fold2")) == PUBLISHED
    assert online.files("org/hdf-dfew") == {}
    assert b'revision="fold2"' in online.files("org/hdf-dfew", "fold2")["README.md"]
    assert push(folder, "--revision", "fold2") == 0


@pytest.mark.parametrize("private", [True, False])
def test_a_private_repository_is_created_as_one(online, folder, private, monkeypatch):
    assert push(folder, *(["--private"] if private else [])) == 0
    assert online.repositories["model", "org/hdf-dfew"].private == private
    assert push(folder, *(["--private"] if private else [])) == 0
    monkeypatch.delenv("HF_TOKEN")
    assert HfApi().repo_exists("org/hdf-dfew") != private


def test_private_files_never_go_to_a_public_repository(online, folder, capsys):
    HfApi().create_repo("org/hdf-dfew")
    assert push(folder, "--private") == 1
    assert "org/hdf-dfew is public already" in capsys.readouterr().err
    assert online.files("org/hdf-dfew") == {}


def test_files_of_an_earlier_push_do_not_stay_beside_new_ones(online, folder):
    (folder / "LICENSE.md").write_text("For research alone.")
    assert push(folder) == 0
    assert "LICENSE.md" in online.files("org/hdf-dfew")
    HfApi().upload_file(repo_id="org/hdf-dfew", path_or_fileobj=b"mine", path_in_repo="docs/notes.txt")
    model = HDFForVideoClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    for name in ("metrics.json", "confusion_matrix.png", "training_curves.png", "LICENSE.md"):
        (folder / name).unlink()
    assert push(folder) == 0
    pushed = set(online.files("org/hdf-dfew"))
    shards = {path.name for path in folder.glob("model-*.safetensors")}
    code = {name for name in PUBLISHED if name.endswith(".py")}
    rest = {"README.md", "config.json", "video_preprocessor_config.json", "model.safetensors.index.json"}
    assert len(shards) > 1 and pushed == code | shards | rest | {"docs/notes.txt"}
    assert b"Not evaluated yet" in online.files("org/hdf-dfew")["README.md"]


def test_a_push_is_one_commit_and_an_unchanged_one_is_none(online, folder):
    assert push(folder) == 0 and push(folder) == 0
    messages = [commit.message for commit in online.repositories["model", "org/hdf-dfew"].commits.values()]
    assert messages == ["initial commit", "Publish the model"]


FAULTS = {
    "the repository cannot be created": Fault("POST", "repos/create", 500),
    "the upload fails": Fault("PUT", "/lfs/", 500),
    "the connection closes within the upload": Fault("PUT", "/lfs/", "cut"),
    "the upload is refused": Fault("PUT", "/lfs/", 403),
    "the commit fails": Fault("POST", "/commit/", 500),
    "the connection closes within the commit": Fault("POST", "/commit/", "cut"),
    "the list of files fails": Fault("GET", "/tree/", 503),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_push_that_breaks_off_leaves_no_file_and_is_completed_by_the_next(online, folder, fault, capsys):
    online.faults = [Fault(fault.method, fault.path, fault.kind)]
    assert push(folder) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("hdf push: error: ")
    if fault.path in ("repos/create", "/tree/"):
        assert "Nothing was pushed" in error
    elif fault.kind != 403:  # of what broke off within the commit, the client does not tell whether it was made
        assert "Either all of the push is visible in org/hdf-dfew or nothing" in error
    if fault.kind == "cut":
        assert "connection to the Hub broke off" in error and "repeat the command" in error
    elif fault.kind == 403:
        assert "No permission to write to org/hdf-dfew" in error
    else:
        assert f"the Hub answered {fault.kind}" in error and "repeat the command" in error
    if ("model", "org/hdf-dfew") in online.repositories:
        assert online.files("org/hdf-dfew") == {}
    online.faults = []
    assert push(folder) == 0
    assert set(online.files("org/hdf-dfew")) == PUBLISHED


def test_a_failure_that_passes_is_not_noticed(online, folder):
    online.faults = [Fault("PUT", "/lfs/", "cut", times=2), Fault("POST", "/preupload/", 503, times=2)]
    assert push(folder) == 0
    assert set(online.files("org/hdf-dfew")) == PUBLISHED


def test_a_commit_whose_answer_was_lost_is_not_made_twice(online, folder, capsys):
    online.faults = [Fault("POST", "/commit/", "mute")]
    assert push(folder) == 1
    error = capsys.readouterr().err
    assert "connection to the Hub broke off" in error
    assert "Either all of the push is visible in org/hdf-dfew or nothing" in error
    online.faults = []
    assert push(folder) == 0
    assert len(online.repositories["model", "org/hdf-dfew"].commits) == 2


def test_what_was_uploaded_is_not_uploaded_again(online, folder):
    online.faults = [Fault("POST", "/commit/", 500)]
    assert push(folder) == 1
    uploads = online.requests["PUT put"]
    online.faults = []
    assert push(folder) == 0
    assert online.requests["PUT put"] == uploads == 3  # weights and two pictures


@pytest.mark.parametrize(
    "token, message",
    [
        (None, "Run `hf auth login`"),
        ("hf_of_nobody", "Run `hf auth login`"),
        (READ_TOKEN, "No permission to write to org/hdf-dfew"),
    ],
)
def test_a_push_without_permission_says_what_to_do(online, folder, monkeypatch, capsys, token, message):
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert push(folder) == 1
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and message in error[0]
    assert not online.repositories and not online.objects


def test_a_namespace_of_others_is_refused(online, folder, capsys):
    assert push(folder, repository="strangers/hdf-dfew") == 1
    assert "No permission to write to strangers/hdf-dfew" in capsys.readouterr().err


def test_a_hub_that_is_switched_off_is_named(online, folder, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert push(folder) == 1
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


@pytest.mark.parametrize("repository", ["hdf-dfew", "org/hdf/dfew", "org/hdf dfew"])
def test_a_wrong_repository_is_named(online, folder, repository, capsys):
    assert push(folder, repository=repository) == 1
    assert f"'{repository}'" in capsys.readouterr().err
    assert not online.requests


def test_a_bad_folder_is_found_before_the_hub_is_asked(online, folder, capsys):
    shutil.copy(folder / "notes.py", folder / "model.safetensors")
    assert push(folder) == 1
    assert "model.safetensors: is damaged" in capsys.readouterr().err
    assert not online.requests
