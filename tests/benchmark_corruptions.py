"""The speed of each corruption beside imagecorruptions-imaug in the same run; prints a Markdown table.

    make benchmark

One thread, one image of 224 px at a time. The two sides alternate, and of each the fastest round
counts, so that a busy machine says little.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import cv2
import imagecorruptions
import numpy as np
import torch

from patchwork import corruptions

ROUNDS = 7


def milliseconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return 1000 * (time.perf_counter() - start)


def ours(name, image, severity):
    corruptions.corrupt(name, image, severity, np.random.default_rng(0))


def theirs(name, image, severity):
    imagecorruptions.corrupt(image, severity, name)


def main():
    torch.set_num_threads(1)  # as OpenCV's in corruptions.py, for both sides
    warnings.simplefilter("ignore")  # of the other side
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    print("| corruption | imagecorruptions-imaug, ms | Patchwork, ms | ratio |\n|---|---|---|---|")
    total = np.zeros(2)
    for name in corruptions.SEVERITIES:
        severities = np.zeros((2, 5))
        for severity in range(1, 6):
            theirs(name, image, severity), ours(name, image, severity)  # compiles, loads, caches
            sides = [
                (milliseconds(theirs, name, image, severity), milliseconds(ours, name, image, severity))
                for _ in range(ROUNDS)
            ]
            severities[:, severity - 1] = np.min(sides, 0)
        other, own = severities.mean(1)
        total += other, own
        print(f"| {name} | {other:.1f} | {own:.1f} | {other / own:.1f} |", flush=True)
    print(f"| all 19 | {total[0]:.0f} | {total[1]:.0f} | {total[0] / total[1]:.1f} |")


if __name__ == "__main__":
    main()
