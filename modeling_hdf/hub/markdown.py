"""Free text within Markdown: escapes names and descriptions, so that they cannot act as markup or links."""

import re

_MARKUP = re.compile(r"[\\`*_\[\]|~$@]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain_text(text: str) -> str:
    """
    Escapes text for one line of Markdown, also within a table. Bare addresses do not become links.

    Example:

    ```python
    >>> plain_text("[x](http://a.org) | <b>")
    '\\\\[x\\\\](http\\\\://a.org) \\\\| &lt;b&gt;'
    ```
    """
    text = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], " ".join(str(text).split()))
    text = _MARKUP.sub(lambda found: "\\" + found[0], text)
    text = re.sub(r":(?=//)", r"\\:", text)
    text = re.sub(r"\b(www)\.", r"\1\\.", text, flags=re.IGNORECASE)
    return re.sub(r"^(?=[-+#=])|^(?P<number>\d+)(?=[.)])", r"\g<number>\\", text)  # a heading, a list, a line


def code_span(text: str) -> str:
    """Text as inline code, between more ticks than occur in the text."""
    text = " ".join(str(text).split())
    ticks = _more_ticks(text, least=1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def code_block(text: str, language: str) -> str:
    """Text as a code block, between more ticks than occur in the text."""
    ticks = _more_ticks(text, least=3)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _more_ticks(text: str, least: int) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)


__all__ = ["code_block", "code_span", "plain_text"]
