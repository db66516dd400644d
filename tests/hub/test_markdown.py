"""Free text in the cards is shown as it is: read by a parser of Markdown, it is neither markup nor a link."""

import datasets
import pytest
from huggingface_hub import DatasetCard, ModelCard
from markdown_it import MarkdownIt

from modeling_hdf import HDFConfig
from modeling_hdf.evaluation.results import Results
from modeling_hdf.hub import datasets as publishing
from modeling_hdf.hub.cards import model_card
from modeling_hdf.hub.markdown import code_block, code_span, plain_text

HOSTILE = [
    "</td><script>alert(1)</script>",
    "[x](http://evil.example)",
    "![x](http://evil.example/a.png)",
    "| a | b |",
    "<http://evil.example>",
    "[x]: http://evil.example",
    "`code` **bold** __bold__ ~~gone~~ *a*",
    "back\\slash \\| \\[x](y) \\",
    "&lt;b&gt; &amp; &#124;",
    "<!-- hidden",
    "# heading",
    "- list",
    "1. list",
    "=1+1",
    "---",
    "```",
    "``` python",
    "$x$ ||",
    "a\n\n# b\n---\n| c |",
    "\"quoted\": 'text', #no comment",
    "{{ labels }} {% raw %}",
    "plain",
]
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def tokens_of(text: str) -> list:
    """All tokens, those within lines too."""
    return [each for token in PARSER.parse(text) for each in (token, *(token.children or []))]


def kinds(text: str) -> set[str]:
    return {token.type for token in tokens_of(text)}


def shown(text: str) -> str:
    """What a line of Markdown shows."""
    assert kinds(text) <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}, kinds(text)
    return "".join(token.content for token in tokens_of(text) if token.type in ("text", "text_special"))


def rows_of(text: str) -> list[list[str]]:
    """The cells of all tables, as they are shown."""
    rows, cells = [], []
    for token in PARSER.parse(text):
        if token.type in ("th_open", "td_open"):
            cells.append("")
        elif token.type == "inline" and cells:
            cells[-1] = "".join(each.content for each in token.children)
        elif token.type == "tr_close":
            rows.append(cells)
            cells = []
    return rows


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_shown_as_it_is_in_a_line_and_in_a_table(text):
    assert shown(plain_text(text)) == one_line(text)
    table = f"| class | n |\n|---|---|\n| {plain_text(text)} | 1 |\n| b | 2 |"
    assert rows_of(table) == [["class", "n"], [one_line(text), "1"], ["b", "2"]]


@pytest.mark.parametrize("text", HOSTILE)
def test_code_stays_code(text):
    (span,) = [token for token in tokens_of(code_span(text)) if token.type == "code_inline"]
    assert span.content == one_line(text)
    (block,) = tokens_of(code_block(text, "bash"))
    assert block.type == "fence" and block.content == text + "\n" and block.info == "bash"


def test_common_names_and_bare_addresses():
    for text in ("happiness", "hdf-dfew fold 1, test split, 2 views", "anger / contempt (strong)", "O'Brien"):
        assert plain_text(text) == text
    assert "http://" not in plain_text("see http://evil.example") and "www." not in plain_text("www.evil.example")


def links(text: str) -> set[str]:
    return {token.attrs["href"] for token in tokens_of(text) if token.type == "link_open"}


def test_a_model_card_with_hostile_names_is_the_card_that_it_would_be():
    def card(names: list[str], dataset: str, command: str) -> ModelCard:
        config = HDFConfig(num_frames=8, id2label=dict(enumerate(names)))
        recall = dict.fromkeys(names, 0.5)
        results = Results(
            base_model=None if dataset == "mine" else "local:`x` </b>",
            dataset=dataset,
            fold=None,
            split="test",
            peer_protocol=False,
            temporal_sampling="uniform",
            num_views=1,
            num_clips=5,
            war=0.5,
            uar=0.5,
            recall=recall,
            seed=1,
            command=command,
        )
        return ModelCard(str(model_card(config, results, "org/name", 'a"b')))

    usual = card([f"class {index}" for index in range(len(HOSTILE))], "mine", "train.py")
    for dataset in HOSTILE:
        changed = card(HOSTILE, dataset, "train.py 'a\n```\n# b'")
        assert links(changed.text) == links(usual.text) and "html_inline" not in kinds(changed.text)
        assert kinds(changed.text) <= kinds(usual.text) | {"code_inline", "text_special"}
        rows = rows_of(changed.text)
        assert [len(row) for row in rows] == [len(row) for row in rows_of(usual.text)]
        assert [row[0] for row in rows[-len(HOSTILE) :]] == list(map(one_line, HOSTILE))
        headings = [token.type for token in PARSER.parse(changed.text) if token.type == "heading_open"]
        assert headings == [token.type for token in PARSER.parse(usual.text) if token.type == "heading_open"]
        assert changed.data.eval_results[0].dataset_type == dataset
        assert changed.data.model_name == usual.data.model_name and changed.data.license == "other"


@pytest.mark.parametrize("text", [*HOSTILE, "a: b", "---\nlicense: mit\n---"])
def test_a_dataset_card_with_hostile_text_says_what_was_given(tmp_path, text):
    features = {
        "clip": datasets.Value("null"),
        "label": datasets.ClassLabel(names=["a", *(name for name in HOSTILE if "\n" not in name)]),
        "clip_id": datasets.Value("string"),
    }
    rows = datasets.Dataset.from_dict({"clip": [], "label": [], "clip_id": []}, features=datasets.Features(features))
    fields = {"name": text, "license": "other", "description": f"Of {text}", "synthetic": False}
    publishing._write_card({"train": rows}, tmp_path, repository=None, **fields)
    card = DatasetCard.load(tmp_path / "README.md")
    assert card.data.pretty_name == text and card.data.license == "other"
    assert not links(card.text) and not kinds(card.text) & {"html_inline", "html_block", "image", "hr"}
    (title,) = [
        token.children
        for before, token in zip(PARSER.parse(card.text), PARSER.parse(card.text)[1:], strict=False)
        if before.type == "heading_open" and before.tag == "h1"
    ]
    assert "".join(each.content for each in title) == one_line(text)
    texts = "".join(token.content for token in tokens_of(card.text) if token.type in ("text", "text_special"))
    assert f"Of {one_line(text)}" in texts
    assert [row[0] for row in rows_of(card.text)] == ["class", *features["label"].names, "total"]


def test_a_repository_of_another_form_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="is no repository of the Hub"):
        publishing.publish_dataset({}, tmp_path / "out", name="x", license="mit", repo_id='a") or b', dry_run=True)
    assert list(tmp_path.iterdir()) == []
