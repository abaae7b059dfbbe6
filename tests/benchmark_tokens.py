"""The speed of extraction beside the bare forward passes, on one thread.

    python tests/benchmark_tokens.py

Both sides alternate, so that a busy machine slows both.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np
import torch
import yaml

from patchwork import jobs, measuring, models, tokens

BATCH_IMAGES, ROUNDS = 32, 7
COMPUTE = {"device": "cpu", "dtype": "float32", "batch_images": BATCH_IMAGES, "channels_last": True}
DEIT = {"timm": "deit_small_patch16_224"}


class Noise:
    """Images that need no file."""

    def __init__(self, images, side):
        self.values = np.random.default_rng(0).integers(0, 256, (images, 3, side, side), np.uint8)
        self.paths = [f"{i}.png" for i in range(images)]

    def read(self, first, last):
        return self.values[first:last]


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def extracted(model, data, path):
    tokens.extract(measuring.Subject(model, data, "noise", COMPUTE, {}, ()), path)


@torch.inference_mode()
def bare(model, data):
    """A pass over as many images, read in the same way, without anything else."""
    for images in torch.from_numpy(data.values).split(BATCH_IMAGES):
        model(images.float().div_(255))


def main():
    torch.set_num_threads(1)
    jobs.keep_memory()
    entries = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    print("| model | images | bare pass, images/s | extraction, images/s | share |\n|---|---|---|---|---|")
    for name, entry, images in [
        ("vit", entries["vit"], 1000),
        ("cnn", entries["cnn"], 1000),
        ("DeiT-S", DEIT, 64),
    ]:
        net = models.create(entry, 10).eval()
        model = models.place(models.Model(net, entry.get("size") and (entry["size"],) * 2), COMPUTE)
        model.origin, data = {"timm": entry["timm"]}, Noise(images, model.size[0])
        with TemporaryDirectory() as folder:
            path = Path(folder, "tokens.npy")
            bare(model, data)
            extracted(model, data, path)
            pairs = [
                (seconds(bare, model, data), seconds(extracted, model, data, path)) for _ in range(ROUNDS)
            ]
        passes, whole = (images / statistics.median(side) for side in zip(*pairs, strict=True))
        share = statistics.median(one / other for one, other in pairs)
        print(f"| {name} | {images:,} | {passes:,.0f} | {whole:,.0f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
