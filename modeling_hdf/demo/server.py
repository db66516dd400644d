"""Serves the page on this machine alone, unless told otherwise, and without any other server."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from ..inference import VideoAnalyzer
from .examples import write_examples
from .limits import DEMO_LIMITS, DemoLimits, applied
from .page import STYLE, build_page
from .uploads import Guard, Uploads, nothing_fetched


@contextmanager
def serve(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limits: DemoLimits = DEMO_LIMITS,
) -> Iterator[gr.Blocks]:
    """
    Serves the page until the block ends, from a thread of its own. Uploads lie in a folder that ends with the block.

    Args:
        model (`str`): see [`load_classifier`].
        host (`str`, *optional*, defaults to `"127.0.0.1"`): this machine alone; `"0.0.0.0"` for the network.
        port (`int`, *optional*, defaults to 7860): 0 takes a free one.
        limits ([`DemoLimits`], *optional*): what a visitor may send.

    Gives:
        `gr.Blocks`: the running page, with its `local_url`.

    Raises:
        OSError: if the port is taken.
    """
    analyzer = VideoAnalyzer(model)
    with applied(limits), nothing_fetched(), tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "uploads")
        uploads = Uploads(Path(cache), limits)
        os.environ |= {"GRADIO_TEMP_DIR": cache, "GRADIO_ANALYTICS_ENABLED": "False"}
        page = build_page(analyzer, model, limits, write_examples(Path(folder)), uploads)
        page.GRADIO_CACHE = cache
        try:
            page.launch(
                server_name=host,
                server_port=port or None,
                max_file_size=uploads.most_bytes,
                app_kwargs={"middleware": [Middleware(Guard, uploads=uploads)]},
                css=STYLE,
                share=False,
                ssr_mode=False,
                enable_monitoring=False,
                prevent_thread_lock=True,
                quiet=True,
            )
            yield page
        finally:
            page.close()


__all__ = ["serve"]
