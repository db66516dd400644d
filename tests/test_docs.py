"""The README and the pages of `docs/`: their links, files, commands and code hold."""

import argparse
import ast
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from transformers import pipeline

from modeling_hdf.cli import train
from modeling_hdf.cli.commands import TRAINING_COMMANDS, build_parser
from modeling_hdf.cli.training import whole_parser
from modeling_hdf.data.arguments import has_folds
from modeling_hdf.pretrained import SHIPPED, SMALL_FACES
from modeling_hdf.training.recipes import parse_with_recipe

ROOT = Path(__file__).parents[1]
README, REAL_FACES = ROOT / "README.md", ROOT / "docs" / "real-faces.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
FOLDERS = ("docs", "configuration", "modeling_hdf", "examples", "benchmarks", "hub_cards", "tests", r"\.ci")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
OF_EXTRAS = {"onnxruntime"}  # packages of code on the pages that the quick tests may lack

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text()) if language in languages]


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text()))


# ---- the README ----


def test_the_readme_has_at_most_a_thousand_words():
    assert len(README.read_text().split()) <= 1000


def test_the_readme_reads_on_a_package_index_too():
    assert not re.findall(r"\]\((?!https://)", README.read_text()), "a relative link, which leads nowhere there"


def test_the_readme_holds_the_commands_that_ci_runs():
    for name in ("demo", "test"):
        assert f"<!-- command: {name} -->\n```bash\npython3 -m venv .venv && " in README.read_text()


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "results.md"], ids=lambda page: page.name)
@pytest.mark.parametrize("name", SHIPPED)
def test_the_row_of_a_checkpoint_holds_the_figures_beside_its_weights(page, name):
    metrics = json.loads((Path(SHIPPED[name]) / "metrics.json").read_text())
    (row,) = (line for line in page.read_text().splitlines() if line.startswith(f"| `{name}` |"))
    for key in ("war", "uar"):
        low, high = metrics["intervals"][key]
        assert f"{100 * metrics[key]:.1f} ({100 * low:.1f} to {100 * high:.1f})" in row, key


def cell(value: float, interval: list[float]) -> str:
    low, high = interval
    return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def test_the_figures_of_real_faces_are_those_beside_the_weights():
    metrics = json.loads((Path(SHIPPED["hdf-small-faces"]) / "metrics.json").read_text())
    intervals, lines = metrics["intervals"], REAL_FACES.read_text().splitlines()
    figures = {key.upper(): (metrics[key], intervals[key]) for key in ("war", "uar")}
    figures |= {f"recall of {n}": (value, intervals["recall"][n]) for n, value in metrics["recall"].items()}
    first = lines.index("| 2,800 held-out stills | %, 95 % interval |") + 2
    expected = [f"| {name} | {cell(*figure)} |" for name, figure in figures.items()]
    assert lines[first : first + len(expected) + 1] == [*expected, ""] and metrics["num_clips"] == 2800
    text = " ".join(REAL_FACES.read_text().split())
    low, high = intervals["ece"]
    assert f"calibration error is {100 * metrics['ece']:.1f} % ({100 * low:.1f} to {100 * high:.1f})" in text
    assert f"a temperature of {metrics['calibration_temperature']:.2f}" in text
    spreads = [each["temporal"] for each in metrics["gate_liveness"]["layers"].values()]
    assert f"{100 * min(spreads):.2f} to {100 * max(spreads):.2f} % of their mean" in text
    assert f"{100 * metrics['gate_liveness']['flipped']:.1f} % of the answers change" in text


def test_the_tables_of_real_faces_are_those_of_the_recorded_runs():
    record = json.loads((ROOT / "benchmarks/results/small_faces/robust.json").read_text())
    metrics = json.loads((Path(SHIPPED["hdf-small-faces"]) / "metrics.json").read_text())
    assert record["weights_sha256"] == metrics["weights_sha256"]
    command = [sys.executable, "benchmarks/small_faces/robust.py", "--table"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tables = [part.strip() for part in shown.split("\n\n") if part.startswith("|")]
    assert len(tables) == 2 and all(f"\n\n{table}\n\n" in REAL_FACES.read_text() for table in tables)

    groups = json.loads((ROOT / "benchmarks/results/small_faces/groups.json").read_text())
    assert groups["war"] == pytest.approx(record["rendered"]["shown"]["war"]["value"])
    for name, factor in groups["groups"].items():
        worst = factor["groups"][factor["worst"]]
        row = f"| {name} | {factor['worst']} ({worst['num_clips']} clips) | "
        row += f"{cell(worst['war'], worst['intervals']['war'])} | {100 * groups['war']:.1f} |"
        assert row in REAL_FACES.read_text().splitlines()
    low, high = groups["intervals"]["ece"]
    text = " ".join(REAL_FACES.read_text().split())
    assert f"it is {100 * groups['ece']:.1f} % ({100 * low:.1f} to {100 * high:.1f})" in text


def test_the_spread_of_the_gates_is_that_of_the_checkpoint():
    layers = json.loads((Path(SHIPPED["hdf-tiny-synthetic"]) / "metrics.json").read_text())["gate_liveness"]["layers"]
    text = " ".join((ROOT / "docs" / "evaluate.md").read_text().split())
    for branch, form in (("temporal", ".2g"), ("frequency", ".0f")):
        spreads = [100 * each[branch] for each in layers.values()]
        assert f"by {min(spreads):{form}} to {max(spreads):{form}} %" in text


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "index.md"], ids=lambda page: page.name)
def test_the_first_example_shows_the_answer_that_it_gives(page):
    shown = r'classify\("([^"]+)"\)  # \[\{"label": "(\w+)", "score": ([\d.]+)\}'
    ((clip, label, score),) = re.findall(shown, page.read_text())
    best = pipeline("video-classification", model=SMALL_FACES)(str(ROOT / clip))[0]
    assert best["label"] == label and best["score"] == pytest.approx(float(score), abs=0.01)


