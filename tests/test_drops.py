"""Offsets, pixels, fills, corners and the shares of tokens, each against a slow version of its own."""

import numpy as np
import pytest
import torch
from PIL import Image

from patchwork import models, strips
from patchwork.perturbations import offset_sweep, pixel_drop, placement, random_drop
from patchwork.views import View
from test_perturbations import Dataset, drawn, seen


def masked(image, tiles, rows, columns, down=0, right=0, wrap=False):
    """Where a slow loop over pixels finds a dropped tile above and to the left of it."""
    height, width = image.shape[1:]
    found = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            v, u = y - down, x - right
            if wrap:
                v, u = v % height, u % width
            if v >= 0 and u >= 0:
                found[y, x] = (v * rows // height) * columns + u * columns // width in tiles
    return found


def first(row, number):
    return set(np.argsort(row, kind="stable")[:number].tolist())


# ---- offsets ----


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize(("grid", "size", "shift"), [((8, 8), 64, 4), ((14, 14), 56, 2), ((16, 16), 64, 2)])
def test_masks_are_those_of_random_drop_moved_by_half_a_tile(grid, size, shift, wrap):
    data, name = Dataset(2, size, size), f"offset_drop/{grid[0]}x{grid[1]}{'_wrap' * wrap}"
    images, lost = seen(name, data, 0.5)
    rows = drawn(f"random_drop/{grid[0]}x{grid[1]}", data)  # the very same numbers
    for i in range(2):
        tiles = first(rows[i, : grid[0] * grid[1]], grid[0] * grid[1] // 2)
        expected = masked(data.pixels[i], tiles, *grid, shift, shift, wrap)
        assert np.array_equal(images[i].numpy().sum(0) == 0, expected)
        assert lost[i] == pytest.approx(expected.mean())
        if wrap:
            assert lost[i] == 0.5
    if not wrap:
        assert (images[:, :, :shift] > 0).all() and (images[..., :shift] > 0).all()  # never masked


class Tokens(strips.Strip):
    """As much of a strip as tells of the tokens of a model with some grid."""

    def __init__(self, grid):
        self.device, self.model = torch.device("cpu"), type("Model", (), {"grid": grid, "net": None})


# Nominal loss: true loss of pixels, tokens cut and tokens untouched, as an independent program found them in
# the masks of the authors' code (offset of 8 of 224 pixels, 14x14 tiles).
GEOMETRY = {0.1: (0.09, 0.316, 0.684), 0.5: (0.465, 0.861, 0.087), 0.9: (0.835, 0.439, 0.002)}


@pytest.mark.parametrize("level", GEOMETRY)
def test_an_offset_of_8_pixels_loses_and_cuts_what_the_authors_code_does(level):
    view = View(Dataset(100, 224, 224), "set", "offset_drop", "14x14")
    _, dropped = view.perturb(view.batch(0, 100), level, 0)
    wholly, partly = (share.mean().item() for share in Tokens((14, 14)).tokens(dropped))
    found = dropped.float().mean().item(), partly, 1 - wholly - partly
    assert found == pytest.approx(GEOMETRY[level], abs=0.006)


def test_tokens_are_counted_as_a_slow_loop_counts_them():
    mask = torch.rand(3, 1, 6, 9, generator=torch.Generator().manual_seed(0)) < 0.6
    mask[0], mask[1] = True, False
    wholly, partly = Tokens((3, 3)).tokens(mask)
    for i in range(3):
        shares = [
            mask[i, 0, y : y + 2, x : x + 3].float().mean().item() for y in (0, 2, 4) for x in (0, 3, 6)
        ]
        assert wholly[i] == pytest.approx(sum(share == 1 for share in shares) / 9)
        assert partly[i] == pytest.approx(sum(0 < share < 1 for share in shares) / 9)
    assert 0 < partly[2] < 1
    assert all(share.isnan().all() for share in Tokens(None).tokens(mask))
    assert all(share.item() == 0 for share in Tokens((3, 3)).tokens(None))


def test_the_sweep_loses_the_same_number_of_pixels_at_every_offset():
    view = View(Dataset(4, 64, 64), "set", "offset_sweep", "8x8_50")
    batch = view.batch(0, 4)
    at = {level: view.perturb(batch, level, 0)[1] for level in offset_sweep.LEVELS}
    assert not at[-1].any()
    assert all((at[level].float().mean((1, 2, 3)) == 0.5).all() for level in range(16))
    base = random_drop.dropped(batch.images, 0.5, view.noise(batch, 0), "8x8")
    assert torch.equal(at[0], base)
    for level in range(16):  # tiles have 8 pixels: half a pixel a level, rounded down
        shift = level // 2
        assert torch.equal(at[level], torch.from_numpy(np.roll(base.numpy(), (shift, shift), (2, 3))))
    for level in range(16):
        wholly, partly = (share.mean() for share in Tokens((8, 8)).tokens(at[level]))
        assert (wholly, partly) == (0.5, 0) if level < 2 else partly > 0.8


# ---- pixels ----


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 1])
def test_pixel_drop_takes_the_pixels_with_the_smallest_numbers(level):
    data = Dataset(2, 20, 30)
    images, lost = seen("pixel_drop/plain", data, level)
    for i, row in enumerate(drawn("pixel_drop/plain", data)):
        expected = np.zeros(600, bool)
        expected[np.argsort(row)[: int(level * 600)]] = True
        assert np.array_equal(images[i].numpy().sum(0).ravel() == 0, expected)
        assert lost[i] == pytest.approx(int(level * 600) / 600)


