"""Results of evaluations as lines of text, for the terminal."""

from ..evaluation.results import Results, evaluation_title
from ..evaluation.summary import MIN_GROUP_CLIPS

_TITLES = {"war": "WAR", "uar": "UAR", "macro_f1": "macro F1", "ece": "calibration error"}


def _with_interval(value: float, intervals: dict | None, key: str) -> str:
    if intervals is None or intervals[key] is None:
        return f"{value:.3f}"
    low, high = intervals[key]
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def total_lines(results: Results) -> list[str]:
    """Lines with the figures over all clips."""
    return [
        f"{title:<18} {_with_interval(getattr(results, key), results.intervals, key)}"
        for key, title in _TITLES.items()
    ]


def evaluation_lines(results: Results, all_groups: bool = False) -> list[str]:
    """
    Lines of one evaluation.

    Args:
        results ([`Results`]): the results that `hdf evaluate` writes.
        all_groups (`bool`, *optional*, defaults to `False`): whether to show every group, not only the worst groups.
    """
    intervals = results.intervals
    lines = [f"{results.model} on {results.title}: {results.num_clips} clips"]
    lines.append(f"frames: {results.frames}")
    lines += unreadable_lines(results.unreadable)
    lines += across_lines(results.across_datasets)
    lines += total_lines(results)
    counts = {name: sum(row) for name, row in zip(results.recall, results.confusion_matrix, strict=True)}
    lines.append("recall")
    for name, recall in results.recall.items():
        text = "no clips: left out of UAR and macro F1"
        if recall is not None:
            text = f"{_with_interval(recall, intervals and intervals['recall'], name)}  {counts[name]} clips"
        lines.append(f"  {name:<16} {text}")
    lines += [line for name, factor in results.groups.items() for line in _group_lines(name, factor, all_groups)]
    return [*lines, _bootstrap_line(results)]


def unreadable_lines(unreadable: list[dict] | None) -> list[str]:
    """Lines of the clips that could not be read, see [`Results`]; none if there are none."""
    if not unreadable:
        return []
    lines = [f"{len(unreadable)} clips could not be read, and count in no figure"]
    return lines + [f"  {entry['clip_id']}: {entry['message']}" for entry in unreadable]


def across_lines(across: dict | None) -> list[str]:
    """Lines of a measurement whose classes differ from the model's, see [`predict_rows`]; none if they are equal."""
    if across is None:
        return []
    left_out = ", ".join(f"{count} {name}" for name, count in across["left_out"].items()) or "none"
    removed = ", ".join(across["only_in_model"]) or "none"
    return [
        f"classes differ; measured on those in common: {', '.join(across['shared'])}",
        f"  clips left out, of classes that the model lacks: {left_out}",
        f"  taken out of the probabilities, classes that the dataset lacks: {removed}",
    ]


def _group_lines(name: str, factor: dict, all_groups: bool) -> list[str]:
    def line(group: str) -> str:
        values = factor["groups"][group]
        war, uar = (_with_interval(values[key], values["intervals"], key) for key in ("war", "uar"))
        return f"{group}: WAR {war}, UAR {uar}, {values['num_clips']} clips"

    worst = factor["worst"]
    if not all_groups:
        return [f"worst by {name}: {line(worst)}"] if worst is not None else []
    none = f"fewer than two have {MIN_GROUP_CLIPS} clips"
    return [f"by {name}; worst: {worst if worst is not None else none}", *(f"  {line(g)}" for g in factor["groups"])]


def _bootstrap_line(results: Results) -> str:
    bootstrap = results.bootstrap
    if results.intervals is None:
        return f"no intervals: all clips are of one {bootstrap['unit']}"
    units = "clips" if bootstrap["unit"] == "clip" else f"whole units of `{bootstrap['unit']}`"
    return (
        f"[low, high]: {bootstrap['level']:.0%} bootstrap intervals, {bootstrap['num_resamples']} resamples of "
        f"{bootstrap['num_units']} {units}, seed {bootstrap['seed']}"
    )


