"""Does the attention of the class token, or of the shape token, in the last block find objects?

Of the patches, those that hold a share of the attention at least are taken for the object: the fewest that
do. What they agree with is told, for each class that is in an image, by the Jaccard index (intersection over
union) with all pixels of that class: once with the void pixels of the mask left out, once, as the authors'
code counts, with void as background. Each head is measured at the share that the authors take, 0.9, and the
mean of the heads (head -1) at many. The authors squash images into a square; they are also measured at their
own aspect, on about as many patches. For comparison, as many patches chosen at random.

Source: Table 4 and figures 8 and 28 of the paper, and the authors' code for them: for each class in an image
that head counts which agrees best (here `max` over heads of jaccard_void), images are squashed to 512 pixels,
and the index is a mean over the classes of an image and then over images.
"""

import itertools
from functools import lru_cache

import numpy as np
import torch

from patchwork import grids, models, noise, saliency, sheets
from patchwork.measuring import joined

COLUMNS = {
    "image": "int32",  # its place among the images that have masks, in order of path
    "class_id": "int32",  # value of the mask
    "token": "string",  # class or shape
    "head": "int16",  # -1: the mean of all
    "level": "float32",  # share of the attention that is taken at least
    "aspect": "string",  # squashed, kept, or both for an image where that is the same
    "jaccard": "float32",  # void left out
    "jaccard_void": "float32",  # void counts as background
    "random": "float32",  # as many patches at random, others for each head; void left out
    "random_void": "float32",
}
NEEDS = ["masks"]
THREADS = 4
SETTINGS = {"size": 512}  # pixels along a side, rounded to whole patches
SIDE_BY_SIDE = True
SHOWS = (
    "What the attention of the last block takes for the object: the fewest patches that hold 90 % of the "
    "attention of the class token, or of the shape token, in the mean over its heads. In the mask each class "
    "has a colour, and what is void is grey. Images are squashed into a square, as they were measured."
)
LEVELS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
AUTHORS_LEVEL = 0.9
TOKENS = np.array(["class", "shape"])
ASPECTS = np.array(["both", "kept", "squashed"])
EXAMPLES = 4
EXAMPLE_PIXELS = 192
CLASS_COLOURS = 6  # masks of examples tell classes by 1 to 6, and
VOID = 255
COLOURS = torch.tensor(
    [[230, 85, 13], [31, 119, 180], [44, 160, 44], [214, 39, 140], [240, 200, 30], [23, 190, 207]]
)
GREY = torch.tensor([150, 150, 150])


def refuses(model):
    """It needs a class token, and positions for more patches."""
    if problem := models.no_class_token(model.net):
        return problem
    if not hasattr(model.net, "set_input_size") or model.grid is None:
        return f"{type(model.net).__name__} takes images of its own size alone"
    return None


