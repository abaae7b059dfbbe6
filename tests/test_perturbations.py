"""What every perturbation promises; a new file in the folder is tested by being there.

Below that, each perturbation against an independent implementation: one image at a time, plain numpy.
"""

import importlib
import math
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from conftest import PERTURBATIONS
from patchwork import catalogue, models, patches, sheets
from patchwork.views import View

ENTRIES = catalogue.catalogue(PERTURBATIONS)
VARIANTS = catalogue.variants(ENTRIES, ["a_model"])
NAMES = list(VARIANTS)
FOLDER = tempfile.TemporaryDirectory()


class Dataset:
    """Random images that need no file."""

    def __init__(self, images, height, width):
        self.pixels = np.random.default_rng(0).integers(1, 256, (images, 3, height, width), np.uint8)
        self.paths = [f"{i}.png" for i in range(images)]
        self.labels = np.zeros(images, np.int64)
        ranks = np.tile(np.arange(196, dtype=np.float32) / 196, (images, 1))
        self.saliency = np.random.default_rng(1).permuted(ranks, axis=1).reshape(images, 14, 14)

    def read(self, first, last):
        return self.pixels[first:last]


class Tokens:
    """A stand-in for models.Model that cuts images into tokens.

    It takes random images for class 0; a change by 2/255 is enough to mislead it.
    """

    grid = (7, 7)
    net = SimpleNamespace(num_classes=4)

    def __call__(self, pixels):
        waves = torch.sin(40 * pixels).mean((2, 3))
        return torch.cat([torch.full_like(waves[:, :1], 0.1), waves], 1)


MODEL = Tokens()
# One that features can be taken from, in twelve blocks.
SMALL = {"img_size": 28, "patch_size": 4, "embed_dim": 4, "depth": 12, "num_heads": 1, "mlp_ratio": 1}
BLOCKS = models.Model(timm.create_model("vit_tiny_patch16_224", **SMALL).eval())


def made_up(name, height, width):
    """Files of random content for what a perturbation needs, {need: path}."""
    entry, files = ENTRIES[name.split("/")[0]], {}
    if "patches" in entry.get("needs", []):
        files["patches"] = f"{FOLDER.name}/{height}x{width}.safetensors"
        pairs = [(share, seed) for share in entry["levels"][1:] for seed in (0, 1)]
        sides = [len(patches.disc(share, height, width)) for share, _ in pairs]
        random = torch.Generator().manual_seed(0)
        discs = [torch.rand(3, side, side, generator=random) for side in sides]
        save_file({patches.key(*p): d for p, d in zip(pairs, discs, strict=True)}, files["patches"])
    return files


def seen(name, data, level, seed=0, first=0, last=None):
    """(images as a sheet shows them, share lost) of images first..last under perturbation/variant `name`."""
    view = View(data, "set", *name.split("/"), needs=made_up(name, *data.pixels.shape[2:]))
    last = len(data.paths) if last is None else last
    needs = ENTRIES[name.split("/")[0]].get("needs", [])
    view.arrays = {need: getattr(data, need) for need in needs if hasattr(data, need)}
    batch, model = view.batch(first, last), BLOCKS if name.startswith("feature_drop") else MODEL
    _, dropped = view.perturb(batch, level, seed, model)
    lost = torch.zeros(last - first) if dropped is None else dropped.float().mean((1, 2, 3))
    return sheets.see(view, batch, level, seed, model), lost


def drawn(name, data, seed=0):
    """The random numbers of all images of a dataset under a perturbation/variant."""
    view = View(data, "set", *name.split("/"))
    return view.noise(view.batch(0, len(data.paths)), seed).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_the_first_level_changes_nothing(name):
    data = Dataset(3, 64, 64)
    images, lost = seen(name, data, ENTRIES[name.split("/")[0]]["levels"][0])
    assert torch.equal(images, torch.from_numpy(data.pixels).float() / 255)
    assert not lost.any()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, deadline=None)
@given(draw=st.data(), height=st.integers(16, 70), width=st.integers(16, 70), cut=st.integers(1, 5))
def test_a_batch_is_what_its_images_are_alone(name, draw, height, width, cut):
    level = draw.draw(st.sampled_from(ENTRIES[name.split("/")[0]]["levels"]))
    assume("patch" not in name or max(height, width) <= 3 * min(height, width))  # or its disc would not fit
    data = Dataset(6, height, width)
    whole, lost = seen(name, data, level)
    assert whole.shape == (6, 3, height, width) and whole.dtype == torch.float32
    assert whole.min() >= 0 and whole.max() <= 1
    parts = [seen(name, data, level, first=a, last=b) for a, b in [(0, cut), (cut, 6)]]
    assert torch.equal(torch.cat([images for images, _ in parts]), whole)
    assert torch.equal(torch.cat([share for _, share in parts]), lost)


@pytest.mark.parametrize("name", [name for name in NAMES if "noise" in VARIANTS[name]])
def test_seed_and_image_decide_and_nothing_else_does(name):
    data, level = Dataset(4, 64, 64), ENTRIES[name.split("/")[0]]["levels"][-1]
    once, again = seen(name, data, level)[0], seen(name, data, level)[0]
    other = seen(name, data, level, seed=1)[0]
    assert torch.equal(once, again)
    assert all(not torch.equal(a, b) for a, b in zip(once, other, strict=True))
    data.pixels[1:] = data.pixels[0]  # the same picture under four names
    images = seen(name, data, level)[0]
    assert all(not torch.equal(images[0], image) for image in images[1:])