def test_pixel_drop_is_patch_drop_with_a_tile_for_each_pixel():
    noise = torch.rand(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images = torch.ones(2, 3, 8, 8)
    assert torch.equal(pixel_drop.dropped(images, 0.3, noise), random_drop.dropped(images, 0.3, noise, "8x8"))


# ---- fills ----


@pytest.mark.parametrize("fill", ["", "_mean", "_removed"])
def test_every_fill_takes_the_same_tiles(fill):
    data = Dataset(3, 64, 64)
    black, lost = seen("random_drop/8x8", data, 0.5)
    images, same = seen(f"random_drop/8x8{fill}", data, 0.5)
    assert torch.equal(lost, same)
    gone = (black == 0).all(1, keepdim=True).expand_as(black)
    assert torch.equal(images[~gone], black[~gone])
    for i in range(3):
        for channel in range(3):
            colour = data.pixels[i, channel].mean() / 255 if fill == "_mean" else 0
            values = images[i, channel][gone[i, channel]].numpy()
            assert len(values) == 32 * 64 and np.abs(values - colour).max() < 1e-6


# ---- corners ----

CORNERS = {1: (0, 96), 2: (0, 0), 3: (96, 96), 4: (96, 0)}  # row and column of Table 8: TR, TL, BR, BL


@pytest.mark.parametrize("corner", CORNERS)
def test_the_image_is_128_of_224_pixels_in_a_black_corner(corner):
    data = Dataset(1, 28, 28)
    data.pixels = data.pixels.repeat(8, 2).repeat(8, 3)
    image = placement.apply(torch.from_numpy(data.pixels).float() / 255, corner)[0].numpy()
    top, left = CORNERS[corner]
    whole = Image.fromarray(data.pixels[0].transpose(1, 2, 0))
    expected = np.asarray(whole.resize((128, 128), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    assert np.abs(image[:, top : top + 128, left : left + 128] - expected).max() < 1.1 / 255
    outside = np.ones((224, 224), bool)
    outside[top : top + 128, left : left + 128] = False
    assert (image[:, outside] == 0).all()


def test_a_small_image_keeps_to_tokens_of_8_pixels():
    assert (placement.apply(torch.ones(1, 3, 64, 64), 3)[0, 0] > 0).nonzero().min() == 32


# ---- refusals ----


def test_a_refusal_is_asked_for_with_the_variant():
    view = View(Dataset(1, 64, 64), "set", "random_drop", "8x8_removed")
    cnn = models.Model(Cnn())
    assert (
        view.refusal(0.5, cnn) == "Cnn has no tokens that could be removed" and view.refusal(0, cnn) is None
    )
    assert View(Dataset(1, 64, 64), "set", "shuffle_grid", "plain").refusal(4, cnn) is None


class Cnn(torch.nn.Module):
    pretrained_cfg = {"input_size": (3, 64, 64), "mean": (0.0,) * 3, "std": (1.0,) * 3}  # noqa: RUF012
