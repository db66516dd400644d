"""Pretrain VideoMAE on clips without labels: `hdf pretrain`, whose `--help` lists the arguments.

accelerate launch examples/pretrain.py                               # the embedded synthetic faces
accelerate launch examples/pretrain.py --recipe faces --data-dir my_clips --output_dir outputs/pretrained
"""

import sys

from modeling_hdf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["pretrain", *sys.argv[1:]]))
