"""`python -m modeling_hdf` is the `hdf` command, so that `accelerate launch -m modeling_hdf train` works."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
