"""Random numbers belong to an image: not to a batch, an order, a shard or a run."""

import numpy as np
import torch
from scipy.stats import kstest

from patchwork import noise

# The first outputs of the reference C implementation (Vigna, prng.di.unimi.it/splitmix64.c), seed 1234567.
REFERENCE = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def test_it_is_splitmix64():
    drawn = noise.splitmix64(torch.tensor([1234567]), 5)[0].tolist()
    assert [number % (1 << 64) for number in drawn] == REFERENCE


def test_it_agrees_with_arithmetic_on_big_integers():
    key = noise.key(3, "photographs", "dog/1.jpg", "random_drop")
    mask, state, expected = (1 << 64) - 1, key % (1 << 64), []
    for _ in range(200):
        state = (state + 0x9E3779B97F4A7C15) & mask
        bits = state
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        expected.append(((bits ^ (bits >> 31)) >> 11) / 2**53)
    assert noise.uniform(torch.tensor([key]), 200)[0].tolist() == expected


def test_a_longer_stream_begins_with_the_shorter_one():
    keys = torch.tensor([1, -5])
    assert torch.equal(noise.uniform(keys, 256)[:, :100], noise.uniform(keys, 100))


def test_every_part_of_the_name_counts():
    names = [
        (0, "a", "x", "drop"),
        (1, "a", "x", "drop"),
        (0, "b", "x", "drop"),
        (0, "a", "y", "drop"),
        (0, "a", "x", "mix"),
    ]
    assert len({noise.key(*name) for name in names}) == len(names)
    assert noise.key(0, "ab", "c", "d") != noise.key(0, "a", "bc", "d")


def test_it_is_uniform_over_images_and_within_one():
    keys = torch.tensor([noise.key(0, "set", f"{i}.png", "drop") for i in range(2000)])
    drawn = noise.uniform(keys, 64).numpy()
    assert kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    assert kstest(drawn[:, 0], "uniform").pvalue > 1e-3
    correlation = np.corrcoef(drawn.T)[np.triu_indices(64, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
