"""`hdf data faces`: cut the faces out of a folder of videos, frame folders and images."""

import argparse
import gc
import sys
from dataclasses import fields

from ..faces.folder_run import INTERRUPTED, crop_folder
from ..faces.settings import CropSettings
from .outcome import Outcome


def run(arguments: argparse.Namespace) -> Outcome:
    """Crops and prints a summary; the exit code is 0 if every clip was cropped, 130 after Ctrl-C."""
    settings = CropSettings(**{each.name: getattr(arguments, each.name) for each in fields(CropSettings)})
    summary = crop_folder(
        arguments.source,
        arguments.target,
        settings,
        workers=arguments.workers,
        single_images=arguments.single_images,
        only=arguments.only,
        overwrite=arguments.overwrite,
        progress=not arguments.quiet,
    )
    print(summary)
    if summary.stopped:
        print(
            f"hdf data faces: stopped: {summary.stopped}. The {len(summary.of('ok'))} clips that are done are kept; "
            "run the same command again to go on.",
            file=sys.stderr,
        )
    value = {
        "records": summary.records,
        "unreadable": summary.inventory.unreadable,
        "journal": summary.journal_problems,
        "stopped": summary.stopped,
    }
    if summary.stopped == INTERRUPTED:
        gc.freeze()  # without it, Python's last garbage collection takes seconds for torch's objects
        return Outcome(value, code=130)
    return Outcome(value, code=0 if summary.is_complete else 1)
