"""The same PatchDrop masks at every offset from the grid of the tokens, from none to a whole tile.

Source: appendix A.1 of the paper leaves open why ViT-L falls so far when masks are shifted by 8 pixels. Here
the offset is swept at a fixed number of tiles dropped, with masks that wrap around, so that every offset
loses just as many pixels; what changes is how many tokens are whole, cut, or lost, which the report shows
beside the accuracy. Variants name the grid and the percentage of tiles dropped. Level -1 is the untouched
image. A level is in sixteenths of a tile, rounded down to pixels: pixels where
tiles have 16 of them.
"""

from patchwork import grids
from patchwork.perturbations import offset_drop, random_drop

FAMILY = "offset"
AXIS = "offset in sixteenths of a tile"
LEVELS = [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
VARIANTS = ["14x14_50", "14x14_25", "8x8_50", "8x8_25", "16x16_50", "16x16_25"]
NOISE = 256
NOISE_NAME = "random_drop"


def dropped(images, level, noise, variant):
    """True where a pixel is blacked out: bool [N, 1, H, W]."""
    rows, columns = grids.parse(variant)
    height, width = images.shape[-2:]
    share = int(variant.split("_")[1]) / 100 if level >= 0 else 0
    down, right = (
        int(max(level, 0) * side / tiles / 16) for side, tiles in ((height, rows), (width, columns))
    )
    return offset_drop.shifted(random_drop.dropped(images, share, noise, variant), down, right, wrap=True)
