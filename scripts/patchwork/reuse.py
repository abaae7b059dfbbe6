"""What another run has made in the same way is copied from its folder instead of made again.

Whether it has is told by what Snakemake keeps of each file that a run has made: the parameters of its job.
These hold digests of all that decides the file: code, settings, images, and whatever it was made from.
"""

import json
import logging
import os
import shutil
from base64 import urlsafe_b64encode
from contextlib import ExitStack
from pathlib import Path

from patchwork import files

LONGEST_NAME = 254  # of a file; what goes beyond is told by folders


def take(folder, outputs, params):
    """Copy the outputs of a job from the folder of another run, if that has made all of them in the same way;
    whether it has. What belongs to the other run is only read.

    outputs: paths from the folder of each run. params: the values of the job's parameters.
    Raises ValueError if the other run has begun to make them anew meanwhile.
    """
    if not all(is_alike(folder, output, params) for output in outputs):
        return False
    with ExitStack() as wholes:
        for output in outputs:
            copy(Path(folder, output), wholes.enter_context(files.whole(output)))
        if not all(is_alike(folder, output, params) for output in outputs):
            raise ValueError(f"{folder} has changed {outputs[0]} while it was copied: run again")
    logging.info("taken from %s, which has made it in the same way", folder)
    return True


def is_alike(folder, output, params):
    """Whether a run has finished an output with these parameters, from the same folders of images: digests
    hold the names in these, not what is in the files."""
    made = record(folder, "metadata", output)
    return (
        made.get("params") == sorted(map(repr, params))
        and not record(folder, "incomplete", output)
        and os.path.exists(Path(folder, output))
        and all(
            os.path.realpath(place) == os.path.realpath(Path(folder, place))
            for place in made["input"]
            if os.path.isdir(Path(folder, place)) and not record(folder, "metadata", place)
        )
    )


def record(folder, kind, path):
    """What Snakemake keeps of a file in the folder of a run; {} if nothing."""
    name = urlsafe_b64encode(str(path).encode()).decode()
    pieces = [name[first : first + LONGEST_NAME] for first in range(0, len(name), LONGEST_NAME)]
    kept = Path(folder, ".snakemake", kind, *(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    return json.loads(kept.read_text()) if kept.is_file() else {}


def copy(source, target):
    """Copy a file or a folder; a link to an image leads to the same image from anywhere."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=copy_file)
    else:
        copy_file(source, target)


def copy_file(source, target):
    if os.path.islink(source):
        os.symlink(os.path.realpath(source), target)
    else:
        shutil.copyfile(source, target)
