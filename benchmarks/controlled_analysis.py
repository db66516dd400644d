"""The analysis of `controlled_ablation.py`: contrasts with a hierarchical bootstrap over seeds and people, Holm."""

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

import numpy as np
from controlled_settings import CONVERGENCE_ARMS, EPOCH_FACTORS, TUNING_SEEDS
from scipy.stats import t as student

NUM_RESAMPLES = 10_000
CONVERGED = 1.0  # points of validation UAR
TITLES = {
    "validation": "validation",
    "test": "clean",
    "shifted": "shifted",
    "corrupted": "corrupted",
    "foreign": "foreign frames",
}
TEST_SETS = tuple(TITLES)
PRIMARY = ("plain", "corrupted")
AUGMENTATION = {"none: augmented - plain": ("augmented", "plain")}
NUM_TESTS = 8  # the family of the protocol: four contrasts on two backbones


def digit_array(text: str) -> np.ndarray:
    """`"0123"` as numbers."""
    return np.frombuffer(text.encode(), dtype=np.uint8) - ord("0")


def answers_of(record: dict, test_set: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    The answers of a run on a test set.

    Returns:
        Whether each answer is right, `(conditions, N)`; true classes `(N,)`; and people `(N,)`.
    """
    split = "test" if test_set in ("corrupted", "foreign") else test_set
    truth, people = digit_array(record["truth"][split]), np.array(record["people"][split])
    if test_set == split:
        answers = [record["answers"][split]]
    else:
        is_foreign = test_set == "foreign"
        named = record["corrupted"].items()
        answers = [text for name, text in named if (name.split()[0] == "foreign") == is_foreign]
    answers = np.stack([digit_array(text) for text in answers])
    return answers == truth[: answers.shape[1]], truth[: answers.shape[1]], people[: answers.shape[1]]


def counts_by_person(right: np.ndarray, truth: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right answers `(conditions, P, classes)` and clips `(P, classes)` of each of P people."""
    _, person = np.unique(people, return_inverse=True)
    classes = np.unique(truth)
    clips = np.zeros((person.max() + 1, len(classes)))
    hits = np.zeros((len(right), *clips.shape))
    column = np.searchsorted(classes, truth)
    np.add.at(clips, (person, column), 1)
    for number, row in enumerate(right):
        np.add.at(hits[number], (person, column), row)
    return hits, clips


def weighted_uar(hits: np.ndarray, clips: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """UAR `(B,)`, averaged over conditions, with people counted by `weights` `(B, P)`; classes without clips are left
    out."""
    totals = weights @ clips  # (B, classes)
    recalls = np.einsum("bp,npc->bnc", weights, hits) / np.where(totals > 0, totals, np.nan)[:, None]
    return np.nanmean(recalls, axis=(1, 2))


def contrast(
    records: Sequence[dict], others: Sequence[dict], test_set: str, num_resamples: int = NUM_RESAMPLES
) -> dict:
    """
    The mean difference in UAR between two arms, paired by seed.

    Args:
        records, others (`Sequence[dict]`): runs of the two arms, one per seed, in the order of the seeds.
        test_set (`str`): one of `TEST_SETS`.
        num_resamples (`int`): resamples of seeds and, in each, of people.

    Returns:
        `dict`: `difference` and its 95 % interval `low`, `high`, in points; `p`, two-sided; `p_percentile`, from the
        shares of resamples on both sides of 0; `num_seeds`. Interval and p rest on the standard error over the
        resamples and Student's t, because percentiles over a few seeds reject too often.
    """
    tables = [[counts_by_person(*answers_of(each, test_set)) for each in arm] for arm in (records, others)]
    num_people, num_seeds = len(tables[0][0][1]), len(records)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(num_people, np.full(num_people, 1 / num_people), size=num_resamples)
    whole = np.ones((1, num_people))

    def differences(by: np.ndarray) -> np.ndarray:
        """`(B, seeds)`"""
        values = [np.stack([weighted_uar(*table, by) for table in arm], axis=1) for arm in tables]
        return 100 * (values[0] - values[1])

    drawn = rng.integers(num_seeds, size=(num_resamples, num_seeds))
    resampled = np.take_along_axis(differences(weights), drawn, axis=1).mean(1)
    return {"num_seeds": num_seeds, **inference(float(differences(whole).mean()), resampled, num_seeds)}


def inference(difference: float, resampled: np.ndarray, num_seeds: int) -> dict[str, float]:
    """Interval and p-values of a mean difference over seeds, from its resamples; see [`contrast`]."""
    below, above = (resampled <= 0).sum(), (resampled >= 0).sum()
    # Resampling n seeds has (n - 1) / n of the variance of their mean.
    error = float(resampled.std()) * np.sqrt(num_seeds / (num_seeds - 1))
    half = float(student.ppf(0.975, num_seeds - 1)) * error
    return {
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p": 1.0 if error == 0 else float(2 * student.sf(abs(difference) / error, num_seeds - 1)),
        "p_percentile": float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(resampled)))),
    }


