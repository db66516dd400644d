"""Each person's expressions over time in videos: `hdf predict`, whose `--help` explains the arguments.

python examples/predict.py party.mp4
python examples/predict.py --whole examples/face.mp4
"""

import sys

from modeling_hdf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
