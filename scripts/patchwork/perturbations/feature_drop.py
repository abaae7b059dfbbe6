"""Feature drop (lesion): take away a share of the features inside the network, before one block or stage.

Source: appendix C, Tables 6 and 7 of the paper. A level is a block of a vision transformer or a stage of a
CNN, counted from 1; `zero` variants set floor(share * positions) of its patch tokens, or of the places of its
feature map, to 0, as the authors' code does for transformers (for CNNs it draws each place by itself, here
the number is exact); the class token stays. `mask` variants hide the same tokens from the attention of that
block instead. Stages are those that timm's feature_info lists; the last level of a CNN is where features
leave the last one.
"""

from patchwork import grids, hooks
from patchwork import noise as numbers

FAMILY = "lesion"
AXIS = "block or stage"
LEVELS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
RANGE = [0, 96]
VARIANTS = ["zero_25", "zero_50", "zero_75", "mask_25", "mask_50", "mask_75"]
MODEL = True
NOISE = "keys"


def inside(model, level, noise, variant):
    """Take features away from `model` as they enter block or stage `level`."""

    def choose(positions):
        return chosen(noise, positions, variant)

    if not level:
        return hooks.hooked([])
    change = hooks.zeroed if variant.startswith("zero") else hooks.keys_masked
    return change(model, int(level), choose)


def chosen(noise, positions, variant):
    """The positions that are taken away: bool [N, positions]; a larger share takes all of a smaller one.

    noise: the keys of the images, int64 [N]: a feature map may have more places than an image has pixels.
    """
    share = int(variant.split("_")[1]) / 100
    return grids.lowest(numbers.uniform(noise, positions), grids.count(share, positions))


def apply(images):
    """The images stay as they are."""
    return images


def shown(images, level, noise, variant, model):
    """Where features are taken away, in black: on the tokens of `model`, or 7x7 places of a CNN's map."""
    if not level:
        return images
    rows, columns = model.grid or (7, 7)
    height, width = grids.reach(model, *images.shape[-2:])
    tiles = chosen(noise, rows * columns, variant)
    seen = images.clone()
    seen[..., :height, :width] *= ~grids.spread(tiles, rows, columns, height, width)
    return seen


def refuses(model, level, variant):
    """Blocks and stages that a network does not have, and keys where there is no attention."""
    name, places = type(model.net).__name__, hooks.depth(model.net)
    if not level:
        return None
    if variant.startswith("mask") and not hooks.masks_keys(model.net):
        return f"{name} has no attention whose keys could be masked"
    if level not in range(1, places + 1):
        return f"{name} has {places} blocks or stages to take features from, no {level:g}"
    return hooks.problem(model, int(level))
