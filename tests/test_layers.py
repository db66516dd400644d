"""The order of the layers, read from the imports of every module, those within functions and for type checkers too."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "modeling_hdf"
# Nothing imports from its right. `hub_files` are the modules that travel to the Hub, flat in the package.
LAYERS = (
    *("configuration", "hub_files", "pretrained", "data", "faces", "conversion", "training", "inference"),
    *("evaluation", "reports", "hub_cards", "hub", "demo", "cli", "__main__"),
)
COPIED = ("evaluation", "dfer", "dfer")  # by the library `evaluate`
# Folders of the repository that are mapped into the package.
MAPPED = ("configuration", "hub_cards")


@dataclass(frozen=True)
class Import:
    """An import of one module by another; both by their parts below the package, () for the package itself."""

    module: tuple[str, ...]
    target: tuple[str, ...]
    line: int
    is_at_start: bool  # run when the module is imported, and not by a function or a type checker alone

    def __str__(self) -> str:
        return f"{'.'.join(self.module)}, line {self.line}, imports {'.'.join(self.target) or 'the package'}"


def modules() -> dict[tuple[str, ...], Path]:
    """Every module of the package, by its parts."""
    found = {path.relative_to(PACKAGE): path for path in PACKAGE.rglob("*.py")}
    found |= {Path(name) / path.name: path for name in MAPPED for path in (ROOT / name).glob("*.py")}
    return {
        (name.parts[:-1] if name.name == "__init__.py" else name.with_suffix("").parts): path
        for name, path in found.items()
    }


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(module: tuple[str, ...], source: str, is_package: bool, known: set[tuple[str, ...]]) -> list[Import]:
    """
    The imports of modules of the package; raises an `AssertionError` for an absolute one, but in the file that is
    copied out of the package and run there.
    """
    found, absolute = [], []

    def visit(node: ast.AST, is_at_start: bool) -> None:
        if isinstance(node, ast.Import):
            absolute.extend(name.name for name in node.names if name.name.split(".")[0] == "modeling_hdf")
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] == "modeling_hdf":
            absolute.append(node.module)
            found.append(Import(module, tuple(node.module.split(".")[1:]), node.lineno, is_at_start))
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            here = module if is_package else module[:-1]
            base = here[: len(here) - node.level + 1] + tuple(node.module.split(".") if node.module else ())
            for name in node.names:
                target = (*base, name.name) if (*base, name.name) in known else base
                found.append(Import(module, target, node.lineno, is_at_start))
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_for_type_checkers(node)
        for child in ast.iter_child_nodes(node):
            visit(child, is_at_start and not deferred)

    visit(ast.parse(source), True)
    assert not absolute or module == COPIED, (module, absolute)
    return found


def all_imports() -> list[Import]:
    known = modules()
    return [
        each
        for module, path in known.items()
        for each in imports_of(module, path.read_text(encoding="utf-8"), path.name == "__init__.py", set(known))
    ]


def layer(module: tuple[str, ...]) -> int:
    return LAYERS.index("hub_files" if module[0].endswith("_hdf") else module[0])


def to_the_right(imports: list[Import]) -> list[str]:
    """Imports from a layer on the right. The package itself hands out names of all layers, and is for the command."""
    wrong = []
    for each in imports:
        if not each.module:
            continue
        if not each.target:
            is_wrong = each.module[0] not in ("cli", "__main__")
        else:
            is_wrong = layer(each.target) > layer(each.module)
        wrong += [str(each)] if is_wrong else []
    return wrong


def cycle(imports: list[Import]) -> list[tuple[str, ...]]:
    """The modules of a cycle of imports at the start of modules; empty if there is none."""
    targets: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for each in imports:
        if each.is_at_start and each.target != each.module:
            targets.setdefault(each.module, set()).add(each.target)
    finished: set[tuple[str, ...]] = set()

    def walk(module: tuple[str, ...], path: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        if module in path:
            return path[path.index(module) :]
        if module in finished:
            return []
        for target in sorted(targets.get(module, ())):
            found = walk(target, [*path, module])
            if found:
                return found
        finished.add(module)
        return []

    return next((found for module in sorted(targets) if (found := walk(module, []))), [])


def test_nothing_imports_from_its_right():
    imports = all_imports()
    assert len(imports) > 200 and to_the_right(imports) == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(all_imports()) == []


def test_every_folder_is_a_layer_and_the_package_itself_holds_what_travels():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders | set(MAPPED) | {"hub_files", "__main__"} == set(LAYERS)
    flat = {path.stem for path in PACKAGE.glob("*.py")}
    assert {name for name in flat if not name.endswith("_hdf")} == {"__init__", "__main__"}


def test_training_is_left_of_evaluation_and_evaluation_of_the_hub():
    order = ["training", "evaluation", "reports", "hub", "cli"]
    assert sorted(order, key=LAYERS.index) == order


# ---- The reader of the imports itself ----

KNOWN = {(), ("data",), ("data", "files"), ("hub",), ("hub", "client"), ("training",), ("cli",), ("model_hdf",)}


@pytest.mark.parametrize(
    "source, targets",
    [
        ("from .files import write_text", [("data", "files")]),
        ("from . import files", [("data", "files")]),
        ("from ..hub.client import push", [("hub", "client")]),
        ("from ..hub import client, other", [("hub", "client"), ("hub",)]),
        ("from .. import name", [()]),
        ("def f():\n    from ..hub import client", [("hub", "client")]),
        ("if TYPE_CHECKING:\n    from ..hub import client", [("hub", "client")]),
        ("import json\nfrom json import loads", []),
    ],
)
def test_every_kind_of_import_is_read(source, targets):
    found = imports_of(("data", "clips"), source, False, KNOWN)
    assert [each.target for each in found] == targets
    assert all(each.is_at_start == (source.startswith("from")) for each in found)


def test_a_package_imports_from_itself_with_one_dot():
    (found,) = imports_of(("data",), "from .files import x", True, KNOWN)
    assert found.target == ("data", "files")


@pytest.mark.parametrize("source", ["import modeling_hdf", "import modeling_hdf.data", "from modeling_hdf import x"])
def test_absolute_imports_are_found(source):
    with pytest.raises(AssertionError):
        imports_of(("data", "clips"), f"def f():\n    {source}", False, KNOWN)


def test_imports_to_the_right_and_circles_are_found():
    right = imports_of(("data", "clips"), "def f():\n    from ..hub import client", False, KNOWN)
    assert to_the_right(right) == ["data.clips, line 2, imports hub.client"]
    assert to_the_right(imports_of(("hub", "client"), "from ..data import files", False, KNOWN)) == []
    assert len(to_the_right(imports_of(("data", "clips"), "from .. import name", False, KNOWN))) == 1
    circle = imports_of(("hub", "client"), "from ..data import files", False, KNOWN)
    circle += imports_of(("data", "files"), "from ..hub import client", False, KNOWN)
    assert set(cycle(circle)) == {("hub", "client"), ("data", "files")}
    deferred = imports_of(("data", "files"), "def f():\n    from ..hub import client", False, KNOWN)
    assert cycle(circle[:1] + deferred) == []
