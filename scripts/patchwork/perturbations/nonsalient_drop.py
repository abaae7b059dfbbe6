"""Non-salient PatchDrop: black out the least salient tiles of each image, the background.

Source: section 3.1 and Figure 3 of the paper; saliency.py tells what is salient. In `mass` variants a level
is a share of the attention: what stays are the fewest most salient tiles that hold at least the rest of it,
as in the authors' code, where the level is called 1 - lambda; the first level already takes half of the
pixels of a typical image. `area` variants drop floor(level * tiles), as many as random_drop, in the reverse
order of salient_drop.
"""

from patchwork import grids

FAMILY = "saliency"
AXIS = "share of attention (mass) or of tiles (area) dropped, the least salient first"
LEVELS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
RANGE = [0, 1]
VARIANTS = ["mass", "area"]
NEEDS = ["saliency"]


def dropped(images, saliency, level, variant):
    """True where a pixel is blacked out: bool [N, 1, H, W]. saliency: saliency.rank, float32 [N, rows,
    columns]."""
    rows, columns = saliency.shape[1:]
    tiles, number = saliency.flatten(1), rows * columns
    if variant == "mass":
        chosen = tiles >= 1 - level
    else:
        chosen = ~grids.lowest(tiles, number - grids.count(level, number))
    return grids.spread(chosen, rows, columns, *images.shape[-2:])
