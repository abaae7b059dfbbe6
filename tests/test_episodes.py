"""Few-shot episodes: how they are drawn."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from patchwork import episodes, protocols

FIXED = {"data": "birds", "ways": 5, "shots": [1, 5], "queries": 15, "episodes": 20}
VARIABLE = {"data": "birds", "ways": "variable", "episodes": 20}


def index(counts, seed=0):
    """Paths and labels of a dataset with so many images of each class, in any order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    return [f"c{label}/{n:05}.png" for n, label in enumerate(labels)], labels


def named(episode, paths):
    """An episode by the paths of its images and their classes in it."""
    return [
        [(paths[row], int(label)) for row, label in zip(rows, labels, strict=True)]
        for rows, labels in [
            (episode.support, episode.support_classes),
            (episode.queries, episode.query_classes),
        ]
    ]


def check(episode, labels):
    """What holds for every episode: no image twice, and its classes are those of the dataset."""
    rows = np.concatenate([episode.support, episode.queries])
    assert len(set(rows.tolist())) == len(rows)
    classes = np.concatenate([episode.support_classes, episode.query_classes])
    pairs = {*zip(classes.tolist(), labels[rows].tolist(), strict=True)}
    assert len(pairs) == len({own for own, _ in pairs}) == len({label for _, label in pairs}) == episode.ways
    assert {*episode.support_classes.tolist()} == {*episode.query_classes.tolist()} == {*range(episode.ways)}


@settings(deadline=None, max_examples=60)
@given(
    ways=st.integers(2, 8),
    shots=st.integers(1, 5),
    queries=st.integers(1, 6),
    more=st.lists(st.integers(0, 9), min_size=8, max_size=12),
    seed=st.integers(0, 2**31),
)
def test_support_and_queries_never_overlap(ways, shots, queries, more, seed):
    paths, labels = index([shots + queries + some for some in more])
    entry = {"data": "d", "ways": ways, "shots": [shots], "queries": queries, "episodes": 3}
    [setting] = protocols.settings(entry)
    for episode in episodes.sample("few", entry, setting, seed, paths, labels):
        check(episode, labels)
        assert episode.ways == ways
        assert np.bincount(episode.support_classes).tolist() == [shots] * ways
        assert np.bincount(episode.query_classes).tolist() == [queries] * ways


