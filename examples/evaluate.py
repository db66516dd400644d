"""Measure a trained model; the same as `hdf evaluate`, whose `--help` explains the arguments.

python examples/evaluate.py outputs/synthetic --dataset synthetic --output outputs/synthetic/evaluation
python examples/evaluate.py outputs/dfew --dataset mafw --data-dir MAFW --fold 1  # across datasets, by label name
python examples/evaluate.py outputs/ferv39k --dataset ferv39k --data-dir FERV39k --group-by scene
"""

import sys

from modeling_hdf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
