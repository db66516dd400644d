"""Packages that only one use needs. The package's extras install them, and modules import them within functions."""

from importlib.util import find_spec


def needs_module(module: str, extra: str | None, use: str) -> None:
    """Checks for a module of an optional package, without importing it.

    Args:
        module (`str`): name of the module, such as `"openpyxl"`.
        extra (`str` or `None`): the extra of this package that installs it; `None` if the module alone is enough.
        use (`str`): what needs it, as the start of a message.

    Raises:
        ModuleNotFoundError: if the module is not installed; the message says what to install.
    """
    if find_spec(module) is None:
        package = module if extra is None else f'"hdf-dfer[{extra}]"'
        raise ModuleNotFoundError(f"{use} needs {module}: pip install {package}.", name=module)


__all__ = ["needs_module"]
