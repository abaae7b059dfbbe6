"""Uniform random numbers that belong to an image, not to a run.

Number `k` of an image is output `k` of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014), started from a hash of (seed, dataset, image, perturbation). A
counter-based generator needs no state, so batch size, order, shard and device cannot matter, and all
models see the same numbers. numpy's Philox is one too, but needs a Python object per image: slower by
an order of magnitude for a batch of 64.
"""

import hashlib

import torch

GAMMA, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def signed(number):
    """A 64-bit number as torch.int64 holds it; its products and sums wrap like unsigned ones."""
    return number - (1 << 64) if number >= 1 << 63 else number


def key(seed, dataset, image, perturbation):
    """The 64-bit start of the stream of one image (`image` is its path in the dataset), as an int64."""
    name = "\0".join([str(seed), dataset, image, perturbation]).encode()
    return signed(int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little"))


def shift_right(bits, places):
    """A logical shift; torch's own keeps the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def splitmix64(keys, count):
    """The first `count` outputs of the streams that start at `keys` (int64 [N]): int64 [N, count]."""
    steps = torch.arange(1, count + 1, dtype=torch.int64, device=keys.device)
    bits = keys[:, None] + steps * signed(GAMMA)
    bits = (bits ^ shift_right(bits, 30)) * signed(MIX_1)
    bits = (bits ^ shift_right(bits, 27)) * signed(MIX_2)
    return bits ^ shift_right(bits, 31)


def uniform(keys, count):
    """Uniform numbers in [0, 1) with 53 random bits: int64 [N] -> float64 [N, count]."""
    return shift_right(splitmix64(keys, count), 11).double() * 2.0**-53
