"""Grids of tiles over an image; tiles are counted row by row from the top left."""

import math

import torch


def parse(name):
    """'4x8' -> (4, 8): rows, columns."""
    rows, columns = name.split("x")
    return int(rows), int(columns)


def count(share, tiles):
    """How many of `tiles` a share takes: rounded down, as the authors' counts k * tiles // 10 are."""
    return math.floor(round(share * tiles, 6))  # 0.7 * 10 is 6.999... in binary


def tile_of(length, tiles, device=None):
    """The tile of every pixel along one side (int64 [length]); tile sizes differ by one at the most."""
    return torch.arange(length, device=device) * tiles // length


def spread(values, rows, columns, height, width):
    """One value per tile [N, rows * columns] to one per pixel [N, 1, height, width].

    Raises ValueError if the image has fewer pixels along a side than the grid has tiles.
    """
    if rows > height or columns > width:
        raise ValueError(f"an image of {height}x{width} pixels has no {rows}x{columns} grid")
    grid = values.reshape(-1, 1, rows, columns)
    return grid[:, :, tile_of(height, rows, values.device)][..., tile_of(width, columns, values.device)]


def lowest(noise, number):
    """True for the `number` tiles of each row of `noise` [N, tiles] with the smallest values.

    Ties go to the earlier tile on every device, and a larger number takes all that a smaller one takes.
    """
    return noise.argsort(dim=1, stable=True).argsort(dim=1) < number
