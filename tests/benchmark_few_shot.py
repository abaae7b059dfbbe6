"""The speed of few-shot episodes beside scikit-learn, on one thread.

    python tests/benchmark_few_shot.py

scikit-learn decides a sample of the same episodes in the same run; its time is told for as many episodes. Its
tolerance is its own, as in RFS, which ends farther from the minimum.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from patchwork import episodes, few_shot, jobs, tokens

IMAGES, CLASSES, EPISODES, SAMPLE = 4000, 100, 600, 60
ENTRIES = {
    "5-way 1-shot": {"ways": 5, "shots": [1], "queries": 15},
    "5-way 5-shot": {"ways": 5, "shots": [5], "queries": 15},
    "variable": {"ways": "variable"},
}


def stored(folder, width):
    """Tokens of one block of this width, of random classes."""
    random, labels = np.random.default_rng(0), np.arange(IMAGES) % CLASSES
    values = random.normal(1, 1, (CLASSES, width))[labels] + random.normal(0, 2, (IMAGES, width))
    part = {"block": 1, "token": "pooled", "first": 0, "width": width}
    facts = {"parts": [part], "depth": 1, "decides": 0, "digest": "", "refused": None}
    np.save(folder / "model.npy", values.astype(np.float16))
    (folder / "model.json").write_text(json.dumps(facts))
    return tokens.Tokens(folder / "model.npy"), labels


def fitted(drawn, read):
    """The same by scikit-learn, episode after episode, as in RFS."""
    for episode in drawn:
        support, queries = (torch.from_numpy(rows) for rows in (episode.support, episode.queries))
        classifier = LogisticRegression(max_iter=1000)
        classifier.fit(few_shot.features(read, [0], support).numpy(), episode.support_classes)
        classifier.predict(few_shot.features(read, [0], queries).numpy())


def seconds(function, *arguments):
    start = time.perf_counter()
    found = function(*arguments)
    return time.perf_counter() - start, found


def main():
    torch.set_num_threads(1)
    jobs.keep_memory()
    print(f"{EPISODES} episodes, of {IMAGES:,} images of {CLASSES} classes; both classifiers, with drawing\n")
    print("| setting | width | seconds | scikit-learn, s |\n|---|---|---|---|")
    paths = [f"{number:05}.png" for number in range(IMAGES)]
    for width in (384, 2048):
        with TemporaryDirectory() as folder:
            read, labels = stored(Path(folder), width)
            for setting, entry in ENTRIES.items():
                told = entry | {"episodes": EPISODES}
                drawing, drawn = seconds(episodes.sample, "few", told, setting, 0, paths, labels)
                few_shot.accuracies(drawn[:1], read, [0])  # the first fit imports some of torch
                own, _ = seconds(few_shot.accuracies, drawn, read, [0])
                other, _ = seconds(fitted, drawn[:: EPISODES // SAMPLE], read)
                other *= EPISODES / SAMPLE
                print(f"| {setting} | {width} | {drawing + own:.1f} | {other:.1f} |", flush=True)


if __name__ == "__main__":
    main()
