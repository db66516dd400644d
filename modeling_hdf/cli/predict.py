"""`hdf predict`: each person's expressions over time in raw videos, or one expression per cropped clip."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ..data.files import OutputError, read_json
from ..inference import Timeline, VideoAnalyzer, load_classifier, predict_video
from ..inference.classifier import class_names, move
from ..inference.inputs import Input, find_inputs
from ..inference.output_folder import OutputFolder, OutputSettings
from ..inference.progress import Progress, ProgressBar
from ..inference.timeline import rename
from ..inference.windows import exact_seconds
from ..inference.workers import Result, analyze_in_processes, keep_result
from .outcome import Outcome
from .parser import WrongCallError

_OPTIONS = ("window", "hop", "same_person", "batch_size", "device", "dtype")  # of the analyzer
_MOST_PEOPLE = 10  # that the summary of a video names


def run(arguments: argparse.Namespace) -> Outcome:
    """Prints the expressions of each video, and writes their tables; the exit code is 1 if a video cannot be read."""
    for option in ("annotate", "plot", "subtitles"):
        if getattr(arguments, option) and not arguments.output:
            raise WrongCallError(f"--{option} needs --output DIR, the folder for its files.")
    if arguments.whole and (arguments.output or arguments.workers > 1):
        raise WrongCallError("--whole prints one answer per clip, in one process: leave out --output and --workers.")
    videos = find_inputs(arguments.inputs, arguments.output)
    names = read_json(arguments.labels, "It must map class names to new names.") if arguments.labels else {}
    if arguments.whole:
        return _whole(arguments, videos, names)
    try:
        exact_seconds(arguments.window, arguments.hop)
    except ValueError as error:
        raise WrongCallError(str(error)) from error
    options = {name: getattr(arguments, name) for name in _OPTIONS} | {"labels": names}
    analyzer = VideoAnalyzer(arguments.model, **options)
    if not arguments.output:
        return _report(_analyze(arguments, analyzer, options, videos), arguments.json)
    from ..evaluation.trainings import weights_of  # it needs the data, which answers alone do not

    settings = OutputSettings(
        *(arguments.model, arguments.window, arguments.hop, arguments.same_person, analyzer.labels, arguments.format),
        weights_sha256=weights_of(arguments.model),
    )
    output = OutputFolder(*(Path(arguments.output), settings, arguments.subtitles, arguments.annotate, arguments.plot))
    with output.lock():
        output.prepare()
        missing = [video for video in videos if not output.is_done(video)]
        if len(missing) < len(videos):
            print(f"{len(videos) - len(missing)} of {len(videos)} videos were done before")
        try:
            outcome = _report(_analyze(arguments, analyzer, options, missing, output), arguments.json)
            output.write_summary([video for video in videos if video.name not in outcome.value["failures"]])
        except OutputError as error:
            raise ValueError(f"{error}. Finished videos are kept; run the same command again to go on.") from error
    print(f"tables: {output.folder}")
    return outcome


def _analyze(
    arguments: argparse.Namespace,
    analyzer: VideoAnalyzer,
    options: dict[str, Any],
    videos: list[Input],
    output: OutputFolder | None = None,
) -> Iterator[tuple[Input, Result]]:
    """Each video with its timeline, or with the error if it cannot be read. Writes their files."""
    yield from ((video, ValueError(video.problem)) for video in videos if video.problem)
    readable = [video for video in videos if not video.problem]
    if arguments.annotate:
        readable = [video.kept() for video in readable]
    shows_bar = not arguments.quiet and sys.stderr.isatty()
    with ProgressBar(len(readable)) if shows_bar else nullcontext() as bar:
        if min(arguments.workers, len(readable)) > 1:
            results = analyze_in_processes(readable, arguments.workers, arguments.model, options, output, bar)
        else:
            results = _analyze_here(analyzer, readable, output, bar)
        for video, result in results:
            if bar:
                bar.finish(video.video)
            yield video, result


def _analyze_here(
    analyzer: VideoAnalyzer, videos: list[Input], output: OutputFolder | None, progress: Progress | None
) -> Iterator[tuple[Input, Result]]:
    results = analyzer.analyze_all((video.video for video in videos), progress=progress)
    for video, (_, result) in zip(videos, results, strict=True):
        yield video, keep_result(video, result, output)


def _report(results: Iterator[tuple[Input, Result]], as_json: bool) -> Outcome:
    """Prints a summary of each video as it comes; failures follow at the end."""
    videos: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for video, result in results:
        if isinstance(result, Timeline):
            print(*summary_lines(video.name, result), sep="\n")
            if as_json:
                videos[video.name] = _as_json(result)
        else:
            failures[video.name] = str(result)
    _print_failures(failures, "not analysed")
    return Outcome({"videos": videos, "failures": failures}, code=1 if failures else 0)


def _print_failures(failures: dict[str, str], what: str) -> None:
    """Prints the message of each failure to stderr, with the name of its video if it does not hold it."""
    for name, message in failures.items():
        print(f"{what}: {message if name in message else f'{name}: {message}'}", file=sys.stderr)


def _as_json(timeline: Timeline) -> dict[str, Any]:
    """Rows and summary of a timeline as plain JSON."""
    return {
        "start": timeline.start,
        "end": timeline.end,
        "cuts": timeline.cuts,
        "problems": timeline.problems,
        "people": json.loads(timeline.summary.drop(columns="video").to_json(orient="records")),
        "rows": json.loads(timeline.to_pandas().drop(columns="video").to_json(orient="records", double_precision=6)),
    }


def summary_lines(name: str, timeline: Timeline) -> list[str]:
    """Lines that tell who is shown when, and with which expressions."""
    people = len(timeline.people)
    count = "no face" if not people else "1 person" if people == 1 else f"{people} people"
    lines = [f"{name}: {count} in {timeline.end - timeline.start:.1f} s"]
    for person in timeline.summary.head(_MOST_PEOPLE).to_dict("records"):
        shares = {label: person[f"share_{label}"] for label in timeline.labels}
        best = sorted((label for label in shares if shares[label] >= 0.005), key=shares.get, reverse=True)
        expressions = ", ".join(f"{label} {shares[label]:.0%}" for label in best)
        lines.append(f"  person {person['person']}, {person['start']:.1f} to {person['end']:.1f} s: {expressions}")
    if people > _MOST_PEOPLE:
        lines.append(f"  and {people - _MOST_PEOPLE} more")
    if timeline.quarter_turns:
        lines.append(f"  the video was turned by {90 * timeline.quarter_turns} degrees counter-clockwise")
    return lines + [f"  {problem}" for problem in timeline.problems]


def _whole(arguments: argparse.Namespace, videos: list[Input], names: dict[str, str]) -> Outcome:
    """Prints the most probable classes of each clip, which shows one face, cropped. Needs no extra."""
    model, processor = load_classifier(arguments.model)
    model = move(model, arguments.device, arguments.dtype)
    labels = class_names(model)
    renamed = dict(zip(labels, rename(labels, names), strict=True))
    predictions, failures = {}, {}
    for video in videos:
        try:
            if video.problem:
                raise ValueError(video.problem)
            prediction = predict_video(model, processor, video.video)
        except (OSError, ValueError) as error:  # one bad file does not stop the others
            failures[video.name] = str(error)
            continue
        predictions[video.name] = {renamed[name]: value for name, value in prediction.items()}
        best = list(predictions[video.name].items())[: arguments.top]
        print(f"{video.name}: " + ", ".join(f"{name} {value:.3f}" for name, value in best))
    _print_failures(failures, "not classified")
    return Outcome({"predictions": predictions, "failures": failures}, code=1 if failures else 0)
