"""Asks for the page of `hdf demo` until it is served.

    python tests/environments/page.py [URL]

Needs Python alone, so that it also runs inside the container.
"""

import sys
import time
import urllib.request


def wait_for_page(url: str = "http://127.0.0.1:7860", seconds: float = 180) -> None:
    """Returns as soon as the page is there; raises an `OSError` or a `ValueError` if it is not, or is another one."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                page = answer.read().decode()
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(1)
    if "hdf-dfer" not in page:
        raise ValueError(f"{url} is not the page of hdf demo: {page[:500]}")
    print(f"{url} is served")


if __name__ == "__main__":
    wait_for_page(*sys.argv[1:])
