"""Hooks of mkdocs: equations as MathML, the options of each command from its parser, links in docstrings."""

import argparse
import dataclasses
import html
import posixpath
import re

from latex2mathml.converter import convert
from transformers import TrainingArguments

from modeling_hdf.cli.main import build_parser
from modeling_hdf.cli.pretrain import PretrainingDataArguments
from modeling_hdf.cli.pretrain import ScriptArguments as PretrainingScriptArguments
from modeling_hdf.cli.train import ScriptArguments
from modeling_hdf.data.arguments import DataArguments
from modeling_hdf.training.arguments import HDFTrainingArguments
from modeling_hdf.training.pretraining import PretrainingArguments

# What transformers' parser of training reads, which `build_parser` does not hold.
TRAINING = {
    "train": (ScriptArguments, DataArguments, HDFTrainingArguments),
    "pretrain": (PretrainingScriptArguments, PretrainingDataArguments, PretrainingArguments),
}


def on_page_markdown(markdown: str, **_) -> str:
    """Puts the options of a command in the place of `<!-- options: COMMAND -->`."""
    return re.sub(r"<!-- options: (.+?) -->", lambda match: options_table(match[1]), markdown)


def options_table(command: str) -> str:
    """A Markdown table of the arguments and options of `hdf COMMAND`."""
    rows = training_rows(command) if command in TRAINING else parser_rows(find_parser(command))
    lines = [f"| {option} | {text.replace('|', chr(92) + '|')} |" for option, text in rows]
    return "\n".join(["| option | meaning |", "|---|---|", *lines])


def find_parser(command: str) -> argparse.ArgumentParser:
    """The parser of a command such as `"data check"`."""
    parser = build_parser()
    for word in command.split():
        parser = subcommands(parser)[word]
    return parser


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands below a parser, by name."""
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found[0] if found else {}


def parser_rows(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Name and help of each argument of a parser, but for `--help`."""
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        value = action.metavar or (",".join(map(str, action.choices)) if action.choices else action.dest.upper())
        if not action.option_strings:
            name = f"`{action.metavar or action.dest}`"
        else:
            name = f"`{', '.join(action.option_strings)}`" + ("" if action.nargs == 0 else f" `{value}`")
        rows.append((name, (action.help or "") % {"default": action.default, "prog": parser.prog}))
    return rows


def training_rows(command: str) -> list[tuple[str, str]]:
    """Name, default and help of each argument of training that is not one of transformers' own."""
    rows = []
    for each in (one for kind in TRAINING[command] for one in dataclasses.fields(kind)):
        if each.name not in TrainingArguments.__dataclass_fields__:
            default = "" if each.default in (None, dataclasses.MISSING) else f" Default `{each.default}`."
            rows.append((f"`--{each.name}`", each.metadata["help"] + default))
    return rows


def on_page_content(content: str, **_) -> str:
    """Renders the equations, and takes the markup out of types, which docstrings write as `int`, *optional*."""
    content = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda m: mathml(m[1], "inline"), content)
    content = re.sub(
        r"<code>[^<]*`[^<]*</code>", lambda m: m[0].replace("`", "").replace("*optional*", "optional"), content
    )
    return re.sub(
        r'<div class="arithmatex">\\\[(.*?)\\\]</div>', lambda m: mathml(m[1], "block"), content, flags=re.DOTALL
    )


def mathml(latex: str, display: str) -> str:
    """An equation as MathML, which browsers render without any script."""
    return convert(html.unescape(latex).strip(), display=display)


def on_env(env, files, **_):
    """Turns [`name`] of a docstring into a link to `name`, or into the name alone if it has no page."""
    pages = [file.page for file in files.documentation_pages() if file.page.content]
    places = {}
    for page in pages:
        for name in re.findall(r'id="(modeling_hdf\.[\w.]+)"', page.content):
            place = f"{page.file.url}#{name}"
            places.setdefault(name, place)
            for words in (1, 2):
                places.setdefault(".".join(name.split(".")[-words:]), place)
    for page in pages:
        page.content = re.sub(
            r"\[<code>~?([\w.]+)</code>\]", lambda match, page=page: link(match[1], places, page.file.url), page.content
        )
    return env


def link(name: str, places: dict[str, str], here: str) -> str:
    """The link of one name on the page at `here`."""
    place = places.get(name)
    if place is None:
        return f"<code>{name}</code>"
    return f'<a href="{posixpath.relpath(place, posixpath.dirname(here) or ".")}"><code>{name}</code></a>'
