"""The speed of training beside bare steps on a batch in memory, in the same run; a table of docs/speed.md.

The models are those of config.yaml, on drawn images. Both sides take turns, so that a busy machine slows
both.
"""

import os

THREADS = int(os.environ.get("PATCHWORK_THREADS", 1))
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np
import torch
import yaml
from torch.nn.functional import cross_entropy

from patchwork import entries, jobs, shapes, training

ROUNDS = 4
COMPUTE = {"device": "cpu", "dtype": "float32", "channels_last": True}


def started(entry, folder, augmentation):
    """A training that has seen every image once, as all of its epochs but the first."""
    recipes = yaml.safe_load((ROOT / "rules/recipes.yaml").read_text())
    recipe = entries.resolve({"recipe": "embedded"}, recipes) | augmentation
    run = training.Training(entry, folder, "benchmark", recipe, compute=COMPUTE)
    run.run(1)
    return run


def bare_steps(run, images, labels):
    """Seconds of as many steps as an epoch has: forward, backward, optimizer."""
    start = time.perf_counter()
    run.net.train()
    for _ in range(run.steps):
        loss = cross_entropy(run.net(images), labels)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
    return time.perf_counter() - start


def compare(entry, folder, augmentation):
    """Images/s of (bare steps, the training loop)."""
    run = started(entry, folder, augmentation)
    images, labels = next(iter(run.batches))
    images = images.contiguous(memory_format=run.model.layout)
    seconds = []
    for epoch in range(2, 2 + ROUNDS):
        bare = bare_steps(run, images, labels)
        start = time.perf_counter()
        run.run(epoch)
        seconds.append((bare, time.perf_counter() - start))
    seen = ROUNDS * run.steps * run.recipe["batch_images"]
    return seen / np.array(seconds).sum(0)


def main():
    torch.set_num_threads(THREADS)
    jobs.keep_memory()
    models = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    flips = {"augmentation": {"hflip": 0.5, "scale": [0.5, 1.0], "color_jitter": 0}}
    print(f"torch {torch.__version__}, {THREADS} threads, float32\n")
    titles = "model | augmentation | bare steps, images/s | training, images/s | share"
    print(f"| {titles} |\n" + "|---" * 5 + "|")
    with tempfile.TemporaryDirectory() as folder:
        shapes.draw(folder, "benchmark", "natural", 2000, 64)
        for name in ("vit", "cnn"):
            for told, augmentation in [("none", {}), ("crops and flips", flips)]:
                bare, ours = compare(models[name], Path(folder, "images"), augmentation)
                print(f"| {name} | {told} | {bare:.0f} | {ours:.0f} | {ours / bare:.2f} |", flush=True)


if __name__ == "__main__":
    main()
