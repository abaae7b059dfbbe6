"""Random PatchDrop: black out a share of the tiles of a grid, chosen for each image by itself.

Source: section 3.1 and appendix A of the paper. Black means 0 before normalisation, as in the authors'
code; they draw one mask for a whole batch, here every image has its own.
"""

from patchwork import grids

FAMILY = "occlusion"
AXIS = "share of tiles dropped"
LEVELS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
RANGE = [0, 1]
VARIANTS = ["14x14", "4x4", "4x8", "7x7", "8x8", "16x16"]
NOISE = 256


def dropped(images, level, noise, variant):
    """True where a pixel is blacked out: bool [N, 1, H, W].

    floor(level * tiles) tiles of each image; what a level drops, every higher level drops too.
    """
    rows, columns = grids.parse(variant)
    tiles = grids.lowest(noise[:, : rows * columns], grids.count(level, rows * columns))
    return grids.spread(tiles, rows, columns, *images.shape[-2:])
