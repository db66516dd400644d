"""The web page: [`build_page`] makes it, [`serve`] shows it, and a Hugging Face Space runs the same."""

from .page import build_page
from .server import serve

__all__ = ["build_page", "serve"]
