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

    Each entry names the benchmark and its task, `"war"` or `"uar"`. It holds the metric as a share, 0 to 1, data and
    split in words, and a link to the `metrics.json` that it comes from.

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
    entries = [
        EvalResultEntry(
            dataset_id=benchmark,
            task_id=task,
            value=round(getattr(results, task), 4),
            source_url=hf_hub_url(repo_id, METRICS, revision=revision),
            source_name=METRICS,
            notes=f"{results.title}; {results.frames}",
        )
        for task in _TASKS
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True).encode("utf-8")


__all__ = ["BENCHMARK_RESULTS", "benchmark_results"]
