"""The packages: those under `modeling_hdf`, and two folders beside it that are installed inside it. All else stands in
pyproject.toml, whose `packages.find` cannot name folders from elsewhere."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["modeling_hdf*"]), "modeling_hdf.configuration", "modeling_hdf.hub_cards"],
    package_dir={"modeling_hdf.configuration": "configuration", "modeling_hdf.hub_cards": "hub_cards"},
)
