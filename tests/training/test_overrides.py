"""What our trainers and callbacks override of transformers.

A method that transformers renames, or calls in another way, would be overridden no more, and what ours does would be
switched off in silence. The lists below are compared with what inspection finds.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from inspect import Parameter

import pytest
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from modeling_hdf import hub, training
from modeling_hdf.hub.trainer import HDFTrainer
from modeling_hdf.training.callbacks import DivergenceCheck, DSMStateCallback, EarlyStopping, EpochCallback
from modeling_hdf.training.checkpointing import CheckpointFiles
from modeling_hdf.training.pretraining import PretrainingTrainer
from modeling_hdf.training.resumable import ResumableTrainer
from modeling_hdf.training.trainer import DSMTrainer

OVERRIDES = {
    (ResumableTrainer, Trainer): {
        "_finalize_training",
        "_init_training_state",
        "_load_best_model",
        "_load_callback_state",
        "_run_epoch",
        "_save_checkpoint",
        "_save_rng_state",
        "evaluation_loop",
        "get_train_dataloader",
        "save_state",
        "train",
    },
    (DSMTrainer, Trainer): {
        "_get_grad_norm",
        "_get_train_sampler",
        "_init_training_state",
        "_load_callback_state",
        "_run_epoch",
        "compute_loss",
        "create_optimizer",
        "evaluation_loop",
        "get_batch_samples",
        "get_decay_parameter_names",
        "log",
        "training_step",
    },
    (HDFTrainer, Trainer): {"_push_from_checkpoint", "create_model_card", "init_hf_repo", "push_to_hub"},
    (PretrainingTrainer, Trainer): {"_load_from_checkpoint"},
    (DivergenceCheck, TrainerCallback): {"on_epoch_end", "on_step_end"},
    (EpochCallback, TrainerCallback): {"on_epoch_begin"},
    (DSMStateCallback, ExportableState): {"state"},
    (CheckpointFiles, ExportableState): {"state"},
    (EarlyStopping, EarlyStoppingCallback): {"on_train_begin"},
}
# Users call these, and transformers with what ours does take: what the card would be told is read from the files.
TAKE_LESS = {"create_model_card": "no parameter language", "push_to_hub": "**kwargs is not taken"}

PAIRS = [pytest.param(*pair, id="-".join(part.__name__ for part in pair)) for pair in OVERRIDES]
METHODS = [
    pytest.param(ours, theirs, name, id=f"{ours.__name__}.{name}")
    for (ours, theirs), names in OVERRIDES.items()
    for name in sorted(names)
]


def overridden(ours: type, theirs: type) -> set[str]:
    """Names of the methods and attributes that both have; how an object is made is its class's own affair."""
    return {name for name in vars(ours) if hasattr(theirs, name) and not name.startswith("__")} - {"_abc_impl"}


def why_not_callable_as(ours: Callable, theirs: Callable) -> str | None:
    """What call of `theirs` the function `ours` does not take, if there is one."""
    own = list(inspect.signature(ours).parameters.values())
    kinds = {parameter.kind for parameter in own}
    named = {parameter.name: (place, parameter) for place, parameter in enumerate(own)}
    expected = inspect.signature(theirs).parameters
    for place, (name, parameter) in enumerate(expected.items()):
        if parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            if parameter.kind not in kinds:
                return f"{parameter} is not taken"
            continue
        if name not in named or named[name][1].kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            if Parameter.VAR_KEYWORD not in kinds:
                return f"no parameter {name}"
            if parameter.kind != Parameter.KEYWORD_ONLY and Parameter.VAR_POSITIONAL not in kinds:
                return f"{name} is not taken by position"
            continue
        own_place, own_parameter = named[name]
        if parameter.kind != Parameter.KEYWORD_ONLY and own_place != place:
            return f"{name} stands in another place"
        if parameter.kind != Parameter.KEYWORD_ONLY and own_parameter.kind == Parameter.KEYWORD_ONLY:
            return f"{name} is not taken by position"
        if parameter.default is not Parameter.empty and own_parameter.default != parameter.default:
            return f"{name} has another default"
    plain = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    for parameter in own:
        if parameter.name not in expected and parameter.kind in plain and parameter.default is Parameter.empty:
            return f"{parameter.name} is wanted"
    return None


def subclasses(base: type) -> set[type]:
    """All classes of this package below `base`."""
    below = {cls for child in base.__subclasses__() for cls in {child} | subclasses(child)}
    return {cls for cls in below if cls.__module__.startswith("modeling_hdf.")}


def test_every_trainer_and_callback_is_listed():
    for package in (training, hub):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    assert subclasses(Trainer) | subclasses(TrainerCallback) == {ours for ours, _ in OVERRIDES}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_the_overridden_methods_are_those_listed(ours, theirs):
    assert overridden(ours, theirs) == OVERRIDES[ours, theirs]


@pytest.mark.parametrize(("ours", "theirs", "name"), METHODS)
def test_ours_takes_what_theirs_is_called_with(ours, theirs, name):
    assert why_not_callable_as(getattr(ours, name), getattr(theirs, name)) == TAKE_LESS.get(name)


def test_a_renamed_method_is_noticed(monkeypatch):
    monkeypatch.setattr(Trainer, "_run_one_epoch", Trainer._run_epoch, raising=False)
    monkeypatch.delattr(Trainer, "_run_epoch")
    assert OVERRIDES[DSMTrainer, Trainer] - overridden(DSMTrainer, Trainer) == {"_run_epoch"}


@pytest.mark.parametrize(
    ("ours", "problem"),
    [
        (lambda a, b=1, *, c=None: 0, None),
        (lambda a, b=1, *, c=None, more=0: 0, None),
        (lambda a, *args, **kwargs: 0, None),
        (lambda *args, **kwargs: 0, None),
        (lambda a, b=1, **kwargs: 0, None),
        (lambda a, b=1: 0, "no parameter c"),
        (lambda b, a=1, *, c=None: 0, "a stands in another place"),
        (lambda renamed, b=1, *, c=None: 0, "no parameter a"),
        (lambda a, b=2, *, c=None: 0, "b has another default"),
        (lambda a, *, b=1, c=None: 0, "b is not taken by position"),
        (lambda a, b=1, *, c=None, more: 0, "more is wanted"),
        (lambda **kwargs: 0, "a is not taken by position"),
    ],
)
def test_signatures_are_compared_as_python_calls_them(ours, problem):
    assert why_not_callable_as(ours, lambda a, b=1, *, c=None: 0) == problem
