"""Declarative configuration that ships with the package: model presets, training recipes, launch configurations."""

from pathlib import Path

_FOLDERS = {"model": ".json", "train": ".yaml", "pretrain": ".yaml", "accelerate": ".yaml"}


def configuration_path(kind: str, name: str) -> Path:
    """
    Path of a configuration file.

    Args:
        kind (`str`): `"model"` (presets for `HDFConfig.from_pretrained`), `"train"` or `"pretrain"` (recipes of
            `hdf train` and `hdf pretrain`), or `"accelerate"` (launch configurations, for `--accelerate_config`).
        name (`str`): name of the file without its suffix, such as `"tiny"`; or the path of your own file.

    Raises:
        FileNotFoundError: if no such file exists; the message lists the shipped names.
    """
    folder, ending = Path(__file__).parent / kind, _FOLDERS[kind]
    for path in (folder / f"{name}{ending}", Path(name)):
        if path.is_file():
            return path
    names = sorted(path.stem for path in folder.glob(f"*{ending}"))
    raise FileNotFoundError(f"No {kind} configuration {name!r}: give the path of a {ending} file, or one of {names}.")


__all__ = ["configuration_path"]
