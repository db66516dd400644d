"""A page of HTML as tests look at it."""

import base64
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

from PIL import Image


class Page(HTMLParser):
    """What a page holds: tags with their attributes, the text of each section, and the rows of its tables."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.open, self.texts, self.rows, self.section = [], [], {}, [], None
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attributes)["id"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.section = None

    def handle_data(self, data):
        self.texts[self.section] = self.texts.get(self.section, "") + data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def pictures(self, section: str) -> list[Image.Image]:
        start = self.source.index(f'<section id="{section}">')
        part = self.source[start : self.source.index("</section>", start)]
        sources = [piece.split('"')[0] for piece in part.split("data:image/png;base64,")[1:]]
        return [Image.open(BytesIO(base64.b64decode(source, validate=True))) for source in sources]
