"""Hooks of mkdocs: equations as MathML, the options of each command from its parser, links in docstrings."""

import argparse
import html
import posixpath
import re

from latex2mathml.converter import convert
from transformers import TrainingArguments

from modeling_hdf.cli import pretrain, train
from modeling_hdf.cli.commands import build_parser
from modeling_hdf.cli.parser import common_options

TRAINING = {"train": train.training_parser, "pretrain": pretrain.training_parser}


def on_page_markdown(markdown: str, **_) -> str:
    """Replaces `<!-- options: COMMAND -->` by the options of the command."""
    return re.sub(r"<!-- options: (.+?) -->", lambda match: options_table(match[1]), markdown)


def find_parser(command: str) -> argparse.ArgumentParser:
    """The parser of a command such as `"data check"`."""
    if command in TRAINING:
        return TRAINING[command]()
    parser = build_parser()
    for word in command.split():
        (subparsers,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
        parser = subparsers.choices[word]
    return parser


def options_table(command: str) -> str:
    """The arguments and options of a command as Markdown, without common options and transformers' options."""
    elsewhere = {"help", *(action.dest for action in common_options()._actions)}
    if command in TRAINING:
        elsewhere |= set(TrainingArguments.__dataclass_fields__)
    lines = ["| option | meaning |", "|---|---|"]
    parser = find_parser(command)
    for action in parser._actions:
        is_opposite = any(option.startswith("--no_") for option in action.option_strings)  # transformers adds these
        if action.dest not in elsewhere and not is_opposite:
            text = html.escape((action.help or "") % {"default": action.default, "prog": parser.prog}, quote=False)
            if command in TRAINING and action.default is not None:
                text += f" Default: `{action.default}`."
            lines.append(f"| {option_name(action)} | {text} |")
    return "\n".join(lines)


def option_name(action: argparse.Action) -> str:
    """The name of an option and its values."""
    choices = " \\| ".join(map(str, action.choices or []))
    if not action.option_strings:
        return f"`{action.metavar or action.dest}` {choices}"
    name = next(option for option in action.option_strings if option.startswith("--"))
    return f"`{name}` {'' if action.nargs == 0 else action.metavar or choices}"


def on_page_content(content: str, **_) -> str:
    """Renders the equations, and removes the markup of types, which docstrings write as `int`, *optional*."""
    content = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda m: mathml(m[1], "inline"), content)
    content = re.sub(
        r"<code>[^<]*`[^<]*</code>", lambda m: m[0].replace("`", "").replace("*optional*", "optional"), content
    )
    return re.sub(
        r'<div class="arithmatex">\\\[(.*?)\\\]</div>', lambda m: mathml(m[1], "block"), content, flags=re.DOTALL
    )


def mathml(latex: str, display: str) -> str:
    """An equation as MathML, which browsers render without scripts."""
    return convert(html.unescape(latex).strip(), display=display)


def on_env(env, files, **_):
    """Turns [`name`] in a docstring into a link to `name`, or into plain `name` if it has no page."""
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
            r"\[<code>~?([\w.]+)</code>\]",
            lambda match, page=page: link(match[1], places, page.file.url),
            page.content,
        )
    return env


def link(name: str, places: dict[str, str], here: str) -> str:
    """The link of one name on the page at `here`."""
    place = places.get(name)
    if place is None:
        return f"<code>{name}</code>"
    return f'<a href="{posixpath.relpath(place, posixpath.dirname(here) or ".")}"><code>{name}</code></a>'
