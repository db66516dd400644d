"""Machines that do not share the output folder are refused, all of them together."""

import json
from pathlib import Path

import pytest
from processes import NUM_PROCESSES, run_in_two_processes


@pytest.mark.distributed
@pytest.mark.xdist_group("distributed")
def test_processes_that_do_not_share_the_output_folder_are_refused_together(tmp_path):
    run_in_two_processes(Path(__file__).parent / "unshared.py", tmp_path)
    first, second = (json.loads((tmp_path / f"results-{rank}.json").read_text()) for rank in range(NUM_PROCESSES))
    for case, message in {
        "checkpoint": "disk-1/checkpoint-2 is not a folder",
        "finished in one": "disk-1/trainer_state.json is missing",
        "start": "new-1 is another folder",
    }.items():
        # The paths of this test differ by process, as those on two disks would not.
        assert message in first[case] and "on a disk that all machines share" in first[case], case
        assert "on a disk that all machines share" in second[case]
    for case in ("shared", "finished", "saves nothing"):
        assert first[case] == second[case] == ""
    assert first["decision"] == second["decision"] == 0
    assert first["error"] == second["error"] == "of the first process"
    for name in ("Unsendable", "Unreadable"):
        assert first[name.lower()] == [name, "no space left"]
        assert second[name.lower()] == ["RuntimeError", f"Process 0 raised {name}: no space left"]
    assert not list(tmp_path.glob("*/_shared_*"))
