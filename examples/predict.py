"""Classify videos with a trained model: `hdf predict`, whose `--help` explains the arguments.

python examples/predict.py hdf-tiny-synthetic examples/face.mp4
"""

import sys

from modeling_hdf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