@settings(deadline=None, max_examples=60)
@given(counts=st.lists(st.integers(2, 300), min_size=5, max_size=60), seed=st.integers(0, 2**31))
def test_variable_episodes_keep_the_limits_of_meta_dataset(counts, seed):
    paths, labels = index(counts)
    for episode in episodes.sample("few", VARIABLE | {"episodes": 3}, "variable", seed, paths, labels):
        check(episode, labels)
        assert 5 <= episode.ways <= min(50, len(counts))
        first = np.unique(episode.query_classes, return_index=True)[1]
        sizes = np.array(counts)[labels[episode.queries[first]]]
        queries = min(10, sizes.min() // 2)
        assert np.bincount(episode.query_classes).tolist() == [queries] * episode.ways
        shots = np.bincount(episode.support_classes)
        assert shots.min() >= 1 and shots.sum() <= 500 and (shots <= sizes - queries).all()


def test_variable_episodes_are_spread_as_meta_dataset_spreads_them():
    """Drawn once more from the paper's formulas, number by number: means agree."""
    counts, random = np.tile([40, 400], 40), np.random.default_rng(1)
    drawn = [episodes.variable(counts, random) for _ in range(4000)]
    own = [[len(c), shots.sum(), shots[counts[c] == 400].sum(), queries] for c, shots, queries in drawn]
    expected = []
    for _ in range(4000):
        ways = random.integers(5, 51)
        sizes = random.permutation(counts)[:ways]
        queries = min(10, int(sizes.min()) // 2)
        beta = random.uniform()
        total = min(500, sum(int(np.ceil(beta * min(100, size - queries))) for size in sizes))
        share = [np.exp(random.uniform(np.log(0.5), np.log(2))) * size for size in sizes]
        wanted = [int(each / sum(share) * (total - ways)) + 1 for each in share]
        shots = [min(some, size - queries) for some, size in zip(wanted, sizes, strict=True)]
        of_large = sum(some for some, size in zip(shots, sizes, strict=True) if size == 400)
        expected.append([ways, sum(shots), of_large, queries])
    own, expected = np.array(own), np.array(expected)
    error = np.sqrt((own.var(0) + expected.var(0)) / 4000)
    assert (abs(own.mean(0) - expected.mean(0)) <= 4 * error).all()
    assert own[:, 0].min() == 5 and own[:, 0].max() == 50


@pytest.mark.parametrize(("entry", "setting"), [(FIXED, "5-way 5-shot"), (VARIABLE, "variable")])
def test_an_episode_hangs_on_paths_and_neither_on_the_order_of_the_index_nor_on_labels(entry, setting):
    paths, labels = index([30] * 8)
    order = np.random.default_rng(5).permutation(len(paths))
    shuffled, renumbered = [paths[row] for row in order], (3 * labels[order] + 1) % 8
    once = episodes.sample("few", entry, setting, 0, paths, labels)
    again = episodes.sample("few", entry, setting, 0, shuffled, renumbered)
    assert [named(e, paths) for e in once] == [named(e, shuffled) for e in again]


def test_episodes_differ_by_name_setting_seed_and_number_and_their_number_changes_none():
    paths, labels = index([30] * 8)
    some = [
        episodes.sample(name, FIXED, setting, seed, paths, labels)
        for name, setting, seed in [
            ("few", "5-way 1-shot", 0),
            ("few", "5-way 1-shot", 1),
            ("other", "5-way 1-shot", 0),
            ("few", "5-way 5-shot", 0),
        ]
    ]
    queries = [tuple(episode.queries.tolist()) for drawn in some for episode in drawn]
    assert len(set(queries)) == len(queries) == 80
    fewer = episodes.sample("few", FIXED | {"episodes": 7}, "5-way 1-shot", 0, paths, labels)
    assert [named(e, paths) for e in fewer] == [named(e, paths) for e in some[0][:7]]


def test_every_class_and_every_image_is_drawn_as_often():
    paths, labels = index([20] * 10)
    drawn = episodes.sample("few", FIXED | {"episodes": 2000}, "5-way 1-shot", 0, paths, labels)
    support = np.bincount(np.concatenate([e.support for e in drawn]), minlength=200)
    queries = np.bincount(np.concatenate([e.queries for e in drawn]), minlength=200)
    for found, expected in [(support, 50), (queries, 750)]:  # of 2,000 episodes, half of the classes in each
        assert found.mean() == expected
        assert abs(found - expected).max() < 5 * np.sqrt(expected)


def test_settings_have_the_names_that_the_field_gives_them():
    assert protocols.settings(FIXED) == {"5-way 1-shot": (5, 1), "5-way 5-shot": (5, 5)}
    assert protocols.settings(VARIABLE) == {"variable": None}


@pytest.mark.parametrize(
    ("counts", "entry", "says"),
    [
        ([20, 20, 20, 20], FIXED, "birds has 4 classes, and an episode is of 5 at least: lower `ways`"),
        (
            [20, 20, 20, 20],
            VARIABLE,
            "birds has 4 classes, and an episode is of 5 at least: take a dataset of 5",
        ),
        (
            [20, 19, 20, 9, 20],
            FIXED,
            "birds has 9 images of the class c3.* set `queries` to 4 at most, or leave",
        ),
        ([20, 20, 20, 1, 20], FIXED, "birds has 1 image of the class c3.* lower `shots`, or leave"),
        ([20, 2, 20, 1, 20], VARIABLE, "birds has 1 image of the class c3.* decide: leave such classes out"),
    ],
)
def test_what_does_not_suffice_for_episodes_is_told_with_what_would(counts, entry, says):
    told = protocols.episode_problem({f"c{n}": images for n, images in enumerate(counts)}, entry)
    assert re.search(says, told)


@pytest.mark.parametrize(("entry", "images"), [(FIXED, 20), (VARIABLE, 2)])
def test_what_is_just_enough_for_episodes_suffices(entry, images):
    assert protocols.episode_problem({f"c{n}": images for n in range(5)}, entry) is None
    paths, labels = index([images] * 5)
    for setting in protocols.settings(entry):
        assert len(episodes.sample("few", entry, setting, 0, paths, labels)) == 20


def test_planning_needs_nothing_heavy():
    code = "import sys; from patchwork import protocols; print({'numpy', 'torch'} & {*sys.modules})"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "set()"