def measure(subject):
    """A row per image, class in it, token, aspect, and head or level. Images without any object have none."""
    data, model = subject.data, subject.model
    patch, size = model.net.patch_embed.feat_ratio(as_scalar=False), subject.settings["size"]
    square = tuple(max(1, round(size / side)) for side in patch)
    tokens = 1 + hasattr(model.net, "head_dist")
    own_grids = own_aspect(data.sizes, patch, size)
    # No more patches at once than `batch_images` of the network's own size have.
    fewer = subject.batch_images * np.prod(model.grid) // np.prod(square)
    subject.batch_images = int(np.clip(fewer, 1, subject.batch_images))

    @lru_cache(maxsize=2)  # images are in order of their aspect
    def network(grid):
        return models.resized(model, (grid[0] * patch[0], grid[1] * patch[1]))

    def attention(images, grid, first, last):
        """Of images first..last, in the mean over the heads and in each: float64 [N, tokens, 1 + heads,
        tiles], 1 over the tiles."""
        pixels = images.to(subject.device).float().div_(255)
        seen = subject.finite(saliency.attended(network(grid), pixels, tokens), first, last)
        seen = torch.cat([seen.mean(2, keepdim=True), seen], 2)
        return seen / seen.sum(3, keepdim=True)

    def look_at(pictures, grid, aspects, first, last):
        images, masks = data.resized(pictures, grid[0] * patch[0], grid[1] * patch[1])
        keys = [noise.key(0, subject.dataset, path, "segmentation") for path in data.paths[first:last]]
        found = agreement(
            attention(images, grid, first, last), masks.to(subject.device), data.void, grid, keys
        )
        which = found["image"].cpu()
        numbers = torch.from_numpy(data.numbers[first:last])
        return found | {"image": numbers[which], "aspect": torch.from_numpy(aspects)[which]}

    def look(first, last):
        pictures, own = data.decoded(range(first, last)), own_grids[first:last]
        squashed = look_at(pictures, square, np.array([0 if g == square else 2 for g in own]), first, last)
        found = [squashed]
        start = first
        for grid, alike in itertools.groupby(own):
            end = start + len([*alike])
            if grid != square:
                some = pictures[start - first : end - first]
                found.append(look_at(some, grid, np.ones(end - start, np.int64), start, end))
            start = end
        return {name: torch.cat([each[name].cpu() for each in found]) for name in squashed}

    columns = joined(subject.each(look))
    order = np.lexsort([columns[c] for c in ("level", "head", "token", "aspect", "class_id", "image")])
    columns = {name: values[order] for name, values in columns.items()}
    columns |= {"token": TOKENS[columns["token"]], "aspect": ASPECTS[columns["aspect"]]}

    total = len(data.paths)
    chosen = [i * total // EXAMPLES for i in range(min(EXAMPLES, total))]
    rows = [int(np.flatnonzero(data.numbers == number)[0]) for number in chosen]
    pictures = data.decoded(rows)
    images, _ = data.resized(pictures, square[0] * patch[0], square[1] * patch[1])
    with torch.inference_mode(), models.autocast(subject.device, subject.dtype):
        seen = attention(images, square, min(rows), max(rows) + 1)[:, :, 0]
    taken = saliency.rank(seen.flatten(0, 1).unflatten(1, square)) < AUTHORS_LEVEL
    images, masks = data.resized(pictures, EXAMPLE_PIXELS, EXAMPLE_PIXELS)
    return columns, {
        "numbers": torch.tensor(chosen),
        "images": images,
        "masks": class_colours(masks, data.void),
        "taken": taken.unflatten(0, (len(rows), tokens)),
    }


def own_aspect(sizes, patch, size):
    """The grid (rows, columns) of patches of each image at its own aspect, with about the area of size x size
    pixels. sizes: heights and widths, int64 [N, 2]. patch: the same of a patch."""
    stretch = np.sqrt(sizes[:, 0] / sizes[:, 1])
    sides = np.stack([size * stretch / patch[0], size / stretch / patch[1]], 1)
    return [(rows, columns) for rows, columns in np.rint(sides).clip(1).astype(int).tolist()]


def agreement(attention, masks, void, grid, keys):
    """Jaccard indices of what is attended to, a row per image, class in it, token, and head or level: a dict
    of tensors; `image` is the row of the image here.

    attention: float64 [N, tokens, 1 + heads, tiles], 1 over the tiles, of the mean of the heads first. masks:
    values of pixels, int32 [N, H, W]; 0 is background, `void` (None, if there is none) tells nothing. grid:
    rows and columns of tiles, which divide H and W. keys: of the images' random numbers.
    """
    images, tokens, views, tiles = attention.shape
    device = attention.device
    ranks = saliency.rank(attention.flatten(0, 2).unflatten(1, grid)).view_as(attention)
    ways = [(0, level) for level in LEVELS] + [(view, AUTHORS_LEVEL) for view in range(1, views)]
    view, levels = torch.tensor([v for v, _ in ways], device=device), [level for _, level in ways]
    chosen = ranks[:, :, view] < torch.tensor(levels, dtype=ranks.dtype, device=device)[:, None]
    taken = chosen.sum(3)  # tiles, [images, tokens, ways]
    order = noise.uniform(torch.tensor(keys, device=device), views * tiles).view(images, 1, views, tiles)
    random = order.argsort(3)[:, :, view] < taken[..., None]

    of_image, class_id, counts, lost = pixels_of_classes(masks, void, grid)
    total, tile_pixels = counts.sum(1)[:, None, None], masks[0].numel() // tiles
    taken = (taken * tile_pixels)[of_image]
    found = {}
    for name, those in {"jaccard": chosen, "random": random}.items():
        # float64, which autocast leaves alone, so that pixels are counted exactly
        those = those.flatten(1, 2).double()
        both = (those[of_image] @ counts[..., None]).view(-1, tokens, len(ways))
        nothing = (those @ lost[..., None]).view(-1, tokens, len(ways))[of_image]
        found[name] = both / (taken - nothing + total - both)
        found[f"{name}_void"] = both / (taken + total - both)
    shape = found["jaccard"].shape
    found |= {
        "image": of_image[:, None, None],
        "class_id": class_id[:, None, None],
        "token": torch.arange(tokens, device=device)[:, None],
        "head": view - 1,
        "level": torch.tensor(levels, device=device),
    }
    return {name: values.expand(shape).flatten() for name, values in found.items()}


def pixels_of_classes(masks, void, grid):
    """Pixels of each class that is in a mask, tile by tile: the image of each pair of image and class (int64
    [pairs]), the class (the same), their pixels (float64 [pairs, tiles]), and those of void (float64 [images,
    tiles])."""
    (images, height, width), tiles = masks.shape, grid[0] * grid[1]
    values, device = int(masks.max()) + 1, masks.device
    rows = grids.tile_of(height, grid[0], device)[:, None] * grid[1] + grids.tile_of(width, grid[1], device)
    keys = masks.long() + values * torch.arange(images, device=device)[:, None, None]
    present = torch.bincount(keys.flatten(), minlength=images * values).view(images, values) > 0
    of_image, value = present.nonzero().unbind(1)
    place = torch.zeros_like(present, dtype=torch.int64)
    place[of_image, value] = torch.arange(len(value), device=device)
    counts = torch.bincount((place.flatten()[keys] * tiles + rows).flatten(), minlength=len(value) * tiles)
    counts = counts.view(-1, tiles).double()
    lost = torch.zeros(images, tiles, dtype=torch.float64, device=device)
    is_void = value == (-1 if void is None else void)
    lost[of_image[is_void]] = counts[is_void]
    is_object = (value > 0) & ~is_void
    return of_image[is_object], value[is_object], counts[is_object], lost


def class_colours(masks, void):
    """The masks of examples, uint8: 0 is no object, 1 to CLASS_COLOURS the colour of a class, or VOID."""
    drawn = torch.where(masks > 0, 1 + (masks - 1) % CLASS_COLOURS, 0)
    return torch.where(masks == (-1 if void is None else void), VOID, drawn).to(torch.uint8)


def picture(kept):
    """Rows are images; columns the image, its mask, and what the tokens of each model take for objects."""
    first = next(iter(kept.values()))
    images, masks = first["images"].permute(0, 2, 3, 1), first["masks"].long()
    side = images.shape[1]
    colour = torch.where((masks == VOID)[..., None], GREY, COLOURS[(masks - 1) % CLASS_COLOURS])
    columns = {"image": images / 255, "mask": overlaid(images, colour, masks > 0)}
    for model, examples in kept.items():
        taken = examples["taken"]
        for number in range(taken.shape[1]):
            name = f"{model} {TOKENS[number]}" if taken.shape[1] > 1 else model
            rows, across = (grids.tile_of(side, tiles) for tiles in taken.shape[2:])
            columns[name] = overlaid(images, COLOURS[0], taken[:, number][:, rows][:, :, across])
    rows = [[column[i].numpy() for column in columns.values()] for i in range(len(images))]
    return sheets.tiled(rows), [*columns], [f"image {number}" for number in first["numbers"].tolist()]


def overlaid(images, colours, where):
    """Images (uint8 [N, H, W, 3]) with a colour laid over some pixels (bool [N, H, W]) and the others darker:
    float32 [N, H, W, 3] in [0, 1]."""
    return torch.where(where[..., None], 0.45 * images + 0.55 * colours, 0.4 * images).float() / 255
