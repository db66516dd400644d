"""An uploaded file is deleted with the last answer that needs it, and not while another upload arrives."""

from pathlib import Path

import pytest

pytest.importorskip("gradio")
from modeling_hdf.demo.uploads import Uploads  # noqa: E402


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "hash" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(b"a")
    return path


def arrive(uploads: Uploads, path: Path) -> None:
    uploads.begin()
    uploads.end([str(path)])


def test_it_is_deleted_with_its_folder(file):
    uploads = Uploads()
    arrive(uploads, file)
    assert file.exists()
    uploads.answered(str(file))
    assert not file.parent.exists()


def test_two_visitors_with_equal_files_both_get_an_answer(file):
    uploads = Uploads()
    arrive(uploads, file)
    arrive(uploads, file)
    uploads.answered(str(file))
    assert file.exists()
    uploads.answered(str(file))
    assert not file.exists()


def test_it_stays_while_an_upload_arrives_that_may_be_the_same_file(file, tmp_path):
    uploads = Uploads()
    arrive(uploads, file)
    uploads.begin()
    uploads.answered(str(file))
    assert file.exists()
    uploads.end([])  # it was another file, or refused
    assert not file.exists()


def test_a_folder_with_another_file_stays(file):
    other = file.with_name("b.mp4")
    other.write_bytes(b"b")
    uploads = Uploads()
    arrive(uploads, file)
    uploads.answered(str(file))
    assert other.exists() and not file.exists()
