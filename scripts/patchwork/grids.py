"""Grids of tiles over an image; tiles are counted row by row from the top left."""

import math

import torch
from torch.nn.functional import adaptive_avg_pool2d


def parse(name):
    """'4x8' -> (4, 8): rows, columns. What follows after a _ is not read."""
    rows, columns = name.split("_")[0].split("x")
    return int(rows), int(columns)


def reach(model, height, width):
    """How many rows and columns of an image of this size a model (models.Model) cuts into tokens: all, or
    fewer where its patches do not divide the size that it takes; those at the end are then left out."""
    embedding = getattr(model.net, "patch_embed", getattr(model.net, "pixel_embed", None))
    if not (model.grid and hasattr(embedding, "feat_ratio")):
        return height, width
    patch = embedding.feat_ratio(as_scalar=False)
    sides = zip((height, width), model.grid, patch, model.size, strict=True)
    return tuple(round(length * tokens * pixels / whole) for length, tokens, pixels, whole in sides)


def over_tokens(values, model):
    """The mean of a value per pixel (float [N, 1, H, W]) over each of a model's tokens: [N, tokens]."""
    rows, columns = reach(model, *values.shape[-2:])
    return adaptive_avg_pool2d(values[..., :rows, :columns], model.grid).flatten(1)


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
    # Along rows first, while there are few of them: then whole rows are copied, which is fast.
    return grid[..., tile_of(width, columns, values.device)].index_select(
        2, tile_of(height, rows, values.device)
    )


def lowest(noise, number):
    """True for the `number` tiles of each row of `noise` [N, tiles] with the smallest values.

    Ties go to the earlier tile on every device, and a larger number takes all that a smaller one takes.
    """
    first = noise.argsort(dim=1, stable=True)[:, :number]
    return torch.zeros_like(noise, dtype=torch.bool).scatter_(1, first, True)


def finer(values, coarse, fine):
    """One value per tile [N, rows * columns] of a `coarse` grid (rows, columns) to one per tile of a `fine`
    grid that divides its tiles: [N, rows * columns]."""
    grid = values.reshape(-1, *coarse)
    for side in (0, 1):
        grid = grid.repeat_interleave(fine[side] // coarse[side], side + 1)
    return grid.flatten(1)
