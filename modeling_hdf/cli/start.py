"""What each command does before its own module is imported."""

from .. import register_auto_classes


def prepare_transformers() -> None:
    """
    Registers HDF with transformers, and hides the bars of transformers for reading and writing weights, which last a
    moment. The bars of downloads and of training are others, and stay.
    """
    register_auto_classes()

    from transformers.utils.logging import set_tqdm_hook  # after HDF, which refuses a transformers that is too old

    set_tqdm_hook(lambda bar, arguments, options: bar(*arguments, **options | {"disable": True}))


__all__ = ["prepare_transformers"]
