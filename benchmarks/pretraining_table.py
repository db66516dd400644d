"""Markdown tables of the results of `pretraining.py`."""

from statistics import mean

from ablation_table import paired_interval
from pretraining_settings import TRIALS, changed

ARMS = {"scratch": "from scratch", "pretrained": "pretrained on all training clips, without labels"}


def scores_by_seed(records: list[dict], split: str) -> dict[int, list[float]]:
    """Seed to WAR and UAR in percent."""
    return {
        record["seed"]: [100 * record["results"][split][name] for name in ("war", "uar")]
        for record in records
        if split in record["results"]
    }


def results_table(records: list[dict]) -> str:
    """WAR and UAR of both arms on the test split, and their paired differences."""
    lines = ["| fine-tuning | seeds | test WAR, % | test UAR, % |", "|---|---|---|---|"]
    scores = {arm: scores_by_seed([record for record in records if record["run"] == arm], "test") for arm in ARMS}
    for arm, title in ARMS.items():
        if scores[arm]:
            means = " | ".join(f"{mean(column):.1f}" for column in zip(*scores[arm].values(), strict=True))
            lines.append(f"| {title} | {len(scores[arm])} | {means} |")
    seeds = sorted(scores["scratch"].keys() & scores["pretrained"].keys())
    if len(seeds) > 1:
        cells = []
        for index in range(2):
            values = [[scores[arm][seed][index] for seed in seeds] for arm in ("pretrained", "scratch")]
            middle, low, high = paired_interval(*values)
            cells.append(f"{middle:+.1f} ({low:+.1f} to {high:+.1f})")
        lines.append(f"| paired difference (95 %) | {len(seeds)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tuning_table(records: list[dict]) -> str:
    """Validation UAR of both arms in every trial, and the first and last pretraining loss."""
    lines = [
        "| trial | from scratch | pretrained | pretraining loss, first to last epoch |",
        "|---|---|---|---|",
    ]
    for name, changes in TRIALS.items():
        settings = changed(changes)
        cells = []
        for start in (None, settings["start"]):
            own = [record for record in records if record["settings"] == {**settings, "start": start}]
            cells.append(", ".join(f"{uar:.1f}" for _, uar in scores_by_seed(own, "validation").values()) or "-")
        losses = [record["pretraining"]["losses"] for record in own]
        cells.append(", ".join(f"{values[0]:.3f} to {values[-1]:.3f}" for values in losses) or "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
