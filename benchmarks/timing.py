"""Calls timed in turn, in rounds of one process, so that a slow phase of the machine affects all of them."""

import statistics
import time
from collections.abc import Callable, Sequence


def seconds_in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, after a first call that warms up."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio_of_times(values: Sequence[float], base: Sequence[float]) -> dict:
    """The ratio of the fastest times, which noise disturbs least, with the quartiles of the rounds' ratios."""
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    return {
        "ratio": min(values) / min(base),
        "quartiles": statistics.quantiles(ratios, n=4)[::2] if len(ratios) > 1 else None,
    }


def as_text(ratio: dict) -> str:
    """`1.90 (1.85 to 2.07)`."""
    text = f"{ratio['ratio']:.2f}"
    return text if ratio["quartiles"] is None else text + " ({:.2f} to {:.2f})".format(*ratio["quartiles"])
