"""Salient PatchDrop: black out the most salient tiles of each image, the foreground.

Source: section 3.1 and Figure 3 of the paper; saliency.py tells what is salient. `mass` variants are the
authors' rule: a level is a share of the attention, and the fewest most salient tiles that hold at least that
much are dropped, so the share of pixels lost differs from image to image. `area` variants drop
floor(level * tiles), as many as random_drop. The last level is an all-black image, as in the authors' code.
"""

from patchwork import grids

FAMILY = "saliency"
AXIS = "share of attention (mass) or of tiles (area) dropped, the most salient first"
LEVELS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
RANGE = [0, 1]
VARIANTS = ["mass", "area"]
NEEDS = ["saliency"]


def dropped(images, saliency, level, variant):
    """True where a pixel is blacked out: bool [N, 1, H, W]. saliency: saliency.rank, float32 [N, rows,
    columns]."""
    rows, columns = saliency.shape[1:]
    tiles = saliency.flatten(1)
    chosen = tiles < level if variant == "mass" else grids.lowest(tiles, grids.count(level, rows * columns))
    return grids.spread(chosen, rows, columns, *images.shape[-2:])
