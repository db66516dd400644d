"""Paired differences between runs of one seed, and the Markdown tables of `ablation.py`."""

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev

from ablation_settings import ARMS, BASELINE, TRIALS
from scipy.stats import t


def paired_interval(values: Sequence[float], reference: Sequence[float], level: float = 0.95) -> tuple:
    """
    Mean of the differences `values - reference` of paired runs, and its t interval.

    Args:
        values, reference: one number per pair, at least 2 pairs.
        level: confidence level of the interval, between 0 and 1.

    Returns:
        `(mean, low, high)`.
    """
    differences = [one - other for one, other in zip(values, reference, strict=True)]
    half = t.ppf(0.5 + level / 2, len(differences) - 1) * stdev(differences) / sqrt(len(differences))
    return mean(differences), mean(differences) - half, mean(differences) + half


def _uar(records: list[dict], run: str, split: str) -> dict[int, float]:
    """UAR in points, by seed."""
    return {r["seed"]: 100 * r["results"][split]["uar"] for r in records if r["run"] == run}


def _cells(records: list[dict], run: str, split: str) -> list[str]:
    """Mean UAR of a run, and its difference to the baseline over their common seeds."""
    scores, reference_scores = _uar(records, run, split), _uar(records, BASELINE, split)
    seeds = sorted(scores.keys() & reference_scores.keys())
    score = f"{mean(scores.values()):.1f}" if scores else ""
    if run == BASELINE or not seeds:
        return [score, ""]
    pairs = [scores[s] for s in seeds], [reference_scores[s] for s in seeds]
    if len(seeds) == 1:
        return [score, f"{pairs[0][0] - pairs[1][0]:+.1f}"]
    middle, low, high = paired_interval(*pairs)
    return [score, f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"]


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def _check_start(records: list[dict]) -> None:
    """Raises `SystemExit` for runs that cannot be compared."""
    starts = {record["start_digest"] for record in records}
    if len(starts) > 1:
        raise SystemExit(
            "The runs started from different backbones (`start_digest`), as those of two machines do: repeat all of "
            "them on one."
        )


def results_table(records: list[dict]) -> str:
    """UAR of every arm on the ordinary and the shifted split, with paired differences to the baseline."""
    _check_start(records)
    header = ["arm", "seeds", "test UAR, %", "difference (95 %)", "shifted UAR, %", "difference (95 %)"]
    rows = []
    for name, arm in ARMS.items():
        cells = [cell for split in ("test", "shifted") for cell in _cells(records, name, split)]
        rows.append([arm.title, str(len(_uar(records, name, "test"))), *cells])
    return _table(header, rows)


def tuning_table(records: list[dict]) -> str:
    """UAR of every trial on the validation split, with paired differences to the baseline."""
    _check_start(records)
    header = ["trial", "arm", "changed", "seeds", "validation UAR, %", "difference (95 %)"]
    rows = []
    for name, trial in TRIALS.items():
        changed = ", ".join(f"{key} {value}" for group in trial.changes.values() for key, value in group.items())
        seeds = str(len(_uar(records, name, "validation")))
        rows.append([name, trial.arm, changed, seeds, *_cells(records, name, "validation")])
    return _table(header, rows)
