"""Two processes with half of each batch train as one process with the whole batch does."""

from pathlib import Path

import pytest
import torch
from cases import CASES, GLOBAL_BATCH, STEPS, evaluate, train_case
from processes import NUM_PROCESSES, run_in_two_processes

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.xdist_group("distributed"),
    pytest.mark.usefixtures("short_garbage_collections"),
]


@pytest.fixture(scope="module")
def processes(tmp_path_factory) -> list[dict]:
    """What each of two processes saw."""
    folder = tmp_path_factory.mktemp("processes")
    run_in_two_processes(Path(__file__).parent / "cases.py", folder)
    return [torch.load(folder / f"results-{rank}.pt", weights_only=True) for rank in range(NUM_PROCESSES)]


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Length of the difference over the length of `expected`, over all rows."""
    return ((actual - expected).norm() / expected.norm()).item()


def interleave(asked: list[list[int]], batch: int) -> list[int]:
    """Rows that the processes asked for in turns, a batch each."""
    return [row for start in range(0, len(asked[0]), batch) for rows in asked for row in rows[start : start + batch]]


@pytest.mark.parametrize("name", CASES)
def test_losses_gradients_and_weights_are_those_of_one_process(processes, tmp_path, name):
    alone = train_case(name, tmp_path)
    assert len(alone["logs"]) == STEPS
    for result in (process["cases"][name] for process in processes):
        for entry, expected in zip(result["logs"], alone["logs"], strict=True):
            assert entry == pytest.approx(expected, rel=1e-5)
        assert relative(result["gradients"], alone["gradients"]) < 1e-5
        # Against the way that training went: it is short beside the weights themselves.
        assert relative(result["after"] - result["before"], alone["after"] - alone["before"]) < 1e-5
        assert result["g"] == pytest.approx(alone["g"], rel=1e-5)
    first, second = (process["cases"][name] for process in processes)
    assert relative(first["after"], second["after"]) < 1e-6
    for entry, other in zip(first["logs"], second["logs"], strict=True):
        assert entry == pytest.approx(other, rel=1e-6)
    assert interleave([first["asked"], second["asked"]], GLOBAL_BATCH // NUM_PROCESSES) == alone["asked"]


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_reduced_once_per_pass(processes, name):
    passes = 2 if CASES[name].get("sam_rho") else 1
    for process in processes:
        assert process["cases"][name]["num_reductions"] == STEPS * passes


@pytest.mark.parametrize("sampler", ["random", "per_class"])
def test_resuming_gives_the_straight_run(processes, sampler):
    for process in processes:
        straight, resumed = process["resume"][sampler]["straight"], process["resume"][sampler]["resumed"]
        assert len(straight["logs"]) == len(resumed["logs"]) == 8
        assert (resumed["after"] - straight["after"]).abs().max() <= 1e-6
        assert resumed["g"] == pytest.approx(straight["g"], abs=1e-6) and resumed["g"] != 1
        assert resumed["asked"] == straight["asked"][-len(resumed["asked"]) :]
        # The three steps after the checkpoint, and no more.
        assert len(resumed["asked"]) == 3 * 2 * GLOBAL_BATCH // NUM_PROCESSES


def test_evaluation_and_prediction_are_those_of_one_process(processes, tmp_path):
    alone = evaluate(tmp_path)
    for process in processes:
        assert process["evaluate"]["metrics"] == pytest.approx(alone["metrics"], rel=1e-6)
        torch.testing.assert_close(process["evaluate"]["logits"], alone["logits"], rtol=1e-5, atol=1e-6)


def test_processes_have_batches_of_one_size_also_at_the_end_of_an_epoch(processes):
    for process in processes:
        assert process["uneven"]["sizes"] == [GLOBAL_BATCH // NUM_PROCESSES] * 2  # 13 rows
        assert "`even_batches` is False" in process["uneven"]["message"]
