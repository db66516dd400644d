"""The Dockerfile fits the package: extras that exist, a command that `hdf` knows, and the port that it opens."""

import json
import re
import tomllib
from pathlib import Path

from modeling_hdf.cli.commands import build_parser
from modeling_hdf.pretrained import SHIPPED

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_installs_the_wheel_of_this_tree_with_extras_that_exist():
    (built,) = re.findall(r"pip wheel .*--wheel-dir (\S+) \.$", DOCKERFILE, re.MULTILINE)
    (stage, copied) = re.search(r"^COPY --from=(\S+) (\S+) \S+$", DOCKERFILE, re.MULTILINE).groups()
    assert f"AS {stage}\n" in DOCKERFILE and copied == built
    extras = re.search(rf"{built}/\*\.whl\)\[(.*?)\]", DOCKERFILE)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"]) and {"demo", "face"} <= set(extras)
    for version in re.findall(r"^FROM python:(\d+\.\d+)", DOCKERFILE, re.MULTILINE):
        assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


def test_its_command_is_the_page_on_the_open_port_with_a_model_that_ships():
    program, *arguments = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    assert program in PROJECT["scripts"]
    options = build_parser().parse_args(arguments)
    assert (options.command, options.host) == ("demo", "0.0.0.0")  # a container is seen from outside alone
    assert f"EXPOSE {options.port}\n" in DOCKERFILE and options.model in SHIPPED
