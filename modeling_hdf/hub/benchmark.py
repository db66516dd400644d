"""The file of a model's repository that the leaderboard of a benchmark on the Hub reads."""

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml, hf_hub_url

from ..evaluation.results import METRICS, Results
from .client import check_repository

BENCHMARK_RESULTS = ".eval_results/hdf.yaml"
# A benchmark has one value per task, so each metric is a task.
_TASKS = ("war", "uar")


def benchmark_results(results: Results, benchmark: str, repo_id: str, revision: str | None = None) -> bytes:
    """
    WAR and UAR in the format of https://huggingface.co/docs/hub/eval-results.

    Each entry names the benchmark and its task, `"war"` or `"uar"`. It holds the metric as a share, 0 to 1, data,
    split and the clips that count in no figure in words, and a link to the `metrics.json` that it comes from.

    Args:
        results ([`Results`]): results of the model on the clips of the benchmark.
        benchmark (`str`): the dataset on the Hub that hosts the leaderboard, `"owner/name"`.
        repo_id (`str`): repository of the model, `"owner/name"`.
        revision (`str`, *optional*): branch of the model, if not the main one.

    Raises:
        ValueError: if `benchmark` or `repo_id` is no `"owner/name"`, or the results lack a metric.
    """
    check_repository(benchmark)
    check_repository(repo_id)
    results.require((*_TASKS, "dataset", "fold", "split", "num_views", "peer_protocol", "temporal_sampling"))
    notes = "; ".join([results.title, results.frames, *_left_out(results)])
    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=task,
            value=round(getattr(results, task), 4),
            source_url=hf_hub_url(repo_id, METRICS, revision=revision),
            source_name=METRICS,
            notes=notes,
        )
        for task in _TASKS
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True).encode("utf-8")


def _left_out(results: Results) -> list[str]:
    """Which clips of the split count in no figure, in words."""
    told = []
    if results.unreadable:
        told.append(f"without {_clips(len(results.unreadable))} that could not be read")
    left_out = (results.across_datasets or {}).get("left_out", {})
    if left_out:
        told.append(f"without {_clips(sum(left_out.values()))} of classes that the model lacks: {', '.join(left_out)}")
    return told


def _clips(number: int) -> str:
    return f"{number} clip{'s' if number != 1 else ''}"


__all__ = ["BENCHMARK_RESULTS", "benchmark_results"]
