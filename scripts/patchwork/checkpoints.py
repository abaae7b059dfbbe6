"""Checkpoints of trainings: written whole, read without running code, refused if they are of another
training."""

import time
from pathlib import Path

import torch

from patchwork import files

SAVE_SECONDS = 300  # what a training that is killed loses at most


def save(path, checkpoint):
    """Write a checkpoint; if that fails, as on a full disk, the file that was there stays."""
    with files.whole(path) as temporary:
        torch.save(checkpoint, temporary)


def load(path, origin=None):
    """A checkpoint, on the CPU; no code in the file is run.

    origin: what decides the training. Raises ValueError naming the file if it is damaged or of another
    origin.
    """
    with files.reading(path):
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if origin is not None and checkpoint["origin"] != origin:
        raise ValueError(
            f"{path} is a checkpoint of a training with other settings, data or code (digest "
            f"{checkpoint['origin']}, not {origin}): delete it, and the training starts over"
        )
    return checkpoint


class Keeper:
    """Keeps a training's newest checkpoint in a file, every SAVE_SECONDS, until its stage is done."""

    def __init__(self, path):
        self.path, self.saved = Path(path), time.monotonic()

    def found(self, origin):
        """The checkpoint that a job which was killed has left, or None."""
        return load(self.path, origin) if self.path.exists() else None

    def offer(self, checkpoint):
        """Save what the function `checkpoint` returns, if it is time."""
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            save(self.path, checkpoint())
            self.saved = time.monotonic()

    def done(self):
        self.path.unlink(missing_ok=True)