def fold_lines(result: dict) -> list[str]:
    """Lines of the result of [`aggregate_folds`]."""
    metrics = [key for key in _TITLES if key in result["mean"]]
    width = max(len(_TITLES[key]) for key in metrics)
    same = {name: result[name] for name in ("dataset", "split", "num_views", "peer_protocol")}
    title = evaluation_title(**same, fold=None)
    if result["missing_folds"]:
        title += f"; WITHOUT FOLD {', '.join(map(str, result['missing_folds']))}"
    lines = [title, " " * 20 + "  ".join(f"{_TITLES[key]:>{width}}" for key in metrics)]

    def line(name: str, values: dict) -> str:
        return f"{name:<20}" + "  ".join(f"{values[key]:>{width}.3f}" for key in metrics)

    lines += [line(f"fold {fold['fold']}", fold) for fold in result["folds"]]
    unread = [f"{fold['num_unreadable']} of fold {fold['fold']}" for fold in result["folds"] if fold["num_unreadable"]]
    if unread:
        lines.insert(1, f"clips that could not be read, and count in no figure: {', '.join(unread)}")
    lines += [line("mean", result["mean"]), line("standard deviation", result["standard_deviation"]), "recall"]
    for name, mean in result["mean"]["recall"].items():
        deviation = result["standard_deviation"]["recall"][name]
        text = "no clips in any fold" if mean is None else f"{mean:.3f}"
        lines.append(f"  {name:<16} {text}" + ("" if deviation is None else f" +- {deviation:.3f}"))
    return lines


def calibration_lines(calibration: dict) -> list[str]:
    """Lines of the result that `hdf calibrate` writes."""
    temperature = calibration["temperature"]
    lines = [f"temperature {temperature['before']:.4g} -> {temperature['after']:.4g}"]
    lines += unreadable_lines(calibration["unreadable"])
    for split in ("validation", "test"):
        before, after = calibration[split]["before"], calibration[split]["after"]
        lines.append(
            f"{split}, {calibration[split]['num_clips']} clips: "
            f"calibration error {before['ece']:.4f} -> {after['ece']:.4f}, "
            f"negative log-likelihood {before['nll']:.4f} -> {after['nll']:.4f}"
        )
    return lines


def robustness_lines(result: dict) -> list[str]:
    """Lines of a robustness test: UAR by corruption and severity, see [`measure_robustness`]."""
    levels = sorted({level for each in result["corruptions"].values() for level in each["severities"]}, key=int)
    clean = result["clean"]
    lines = [f"{result['model']} on {result['title']}: {result['num_clips']} clips"]
    lines += across_lines(result["across_datasets"])
    lines.append(f"clean              WAR {clean['war']:.3f}  UAR {clean['uar']:.3f}")
    lines.append(" ".join(["UAR by severity   ", *(f"{level:>6}" for level in levels), "  mean  of clean"]))
    for name, each in result["corruptions"].items():
        numbers = [f"{each['severities'][level]['uar']:6.3f}" for level in levels]
        lines.append(" ".join([f"  {name:<16}", *numbers, f"{each['uar']:6.3f} {_share(each['relative'])}"]))
    for kind, each in result["kinds"].items():
        lines.append(f"{kind + ', mean':<18} UAR {each['uar']:.3f}, {_share(each['relative']).strip()} of clean")
    if result["mean_corruption_error"] is not None:
        lines.append(f"mean corruption error {result['mean_corruption_error']:.3f} (1: as {result['baseline']})")
    elif result["baseline"] is not None:
        lines.append(
            f"no mean corruption error: the clips that could be read ({result['num_clips']}) are not those of the "
            f"baseline {result['baseline']} ({result['baseline_num_clips']})"
        )
    return lines


def _share(value: float | None) -> str:
    return "       -" if value is None else f"{value:8.1%}"


__all__ = [
    "across_lines",
    "calibration_lines",
    "evaluation_lines",
    "fold_lines",
    "robustness_lines",
    "total_lines",
    "unreadable_lines",
]
