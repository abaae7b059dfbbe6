"""Patch shuffling: cut the image into the tiles of a grid and put them back in random order.

Source: section 3.3 and Figure 10 of the paper. A level is a number of tiles. Where a grid does not
divide the image, the tiles fill its centre and the border of a few pixels stays where it is, so that
every shuffle only moves pixels.
"""

import torch

FAMILY = "permutation"
AXIS = "number of tiles"
LEVELS = [1, 4, 8, 16, 32, 64, 196, 256]
NOISE = 256

GRIDS = {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 196: (14, 14), 256: (16, 16)}


def apply(images, level, noise):
    """Shuffle the tiles of each image (float [N, 3, H, W]) by a permutation of its own.

    Raises ValueError if the image has fewer pixels along a side than the grid has tiles.
    """
    rows, columns = GRIDS[level]
    height, width = images.shape[-2:]
    tall, wide = height // rows, width // columns
    if not tall or not wide:
        raise ValueError(f"an image of {height}x{width} pixels has no {rows}x{columns} grid")
    top, left = (height - rows * tall) // 2, (width - columns * wide) // 2
    centre = (..., slice(top, top + rows * tall), slice(left, left + columns * wide))
    tiles = images[centre].unflatten(3, (columns, wide)).unflatten(2, (rows, tall))  # N 3 rows tall cols wide
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # N tiles 3 tall wide
    order = noise[:, : rows * columns].argsort(dim=1, stable=True)
    tiles = tiles[torch.arange(len(tiles), device=tiles.device)[:, None], order]
    shuffled = images.clone()
    shuffled[centre] = (
        tiles.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    )
    return shuffled
