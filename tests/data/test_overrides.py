"""Fields of a builder as a recipe or a command line sets them."""

import dataclasses

import pytest

from modeling_hdf.data import RAVDESSConfig
from modeling_hdf.data.arguments import BUILDERS
from modeling_hdf.data.overrides import _NO_OVERRIDES, check_overrides


@pytest.mark.parametrize("dataset", BUILDERS)
def test_every_field_takes_its_own_default(dataset):
    config = BUILDERS[dataset].BUILDER_CONFIG_CLASS
    fields = [each for each in dataclasses.fields(config) if each.name not in _NO_OVERRIDES]
    assert fields
    check_overrides(config, dataset, {each.name: each.default for each in fields})


def test_a_field_of_choices_takes_each_choice_and_no_other_value():
    for channels, calm in (("both", "drop"), ("song", "neutral"), ("speech", "own")):
        check_overrides(RAVDESSConfig, "ravdess", {"channels": channels, "calm": calm})
    for value in ("none", 1, None, ["own"]):
        with pytest.raises(ValueError, match=r"'calm' of .*; it must be one of drop, neutral, own"):
            check_overrides(RAVDESSConfig, "ravdess", {"calm": value})