# ---- links, files and Python code ----


@pages
def test_relative_links_lead_to_files(page):
    links = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text()))
    paths = [link.partition("#")[0] for link in links if not re.match(r"https?://|#", link)]
    assert [path for path in paths if not (page.parent / path).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "NOTICE"], ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    named = re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./*-]*", page.read_text())
    named += [code for code in inline_code(page) if re.fullmatch(r"[\w-]+\.(md|cff|yml|toml)", code)]
    assert [path for path in named if not any(ROOT.glob(path.rstrip("./")))] == []


@pages
def test_python_code_imports_what_exists(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("modeling_hdf"):
                module = import_module(node.module)
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []
            elif isinstance(node, ast.Import):
                for each in node.names:
                    (pytest.importorskip if each.name in OF_EXTRAS else import_module)(each.name)


def test_the_recipe_for_own_videos_is_a_recipe(tmp_path):
    (recipe,) = (text for text in blocks(ROOT / "docs" / "train.md", "yaml") if "dataset: folder" in text)
    (tmp_path / "own.yaml").write_text(recipe)
    arguments = ["--recipe", str(tmp_path / "own.yaml"), "--use_cpu", "true"]
    _, data, training = parse_with_recipe(train.training_parser(), "train", arguments)
    assert (data.dataset, training.metric_for_best_model) == ("folder", "uar")


@pytest.mark.parametrize("benchmark", ["ablation", "pretraining"])
def test_tables_of_results_are_those_of_the_recorded_runs(benchmark):
    command = [sys.executable, f"benchmarks/{benchmark}.py", "--table"]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(table.splitlines()) > 3 and table in (ROOT / "docs" / "results.md").read_text()


# ---- commands ----


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found[0] if found else {}


def find_parser(words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser of a command line after `hdf`, and the rest of the line."""
    parser = build_parser()
    while words and words[0] in subcommands(parser):
        name, words = words[0], words[1:]
        parser = whole_parser(name) if name in TRAINING_COMMANDS else subcommands(parser)[name]
    return parser, words


def commands(page: Path) -> list[str]:
    """The command lines of `hdf` in the shell blocks of a page, without `hdf` and without comments."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [
        re.split(r"^hdf |-m modeling_hdf ", line)[-1] for line in lines if re.search(r"^hdf |-m modeling_hdf ", line)
    ]


# Types of arguments whose files and folders must exist.
PLACES = ("existing_file", "existing_folder", "model_folder", "model_name")


def lacks_its_fold(given: argparse.Namespace) -> bool:
    """Whether a command that reads one fold of a dataset with folds names none. `hdf data check` takes all of them,
    and `hdf evaluate` every clip."""
    options = vars(given)
    if "fold" not in options or options["fold"] is not None:
        return False
    if options.get("module") == "check" or options.get("split") == "all":
        return False
    recipe = ROOT / "configuration" / "train" / f"{options.get('recipe')}.yaml"
    dataset = yaml.safe_load(recipe.read_text())["dataset"] if recipe.exists() else options["dataset"]
    return any(map(has_folds, dataset.split(",") if dataset else ()))


@pages
def test_commands_of_the_shell_blocks_parse(page, capsys):
    for line in commands(page):
        words = shlex.split(line, comments=True)
        parser, words = find_parser(words[: words.index(">")] if ">" in words else words)
        for action in parser._actions:  # the files and folders of a page need not exist
            if getattr(action.type, "__name__", "") in PLACES:
                action.type = str
        try:
            given = parser.parse_args(words)
        except SystemExit as end:
            assert end.code == 0, f"hdf {line}: {capsys.readouterr().err}"
        else:
            assert not lacks_its_fold(given), f"hdf {line}: names no fold"


@pages
def test_options_in_running_text_exist(page):
    for code in inline_code(page):
        if code.startswith("hdf "):
            parser, words = find_parser(code.split()[1:])
            options = [word for word in words if word.startswith("--")]
            assert [option for option in options if option not in parser._option_string_actions] == [], code


def test_the_page_of_the_command_line_holds_every_command():
    listed = re.findall(r"<!-- options: (.+) -->", (ROOT / "docs" / "command-line.md").read_text())
    there = []
    for name, parser in subcommands(build_parser()).items():
        there += [f"{name} {below}" for below in subcommands(parser)] or [name]
    assert sorted(listed) == sorted(there)


# ---- the built pages ----


built = pytest.mark.xdist_group("documentation")  # one build for both


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The pages as `mkdocs build --strict` builds them: a warning is an error."""
    if not all(map(find_spec, ("mkdocs", "material", "mkdocstrings", "latex2mathml"))):
        pytest.skip('needs the extra `docs`: pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return folder


@built
def test_the_built_pages_load_nothing_from_other_servers(site):
    for page in site.glob("**/*.html"):
        assert re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=.?(?:https?:)?//[^>]*>", page.read_text()) == []
        links = re.findall(r"<link[^>]*>", page.read_text())
        assert [link for link in links if "//" in link and "canonical" not in link] == []


@built
def test_equations_options_and_docstrings_are_rendered(site):
    method = (site / "method.html").read_text()
    assert method.count("<math") > 20 and "arithmatex" not in method
    options = (site / "command-line.html").read_text()
    assert "<!-- options" not in options and "--dsm_ib_weight" in options and "--group-by" in options
    assert 'id="modeling_hdf.training.DSM"' in (site / "api" / "training.html").read_text()
