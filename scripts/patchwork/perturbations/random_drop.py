"""Random PatchDrop: black out a share of the tiles of a grid, chosen for each image by itself.

Source: section 3.1 and appendix A of the paper. Black means 0 before normalisation, as in the authors'
code; they draw one mask for a whole batch, here every image has its own. Two other fills take the same
tiles: `mean` is the mean colour of the image itself; `removed` takes the tokens of the tiles out of a vision
transformer, so that it sees nothing there (the picture of it is black).
"""

from patchwork import grids, hooks

FAMILY = "occlusion"
AXIS = "share of tiles dropped"
LEVELS = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
RANGE = [0, 1]
# fmt: off
VARIANTS = [
    "14x14", "4x4", "4x8", "7x7", "8x8", "16x16",
    "14x14_mean", "8x8_mean", "16x16_mean", "14x14_removed", "8x8_removed", "16x16_removed",
]
# fmt: on
NOISE = 256


def dropped(images, level, noise, variant):
    """True where a pixel is blacked out: bool [N, 1, H, W].

    floor(level * tiles) tiles of each image; what a level drops, every higher level drops too.
    """
    rows, columns = grids.parse(variant)
    return grids.spread(chosen(level, noise, rows, columns), rows, columns, *images.shape[-2:])


def chosen(level, noise, rows, columns):
    """The tiles that are dropped: bool [N, rows * columns]."""
    return grids.lowest(noise[:, : rows * columns], grids.count(level, rows * columns))


def fill(images, variant):
    """The colour of what is dropped: float32 [N, 3, 1, 1]."""
    mean = images.mean((2, 3), keepdim=True)
    return mean if variant.endswith("_mean") else mean.new_zeros(1)


def inside(model, level, noise, variant):
    """Take the tokens of the dropped tiles out of `model`."""
    rows, columns = grids.parse(variant)
    kept = None
    if variant.endswith("_removed") and level:
        kept = ~grids.finer(chosen(level, noise, rows, columns), (rows, columns), model.grid)
    return hooks.tokens_kept(model, kept)


def refuses(model, level, variant):
    """Removal is for models whose tokens are the tiles, or parts of them."""
    if not variant.endswith("_removed") or not level:
        return None
    if not hooks.is_transformer(model.net):
        return f"{type(model.net).__name__} has no tokens that could be removed"
    rows, columns = grids.parse(variant)
    if model.grid[0] % rows or model.grid[1] % columns:
        return f"its {model.grid[0]}x{model.grid[1]} tokens do not divide {rows}x{columns} tiles"
    if grids.count(level, rows * columns) == rows * columns and model.net.global_pool != "token":
        return "it averages its patch tokens, of which none would be left"
    return None
