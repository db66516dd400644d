"""The figures of `real_faces.py` as Markdown."""

from timing import as_text


def as_markdown(found: dict) -> str:
    """The tables of one dataset, from the result of `measure`."""
    ours = next(iter(found["models"].values()))
    units = f"{ours['bootstrap']['unit']} ({ours['bootstrap']['num_units']})"
    lines = [f"### {found['title']}", "", f"{ours['num_clips']} clips; 95 % intervals by {units}.", ""]
    lines += [*_totals(found), "", *_recalls(found["models"]), ""]
    lines += [f"- {note}" for note in found["notes"]]
    lost = found["not_measured"]
    if lost:
        named = "; ".join(f"{name}: {message}" for name, message in list(lost.items())[:10])
        lines.append(f"- not measured, {len(lost)} clips: {named}{'; ...' if len(lost) > 10 else ''}")
    return "\n".join(lines).rstrip() + "\n"


def _totals(found: dict) -> list[str]:
    lines = ["| model | WAR, % | UAR, % | ours minus it: WAR | UAR | time / ours |", "|---|---|---|---|---|---|"]
    for name, scores in found["models"].items():
        cells = [name]
        for key in ("war", "uar"):
            cells.append(percent(scores[key], (scores["intervals"] or {}).get(key)))
        apart = found["differences"].get(name)
        for key in ("war", "uar"):
            cells.append(percent(apart[key]["value"], apart[key]["interval"], sign="+") if apart else "")
        lines.append(f"| {' | '.join([*cells, as_text(found['speed'][name])])} |")
    return lines


def _recalls(models: dict[str, dict]) -> list[str]:
    lines = [f"| recall, % | clips | {' | '.join(models)} |", "|---|---|" + "---|" * len(models)]
    ours = next(iter(models.values()))
    for (label, value), row in zip(ours["recall"].items(), ours["confusion_matrix"], strict=True):
        if value is not None:
            cells = [label, str(sum(row))]
            for scores in models.values():
                interval = scores["intervals"] and scores["intervals"]["recall"][label]
                cells.append(percent(scores["recall"][label], interval))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def percent(value: float, interval: list[float] | None, sign: str = "") -> str:
    """A share in percent with its interval: `58.1 (56.5 to 59.7)`."""
    text = f"{100 * value:{sign}.1f}"
    return text if interval is None else f"{text} ({100 * interval[0]:{sign}.1f} to {100 * interval[1]:{sign}.1f})"


__all__ = ["as_markdown", "percent"]
