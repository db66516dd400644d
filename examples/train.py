"""Train HDF by a recipe: `hdf train`, whose `--help` lists the arguments.

accelerate launch examples/train.py                                # the embedded synthetic faces
accelerate launch examples/train.py --recipe dfew --data-dir DFEW --fold 1
"""

import sys

from modeling_hdf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
