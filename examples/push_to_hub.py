"""Publish a trained model on the Hub, with its processor, code, metrics, pictures and model card.

    python examples/push_to_hub.py outputs/dfew owner/hdf-dfew --dry-run look_at_me
    python examples/push_to_hub.py outputs/dfew owner/hdf-dfew --private --revision fold1

The same as `hdf push`.
"""

import sys

from modeling_hdf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["push", *sys.argv[1:]]))
