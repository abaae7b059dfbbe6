"""PatchDrop with the grid moved off the tokens: the masks of random_drop, shifted right and down.

Source: appendix A.1 of the paper, which shifts by 8 pixels, half a token. As in the authors' code the rows
and columns that the shift leaves free are never masked and the masks' far edge falls off, so fewer pixels are
lost than the level says (the report's axis is the true share). `wrap` variants put that edge back in at the
other side, so that just as many pixels are lost as without the shift.
"""

from patchwork import grids
from patchwork.perturbations import random_drop

FAMILY = "occlusion"
AXIS = "share of tiles dropped"
LEVELS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
RANGE = [0, 1]
VARIANTS = ["14x14", "8x8", "16x16", "14x14_wrap", "8x8_wrap", "16x16_wrap"]
NOISE = 256
NOISE_NAME = "random_drop"


def dropped(images, level, noise, variant):
    """True where a pixel is blacked out: bool [N, 1, H, W]. The shift is half a tile."""
    rows, columns = grids.parse(variant)
    height, width = images.shape[-2:]
    down, right = height // rows // 2, width // columns // 2
    return shifted(random_drop.dropped(images, level, noise, variant), down, right, variant.endswith("_wrap"))


def shifted(mask, down, right, wrap):
    """A mask [N, 1, H, W] moved by so many pixels; what leaves it comes in at the other side, or is lost."""
    moved = mask.roll((down, right), (2, 3))
    if not wrap:
        moved[:, :, :down] = False
        moved[..., :right] = False
    return moved
