"""`hdf demo`: the web page."""

import argparse
import signal
import threading

from ..data.extras import needs_module
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Serves the page until Ctrl-C, or until it is told to end as by `docker stop`."""
    needs_module("gradio", "demo", "The web page")
    from ..demo import serve

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that uploads are deleted then too
    with serve(arguments.model, host=arguments.host, port=arguments.port) as page:
        print(f"open {page.local_url} (Ctrl-C stops it)", flush=True)
        threading.Event().wait()
    return Outcome()
