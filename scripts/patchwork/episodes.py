"""Few-shot episodes: of some classes a few images to learn from (the support) and others to decide (queries).

An episode is a function of the name of its entry in the config, the setting, the seed, its number, the paths
of the images and which of them share a class: it is the same for all models and in any order of the index.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from patchwork import protocols

# Meta-Dataset (Triantafillou et al., ICLR 2020), section 3.2 and appendix. In its code (data_config.gin) they
# are max_ways_upper_bound, max_num_query, max_support_set_size, max_support_size_contrib_per_class,
# min_log_weight and max_log_weight.
MOST_WAYS, MOST_QUERIES, MOST_SUPPORT, MOST_OF_A_CLASS = 50, 10, 500, 100
LOG_WEIGHTS = np.log(0.5), np.log(2)


class Episode(NamedTuple):
    """Images are rows of the index, int64 [images]; classes are numbered in the episode, int64 [images] in
    [0, ways)."""

    ways: int
    support: np.ndarray
    support_classes: np.ndarray
    queries: np.ndarray
    query_classes: np.ndarray


def generator(name, setting, seed, number):
    """Random numbers that belong to one episode, whichever model is asked."""
    text = "\0".join([name, setting, str(seed), str(number)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def rows_of_classes(paths, labels):
    """The rows of the images of each class, a list of int64 [images]: images in the order of their paths,
    classes in that of their first."""
    found = {}
    for row in sorted(range(len(paths)), key=paths.__getitem__):
        found.setdefault(int(labels[row]), []).append(row)
    return [np.array(rows) for rows in found.values()]


def fixed(counts, ways, shots, queries, random):
    """Classes, shots of each, queries of each: int [ways], int [ways], int. counts: images of each class."""
    return random.choice(len(counts), ways, replace=False), np.full(ways, shots), queries


def variable(counts, random):
    """The same as Meta-Dataset draws them, from classes without a hierarchy.

    Ways are uniform. Queries are as many of each class, at most half of the smallest one of the episode. The
    size of the support is a share, uniform in (0, 1], of what is left, of which a class counts 100 images at
    most. It is divided by the sizes of the classes, each times a random weight, after each got one image.
    """
    ways = random.integers(protocols.FEWEST_WAYS, min(MOST_WAYS, len(counts)), endpoint=True)
    classes = random.choice(len(counts), ways, replace=False)
    images = counts[classes]
    queries = min(MOST_QUERIES, images.min() // 2)
    left = images - queries
    share = 1 - random.random()
    support = min(MOST_SUPPORT, np.ceil(share * np.minimum(left, MOST_OF_A_CLASS)).sum())
    weights = images * np.exp(random.uniform(*LOG_WEIGHTS, ways))
    shots = 1 + np.floor(weights / weights.sum() * (support - ways)).astype(np.int64)
    return classes, np.minimum(shots, left), queries


def sample(name, entry, setting, seed, paths, labels):
    """The episodes of a setting under a seed, a list of Episode.

    name, entry: of the config; protocols.episode_problem must find none. setting: one of protocols.settings.
    paths: of the images, a list of N. labels: int [N].
    """
    members, told = rows_of_classes(paths, labels), protocols.settings(entry)[setting]
    counts = np.array([len(rows) for rows in members])
    episodes = []
    for number in range(entry["episodes"]):
        random = generator(name, setting, seed, number)
        drawn = fixed(counts, *told, entry["queries"], random) if told else variable(counts, random)
        episodes.append(episode(members, *drawn, random))
    return episodes


def episode(members, classes, shots, queries, random):
    """An Episode of these classes: of each, so many images at random without putting them back."""
    taken = zip(classes, shots + queries, strict=True)
    drawn = [random.choice(members[number], images, replace=False) for number, images in taken]
    ways = len(classes)
    return Episode(
        ways,
        np.concatenate([rows[queries:] for rows in drawn]),
        np.repeat(np.arange(ways), shots),
        np.concatenate([rows[:queries] for rows in drawn]),
        np.repeat(np.arange(ways), queries),
    )
