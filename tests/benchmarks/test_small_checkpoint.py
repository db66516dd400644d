"""The command that makes the tiny checkpoint that ships."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from modeling_hdf import TINY_SYNTHETIC


@pytest.fixture
def small_checkpoint(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import small_checkpoint

    return small_checkpoint


def run(small_checkpoint, monkeypatch, target: Path, evaluated: Path) -> None:
    monkeypatch.setattr(small_checkpoint, "TINY_SYNTHETIC", str(target))
    monkeypatch.setattr(sys, "argv", ["small_checkpoint.py", "--gates", str(evaluated)])
    small_checkpoint.main()


def test_gates_of_an_evaluation_come_into_record_and_card_and_nothing_else_changes(
    small_checkpoint, tmp_path, monkeypatch
):
    target, evaluated = tmp_path / "target", tmp_path / "evaluated"
    shutil.copytree(TINY_SYNTHETIC, target)
    before = json.loads((target / "metrics.json").read_text())
    evaluated.mkdir()
    gates = {"num_clips": 11, "layers": {"2": {"temporal": 0.0123}}, "flipped": 0.375}
    (evaluated / "metrics.json").write_text(json.dumps(before | {"gate_liveness": gates}))
    run(small_checkpoint, monkeypatch, target, evaluated)
    assert json.loads((target / "metrics.json").read_text()) == before | {"gate_liveness": gates}
    card = (target / "README.md").read_text()
    assert "mean over 11 clips, 37.5 % of the answers change" in card and "| 2 | 1.2 % | off |" in card

    matrix = before["confusion_matrix"][1:] + before["confusion_matrix"][:1]
    (evaluated / "metrics.json").write_text(json.dumps(before | {"confusion_matrix": matrix}))
    with pytest.raises(SystemExit, match="is no evaluation of"):
        run(small_checkpoint, monkeypatch, target, evaluated)