@pytest.mark.parametrize("name", [name for name in NAMES if "noise" not in VARIANTS[name]])
def test_without_noise_the_seed_decides_nothing(name):
    data, level = Dataset(1, 64, 64), VARIANTS[name]["levels"][-1]
    assert torch.equal(seen(name, data, level)[0], seen(name, data, level, seed=1)[0])


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("feature_drop")])
def test_levels_are_all_accepted_and_differ(name):
    side = 256 if "16x16" in name else 224
    levels, data = ENTRIES[name.split("/")[0]]["levels"], Dataset(1, side, side)
    assert len({seen(name, data, level)[0].numpy().tobytes() for level in levels}) == len(levels)


# ---- random_drop ----


def slow_random_drop(image, noise, level, rows, columns):
    """One image, tile by tile: the floor(level * tiles) tiles with the smallest numbers become black."""
    image = image.copy()
    height, width = image.shape[1:]
    number = math.floor(level * rows * columns + 1e-6)
    for tile in sorted(range(rows * columns), key=lambda t: noise[t])[:number]:
        row, column = divmod(tile, columns)
        for y in range(height):
            for x in range(width):
                if y * rows // height == row and x * columns // width == column:
                    image[:, y, x] = 0
    return image


GRIDS_DROPPED = ["14x14", "4x4", "4x8", "7x7", "8x8", "16x16"]


@pytest.mark.parametrize("variant", GRIDS_DROPPED)
@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_random_drop_is_what_a_slow_loop_does(variant, level):
    data = Dataset(2, 32, 33)
    images, lost = seen(f"random_drop/{variant}", data, level)
    noise = drawn(f"random_drop/{variant}", data)
    for i in range(2):
        expected = slow_random_drop(data.pixels[i], noise[i], level, *map(int, variant.split("x")))
        assert np.array_equal((images[i].numpy() * 255).round().astype(np.uint8), expected)
        assert lost[i] == pytest.approx(
            (expected[0] == 0).mean(), abs=1e-6
        )  # the pictures have no black of their own


def test_random_drop_takes_the_authors_numbers_of_patches():
    levels = ENTRIES["random_drop"]["levels"]
    lost = [seen("random_drop/14x14", Dataset(1, 224, 224), level)[1].item() for level in levels]
    authors = [count * 196 // 10 for count in range(10)]  # evaluate.py: drop_count * 196 // 10
    assert authors == [0, 19, 39, 58, 78, 98, 117, 137, 156, 176]
    assert lost == pytest.approx([number / 196 for number in authors], abs=1e-7)


@given(
    low=st.integers(0, 20),
    high=st.integers(0, 20),
    variant=st.sampled_from(ENTRIES["random_drop"]["variants"]),
)
@settings(max_examples=30, deadline=None)
def test_what_a_level_drops_every_higher_level_drops(low, high, variant):
    low, high = sorted([low / 20, high / 20])
    data = Dataset(3, 40, 48)
    less, more = (seen(f"random_drop/{variant}", data, level)[0] for level in (low, high))
    assert not more[less == 0].any()


def test_all_is_dropped_at_one():
    images, lost = seen("random_drop/7x7", Dataset(2, 50, 50), 1)
    assert not images.any() and (lost == 1).all()


# ---- shuffle_grid ----


def slow_shuffle(image, noise, rows, columns):
    """One image, tile by tile: place k gets the tile whose number is k-th in order."""
    shuffled = image.copy()
    height, width = image.shape[1] // rows, image.shape[2] // columns
    top, left = (image.shape[1] - rows * height) // 2, (image.shape[2] - columns * width) // 2

    def corner(tile):
        return top + tile // columns * height, left + tile % columns * width

    for place, tile in enumerate(sorted(range(rows * columns), key=lambda t: noise[t])):
        (y, x), (v, u) = corner(place), corner(tile)
        shuffled[:, y : y + height, x : x + width] = image[:, v : v + height, u : u + width]
    return shuffled


GRIDS = importlib.import_module("patchwork.perturbations.shuffle_grid").GRIDS


@pytest.mark.parametrize("level", ENTRIES["shuffle_grid"]["levels"])
@pytest.mark.parametrize("size", [(32, 32), (224, 224), (37, 50)])
def test_shuffle_grid_is_what_a_slow_loop_does(level, size):
    data = Dataset(2, *size)
    noise = drawn("shuffle_grid/plain", data)
    images = seen("shuffle_grid/plain", data, level)[0]
    for i in range(2):
        expected = slow_shuffle(data.pixels[i], noise[i], *GRIDS[level])
        assert np.array_equal((images[i].numpy() * 255).round().astype(np.uint8), expected)
        assert np.array_equal(np.sort(expected, axis=None), np.sort(data.pixels[i], axis=None))


def test_shuffle_grid_says_when_an_image_is_too_small():
    with pytest.raises(ValueError, match="no 16x16 grid"):
        seen("shuffle_grid/plain", Dataset(1, 12, 12), 256)


def test_every_shuffle_level_is_the_number_of_tiles_of_its_grid():
    assert list(GRIDS) == ENTRIES["shuffle_grid"]["levels"]
    assert all(rows * columns == level for level, (rows, columns) in GRIDS.items())