def holm(p_values: Sequence[float], num_tests: int) -> list[float]:
    """Adjusted p-values (Holm 1979), in the given order. Tests of the family that are missing count as p = 1."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (num_tests - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted.tolist()


def uar_of(record: dict, test_set: str) -> float:
    """UAR of a run in points."""
    hits, clips = counts_by_person(*answers_of(record, test_set))
    return 100 * float(weighted_uar(hits, clips, np.ones((1, len(clips))))[0])


def arm_records(records: Sequence[dict], **about: str) -> dict[str, dict[int, dict]]:
    """The records with these fields, by arm and seed."""
    found: dict[str, dict[int, dict]] = {}
    for record in records:
        if all(record[name] == value for name, value in about.items()):
            found.setdefault(record["arm"], {})[record["seed"]] = record
    return found


def without_parts(records: Sequence[dict], backbone: str) -> dict[str, dict[int, dict]]:
    """The records of the arm none, by condition and seed."""
    return {
        condition: arm_records(records, backbone=backbone, condition=condition, arm="none").get("none", {})
        for condition in ("plain", "augmented")
    }


def best_arm(arms: dict[str, dict[int, dict]], names: Sequence[str] | None = None) -> str:
    """The arm with the highest mean validation UAR, of all or of `names`; of equal ones the first."""
    names = list(arms) if names is None else names
    return max(names, key=lambda name: mean(uar_of(record, "validation") for record in arms[name].values()))


def chosen_dam(arms: dict[str, dict[int, dict]]) -> str:
    """The one of temporal and normalized with the higher mean validation UAR."""
    return best_arm(arms, ("temporal", "normalized"))


def chosen_variant(arms: dict[str, dict[int, dict]], num_resamples: int = NUM_RESAMPLES) -> str:
    """The default of `dam_variant` by the rule of the protocol: temporal, unless another is better on validation."""
    better = [
        name
        for name in ("none", "static", "normalized")
        if contrast(*paired(arms, name, "temporal"), "validation", num_resamples)["low"] > 0
    ]
    return best_arm(arms, better) if better else "temporal"


def contrasts_of(dam: str) -> dict[str, tuple[str, str]]:
    """The four contrasts: the arms of each."""
    return {
        "DAM - static": (dam, "static"),
        "DAM - none": (dam, "none"),
        "DSM - none": ("dsm", "none"),
        "DAM + DSM - none": (f"{dam}_dsm", "none"),
    }


def paired(arms: dict[str, dict[int, dict]], name: str, other: str) -> list[list[dict]]:
    """The runs of two arms on the seeds that both have, in the same order."""
    seeds = sorted(set(arms.get(name, {})) & set(arms.get(other, {})))
    return [[arms[arm][seed] for seed in seeds] for arm in (name, other)]


def results_table(records: Sequence[dict], num_resamples: int = NUM_RESAMPLES) -> str:
    """Contrasts and mean UAR of the arms as Markdown; contrasts of arms that are not finished are left out."""
    lines, primary = [], []
    for backbone in sorted({record["backbone"] for record in records}):
        contrasts: dict[str, tuple[str, str]] = {}
        for condition in sorted({r["condition"] for r in records}, key=lambda name: (name != PRIMARY[0], name)):
            arms = arm_records(records, backbone=backbone, condition=condition)
            if not arms:
                continue
            lines += ["", f"### {backbone}, {condition}", "", *_arm_lines(arms)]
            if condition == PRIMARY[0] and {"temporal", "normalized"} <= arms.keys():
                dam, best = chosen_dam(arms), best_arm(arms)
                lines += ["", f"DAM is {dam}. The best arm on validation is {best}."]
                if {"none", "static"} <= arms.keys():
                    lines[-1] += f" The default is {chosen_variant(arms, num_resamples)}."
                contrasts = contrasts_of(dam)
                primary += _family(backbone, contrasts, arms, num_resamples)
                contrasts |= {f"{name} - static": (name, "static") for name in ("temporal", "normalized")}
                contrasts |= {"best - none": (best, "none")}
            lines += _contrast_lines(contrasts, arms, num_resamples)
        lines += _contrast_lines(AUGMENTATION, without_parts(records, backbone), num_resamples)
    return "\n".join([*lines, *_family_lines(primary)]).strip()


def _contrast_lines(
    contrasts: dict[str, tuple[str, str]], arms: dict[str, dict[int, dict]], num_resamples: int
) -> list[str]:
    """Each contrast that at least two seeds have, on every test set."""
    lines, seen = [], set()
    for name, pair in contrasts.items():
        runs = paired(arms, *pair)
        if len(runs[0]) < 2 or pair in seen or pair[0] == pair[1]:
            continue
        seen.add(pair)
        cells = [_interval(contrast(*runs, test_set, num_resamples)) for test_set in TEST_SETS]
        lines.append(_row([name, str(len(runs[0])), *cells]))
    title = [_row(["contrast", "seeds", *TITLES.values()]), _row(["---"] * (2 + len(TITLES)))]
    return ["", *title, *lines] if lines else []


def _family(backbone: str, contrasts: dict, arms: dict[str, dict[int, dict]], num_resamples: int) -> list[tuple]:
    """The contrasts that are tested, with their results."""
    pairs = {f"{backbone}: {name}": paired(arms, *pair) for name, pair in contrasts.items()}
    return [(name, contrast(*runs, PRIMARY[1], num_resamples)) for name, runs in pairs.items() if len(runs[0]) > 1]


def _family_lines(primary: Sequence[tuple[str, dict]]) -> list[str]:
    """The tests of the family, corrected."""
    if not primary:
        return []
    lines = ["", "### The family of tests: corrupted, plain", ""]
    lines += [_row(["contrast", "difference (95 %)", "p", "p, Holm", "p of percentiles"]), _row(["---"] * 5)]
    adjusted = holm([result["p"] for _, result in primary], NUM_TESTS)
    for (name, result), corrected in zip(primary, adjusted, strict=True):
        p_values = (f"{value:.4f}" for value in (result["p"], corrected, result["p_percentile"]))
        lines.append(_row([name, _interval(result), *p_values]))
    if len(primary) < NUM_TESTS:
        lines += ["", f"{len(primary)} of the {NUM_TESTS} tests; the correction counts the others as p = 1."]
    return lines


def _interval(result: dict) -> str:
    return f"{result['difference']:+.1f} ({result['low']:+.1f} to {result['high']:+.1f})"


def _arm_lines(arms: dict[str, dict[int, dict]]) -> list[str]:
    """Mean UAR of the arms, and the share of answers that need live gates."""
    lines = [_row(["arm", "seeds", *TITLES.values(), "answers that live gates change, %"]), _row(["---"] * 8)]
    for name, runs in arms.items():
        flipped = [run["liveness"]["trained"]["flipped"] for run in runs.values()]
        live = "" if None in flipped else f"{100 * mean(flipped):.1f}"
        scores = [f"{mean(uar_of(run, test_set) for run in runs.values()):.1f}" for test_set in TEST_SETS]
        lines.append(_row([name, str(len(runs)), *scores, live]))
    return lines


def trial_means(records: Sequence[dict]) -> dict[tuple[str, str, int], list[float]]:
    """Validation UAR of the trials of the number of epochs, by backbone, arm and number of epochs."""
    scores: dict[tuple[str, str, int], list[float]] = {}
    for record in records:
        key = (record["backbone"], record["arm"], record["settings"]["training"]["num_train_epochs"])
        scores.setdefault(key, []).append(uar_of(record, "validation"))
    return dict(sorted(scores.items()))


def chosen_epochs(records: Sequence[dict]) -> int | None:
    """
    The number of epochs by the rule of the protocol, from the trials of one backbone: the least at which twice the
    epochs change the mean validation UAR of both arms by less than `CONVERGED` points; the largest if there is none.
    None if trials that decide are missing.
    """
    means = {
        (arm, epochs): mean(scores)
        for (_, arm, epochs), scores in trial_means(records).items()
        if len(scores) == len(TUNING_SEEDS)
    }
    if not records:
        return None
    base = records[0]["settings"]["training"]["num_train_epochs"] // records[0]["epoch_factor"]
    numbers = [base * factor for factor in EPOCH_FACTORS]
    for epochs, longer in pairwise(numbers):
        changes = [
            means[arm, longer] - means[arm, epochs]
            for arm in CONVERGENCE_ARMS
            if {(arm, longer), (arm, epochs)} <= means.keys()
        ]
        if len(changes) < len(CONVERGENCE_ARMS):
            return None
        if all(abs(change) < CONVERGED for change in changes):
            return epochs
    return numbers[-1]


def convergence_table(records: Sequence[dict]) -> str:
    """Mean validation UAR by backbone, arm and number of epochs, and the number that they choose."""
    lines = [_row(["backbone", "arm", "epochs", "seeds", "validation UAR, %"]), _row(["---"] * 5)]
    for (backbone, arm, epochs), scores in trial_means(records).items():
        lines.append(_row([backbone, arm, str(epochs), str(len(scores)), f"{mean(scores):.1f}"]))
    for backbone in sorted({record["backbone"] for record in records}):
        epochs = chosen_epochs([record for record in records if record["backbone"] == backbone])
        lines += ["", f"{backbone}: {'not decided yet' if epochs is None else f'{epochs} epochs'}."]
    return "\n".join(lines)


def liveness_table(records: Sequence[dict]) -> str:
    """
    Liveness of the gates as Markdown: the spread over clips relative to the mean, in %, of each DAM from the first to
    the last, and the share of answers that change if the gates become their mean over clips; means over the seeds, at
    the start and after training.
    """
    title = "spread over clips of each DAM, %"
    lines = [
        _row(
            [
                "backbone",
                "condition",
                "arm",
                "seeds",
                "when",
                f"temporal: {title}",
                f"frequency: {title}",
                "answers that change, %",
            ]
        )
    ]
    lines.append(_row(["---"] * 8))
    keys = sorted({(record["backbone"], record["condition"]) for record in records})
    for backbone, condition in keys:
        for arm, runs in arm_records(records, backbone=backbone, condition=condition).items():
            if not next(iter(runs.values()))["liveness"]["start"]["layers"]:
                continue
            for when in ("start", "trained"):
                found = [run["liveness"][when] for run in runs.values()]
                spreads = [_spreads(found, branch) for branch in ("temporal", "frequency")]
                flipped = f"{100 * mean(each['flipped'] for each in found):.1f}"
                lines.append(_row([backbone, condition, arm, str(len(runs)), when, *spreads, flipped]))
    return "\n".join(lines)


def _spreads(found: Sequence[dict], branch: str) -> str:
    """Spread of a branch after each layer, averaged over runs."""
    layers = sorted(found[0]["layers"], key=int)
    means = (100 * mean(each["layers"][layer][branch] for each in found) for layer in layers)
    return ", ".join(f"{float(f'{value:.2g}'):g}" for value in means)  # two digits, also of 100 and more


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
