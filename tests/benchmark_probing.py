"""The speed of linear probes beside scikit-learn's, on two threads.

    python tests/benchmark_probing.py

Both sides alternate, so that a busy machine slows both.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "2"

import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from patchwork import jobs, probing

IMAGES, TEST_IMAGES, WIDTH, CLASSES = 4000, 2000, 384, 100


class Features(list):
    """Batches of features, as probing.Batches."""

    def __init__(self, features, labels):
        super().__init__([(torch.from_numpy(features), torch.from_numpy(labels))])
        self.images = len(labels)

    def __len__(self):
        return self.images


def overlapping(images, random):
    """Standardised features, most of them redundant, of classes that overlap, and labels."""
    labels, fixed = random.integers(0, CLASSES, images), np.random.default_rng(1)
    means, mix = fixed.normal(size=(CLASSES, WIDTH)), fixed.normal(size=(WIDTH, WIDTH))
    mix *= np.exp(-np.arange(WIDTH) / 60)[:, None]
    features = (0.5 * means[labels] + random.normal(size=(images, WIDTH))) @ mix
    return (features / features.std(0)).astype(np.float32), labels


def timed(function, *arguments):
    start = time.perf_counter()
    found = function(*arguments)
    return time.perf_counter() - start, found


def by_scikit_learn(features, labels, penalty, tolerance, start):
    """Goes on where `start`, a LogisticRegression or None, has ended."""
    start = start or LogisticRegression(warm_start=True, max_iter=probing.MOST_PASSES)
    start.set_params(C=1 / (penalty * len(features)), tol=tolerance)
    return start.fit(features, labels)


def main():
    torch.set_num_threads(2)
    jobs.keep_memory()
    random = np.random.default_rng(0)
    (x, y), (test, true) = (overlapping(images, random) for images in (IMAGES, TEST_IMAGES))
    train = Features(x, y)
    print(f"{IMAGES:,} images, {WIDTH} features, {CLASSES} classes, two threads. Each fit begins where that")
    print("of the stronger penalty has ended; scikit-learn's with our tolerance, and with its own.\n")
    print("| penalty | ours, s | sklearn, s | its own, s | top-1 | sklearn | its own | decided as sklearn |")
    print("|---|---|---|---|---|---|---|---|")
    layer = torch.zeros(WIDTH, CLASSES), torch.zeros(CLASSES)
    same, default = None, None
    probing.fit([train], 1, layer)
    warnings.simplefilter("ignore")
    for penalty in probing.PENALTIES:
        taken, layer = timed(probing.fit, [train], penalty, layer)
        others, same = timed(by_scikit_learn, x, y, penalty, probing.TOLERANCE, same)
        own, default = timed(by_scikit_learn, x, y, penalty, 1e-4, default)
        decided = (test @ layer[0].numpy() + layer[1].numpy()).argmax(1)
        equal = (decided == same.predict(test)).mean()
        reached = [(decided == true).mean(), same.score(test, true), default.score(test, true)]
        row = [f"{penalty:g}", *(f"{seconds:.2f}" for seconds in (taken, others, own))]
        row += [*(f"{share:.3f}" for share in reached), f"{equal:.4f}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
