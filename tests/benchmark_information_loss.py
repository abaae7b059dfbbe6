"""The speed of information loss beside the bare forward passes that it needs, on one thread.

    python tests/benchmark_information_loss.py

Both sides alternate, so that a busy machine slows both.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np
import torch
import yaml

from patchwork import jobs, measuring, models
from patchwork.measures import information_loss

IMAGES, BATCH_IMAGES, SEEDS, ROUNDS = 1000, 32, (0, 1, 2), 3
COMPUTE = {"device": "cpu", "dtype": "float32", "batch_images": BATCH_IMAGES, "channels_last": True}


class Noise:
    """Images that need no file."""

    def __init__(self, images, side):
        self.values = np.random.default_rng(0).integers(0, 256, (images, 3, side, side), np.uint8)
        self.labels, self.paths = np.zeros(images, np.int64), [f"{i}.png" for i in range(images)]

    def read(self, first, last):
        return self.values[first:last]


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def measured(model, data):
    settings = information_loss.SETTINGS
    information_loss.measure(measuring.Subject(model, data, "noise", COMPUTE, settings, SEEDS))


@torch.inference_mode()
def bare(model, data):
    """As many passes over as many images, without anything else."""
    batches = torch.from_numpy(data.values).float().div_(255).split(BATCH_IMAGES)
    for _ in range(1 + len(information_loss.LEVELS) * len(SEEDS)):
        for batch in batches:
            model(batch)


def summed(width, images):
    """The sums alone, for features of this width."""
    x, y = torch.rand(images, width).double(), torch.rand(9, images, width).double()
    sums = information_loss.Sums(x, y)
    for first in range(0, images, BATCH_IMAGES):
        sums.add(x[first : first + BATCH_IMAGES], y[:, first : first + BATCH_IMAGES])
    sums.found()


def main():
    torch.set_num_threads(1)
    jobs.keep_memory()
    entries = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    data = Noise(IMAGES, 64)
    print(f"{IMAGES:,} images of 64 px, {len(information_loss.LEVELS)} levels, {len(SEEDS)} seeds\n")
    print("| model | bare passes, s | information loss, s | share |\n|---|---|---|---|")
    for name in ("vit", "cnn"):
        net = models.create(entries[name], 10).eval()
        model = models.place(models.Model(net, (64, 64)), COMPUTE)
        model.origin = {"timm": entries[name]["timm"]}
        bare(model, Noise(BATCH_IMAGES, 64))
        pairs = [(seconds(bare, model, data), seconds(measured, model, data)) for _ in range(ROUNDS)]
        passes, whole = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"| {name} | {passes:.1f} | {whole:.1f} | {passes / whole:.2f} |", flush=True)
    for width in (384, 2048):
        taken = seconds(summed, width, 8 * BATCH_IMAGES) / (8 * BATCH_IMAGES)
        print(
            f"\nThe sums of {width} dimensions, nine cells: {1000 * taken:.1f} ms for each image", flush=True
        )


if __name__ == "__main__":
    main()
