"""Where do tokens look? The attention of the class token, and how far patches attend, block by block.

Source: figure 4 of the paper: attention averaged over a dataset, of every block and head, while one
random mask, the same for all images, hides 160 of 196 tiles; deeper blocks are said to attend to what is
left. The figures are presumably of the class token, and there are no numbers; here it is the share of its
attention that falls on visible patches. Attention distance: Dosovitskiy et al., "An image is worth 16x16
words", ICLR 2021, appendix D.7, and Raghu et al., "Do vision transformers see like convolutional neural
networks?", NeurIPS 2021.

All attention here is that to patch tokens alone, divided by its sum over them: what goes to class, shape or
register tokens is left out.
"""

import numpy as np
import pyarrow as pa
import torch
from torch.nn.functional import interpolate

from patchwork import grids, models, noise, sheets

# Blocks count from 1, heads from 0, patches from 0, row by row from the top left. The rows are of a `kind`:
# `visible`, the share of a token's attention that falls on visible patches, of each image as a mean over
# heads, and of each head as a mean over images; `patch`, the share that falls on one patch, as a mean over
# images; `distance` between a patch and those it attends to, of each head in the untouched images.
COLUMNS = {
    "kind": "string",
    "token": "string",  # class or shape (distillation); null for distances
    "block": "int16",
    "head": "int16",  # null for the mean over heads
    "patch": "int32",
    "image": "int32",  # null for the mean over images
    "occluded": "float32",  # the share, under the mask
    "untouched": "float32",  # the same patches' share, in the images as they are
    "visible_fraction": "float32",  # of the patch, under the mask; or of all patches, which is chance
    "distance_pixels": "float32",  # of the model's input
    "deviation_pixels": "float32",  # standard deviation over images
}
# The share of the tiles of a grid that is black, rounded down: 160 of 196, as in the paper's figure.
SETTINGS = {"grid": "14x14", "dropped": 0.8164}
PASSES = 2  # of untouched and of masked images
SHOWS = (
    "Attention to patches, from left to right block by block; the first column is what was seen. Above: "
    "of the class token (and the shape token, where there is one), as means over all images. The first "
    "row is of the untouched images, all others of images under one and the same mask: white is visible, "
    "and outlined in each map. The first two rows are means over heads, then each head has a row. Below: "
    "of the class token in a few images, untouched and under the mask, as means over heads. Each map has "
    "a scale of its own, from 0 (dark) to what 2 % of its patches exceed (yellow)."
)
EXAMPLES = 3  # images
# Viridis at equal steps (van der Walt and Smith, 2015); what is between is blended.
COLOURS = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]
CELL_PIXELS = 112
BRIGHTEST = 0.98  # the quantile of a map that is yellow
OVERLAID = 0.6  # how much of a map covers its image


def refuses(model):
    """It needs a class token that passes all blocks together with a grid of patch tokens."""
    net = model.net
    if problem := models.no_class_token(net):
        return problem
    try:
        models.attending(net)
    except ValueError as error:
        return str(error)
    return None if model.grid else f"{type(net).__name__} does not cut images into a grid of patches"


def measure(subject):
    """Rows as told beside COLUMNS, and for the picture what `compare` tells."""
    mask = visible_pixels(subject)
    return compare(subject, mask, lambda pixels: pixels * mask)


def compare(subject, mask, occlude):
    """Attention in images that are seen in part, and in the same images untouched.

    mask: bool [1, H, W], true where something is left to see. occlude: a function of float [N, 3, H, W] that
    gives what is seen then. Returns rows as told beside COLUMNS, and for the picture: `maps`, float32 [2,
    blocks, tokens, heads, rows, columns], occluded and untouched, means over images; `mask`; of a few images
    `images` and `occluded`, float32 [n, 3, H, W], and `single`, float32 [n, 2, blocks, rows, columns], of the
    class token in them, mean over heads.
    """
    model, total = subject.model, len(subject.data.paths)
    tokens = ["class", "shape"] if hasattr(model.net, "head_dist") else ["class"]
    prefix, apart = model.net.num_prefix_tokens, distances(model).to(subject.device)
    visible = grids.over_tokens(mask.double()[None], model)[0]
    drawn = torch.tensor([*dict.fromkeys(i * total // EXAMPLES for i in range(EXAMPLES))])

    def to_patches(attention):
        """How tokens divide their attention among the patches: float64 [N, tokens, heads, patches]."""
        attended = attention[:, :, : len(tokens), prefix:].double().transpose(1, 2)
        return attended / attended.sum(-1, keepdim=True)

    def both(attention):
        return to_patches(attention), attention_distance(attention[:, :, prefix:, prefix:], apart)

    def look(first, last):
        pixels = subject.pixels(first, last)
        untouched, far = zip(*model.attention(pixels, reduce=both), strict=True)
        seen = occlude(pixels)
        occluded = model.attention(seen, reduce=to_patches)
        shares = torch.stack([torch.stack(occluded), torch.stack(untouched)])
        shares = subject.finite(shares, first, last)  # [2, blocks, N, tokens, heads, patches]
        far = subject.finite(torch.stack(far), first, last)  # [blocks, N, heads]
        chosen = drawn[(drawn >= first) & (drawn < last)] - first
        sums = {"maps": shares.sum(2), "far": far.sum(1), "far_squared": far.square().sum(1)}
        return sums, {
            "visible": (shares.mean(4) @ visible).permute(2, 3, 1, 0).cpu(),  # [N, tokens, blocks, 2]
            "images": pixels[chosen].cpu(),
            "occluded": seen[chosen].cpu(),
            "single": shares[:, :, chosen, 0].mean(3).permute(2, 0, 1, 3).float().cpu(),
        }

    sums, kept = {}, []
    for some, of_images in subject.each(look):
        sums = {name: sums.get(name, 0) + value for name, value in some.items()}
        kept.append(of_images)
    kept = {name: torch.cat([some[name] for some in kept]) for name in kept[0]}
    means = {name: (value / total).cpu() for name, value in sums.items()}
    variance = (means["far_squared"] - means["far"].square()).clamp(min=0) * total / max(total - 1, 1)
    deviation = variance.sqrt() if total > 1 else torch.full_like(variance, torch.nan)
    found = table(tokens, visible.cpu(), kept["visible"], means["maps"], means["far"], deviation)
    rows, columns = grids.reach(model, *mask.shape[-2:])  # what the maps are of
    examples = {
        "maps": means["maps"].float().unflatten(-1, model.grid),
        "mask": mask[..., :rows, :columns],
        "images": kept["images"][..., :rows, :columns],
        "occluded": kept["occluded"][..., :rows, :columns],
        "single": kept["single"].unflatten(-1, model.grid),
    }
    return found, examples


def table(tokens, visible, of_images, maps, far, deviation):
    """The columns of all rows, {name: numpy array}.

    tokens: their names. visible: fraction of each patch, [patches]. of_images: shares on visible patches,
    [N, tokens, blocks, 2]. maps: shares on each patch, [2, blocks, tokens, heads, patches]. far, deviation:
    of the attention distance, [blocks, heads].
    """
    blocks, heads, patches = range(1, len(far) + 1), range(far.shape[1]), range(len(visible))
    of_heads = maps @ visible
    parts = [
        rows(
            {"kind": ["visible"], "image": range(len(of_images)), "token": tokens, "block": blocks},
            occluded=of_images[..., 0],
            untouched=of_images[..., 1],
            visible_fraction=visible.mean(),
        ),
        rows(
            {"kind": ["visible"], "block": blocks, "token": tokens, "head": heads},
            occluded=of_heads[0],
            untouched=of_heads[1],
            visible_fraction=visible.mean(),
        ),
        rows(
            {"kind": ["patch"], "block": blocks, "token": tokens, "head": heads, "patch": patches},
            occluded=maps[0],
            untouched=maps[1],
            visible_fraction=visible,
        ),
        rows(
            {"kind": ["distance"], "block": blocks, "head": heads},
            distance_pixels=far,
            deviation_pixels=deviation,
        ),
    ]
    found = pa.concat_tables(parts, promote_options="default")
    return {name: found[name].to_numpy() for name in COLUMNS}


def rows(axes, **values):
    """A table with a row for each place of `axes`, {column: its values}; the last axis is the fastest.
    values: arrays over the axes, or the last of them."""
    shape = [len(axis) for axis in axes.values()]
    values |= {
        name: np.reshape([*axis], [-1] + [1] * (len(shape) - 1 - place))
        for place, (name, axis) in enumerate(axes.items())
    }
    return pa.table({name: np.broadcast_to(value, shape).ravel() for name, value in values.items()})


def visible_pixels(subject):
    """Where the images are not blacked out: bool [1, H, W], the same for all images of all datasets.

    Raises ValueError if the settings hide nothing or all.
    """
    tiles, share = grids.parse(subject.settings["grid"]), subject.settings["dropped"]
    total = tiles[0] * tiles[1]
    number = grids.count(share, total)
    if not 0 < number < total:
        raise ValueError(
            f"settings.attention: dropped: {share} takes {number} of {total} tiles; some must be dropped and "
            "some be left"
        )
    key = noise.key(subject.seeds[0], "", "", "attention")
    drawn = noise.uniform(torch.tensor([key], device=subject.device), total)
    size = subject.data.read(0, 1).shape[-2:]
    return ~grids.spread(grids.lowest(drawn, number), *tiles, *size)[0]


def distances(model):
    """How far the centres of the patches of a model lie apart, in pixels of its input: float32 [patches,
    patches]."""
    embedding = model.net.patch_embed if hasattr(model.net, "patch_embed") else model.net.pixel_embed
    places = torch.cartesian_prod(*(torch.arange(side) for side in model.grid))
    places = places * torch.tensor(embedding.feat_ratio(as_scalar=False))  # pixels from patch to patch
    return torch.cdist(places.double(), places.double()).float()


def attention_distance(attention, apart):
    """The mean distance between a patch and those it attends to, as a mean over patches: float64 [N, heads].

    attention: of patches to patches, [N, heads, patches, patches]; what else they attend to is left out.
    apart: float32 [patches, patches].
    """
    attention = attention.float()
    return ((attention * apart).sum(-1) / attention.sum(-1)).mean(-1).double()


def picture(kept):
    """What SHOWS tells, of one model."""
    [examples] = kept.values()
    mask, (_, blocks, tokens, heads, _, _) = examples["mask"], examples["maps"].shape
    unmasked = torch.ones_like(mask)
    lines = []  # the name of a row, its mask, its image if it is of one, a map for each block
    for token, maps in zip(["class", "shape"][:tokens], examples["maps"].unbind(2), strict=True):
        lines.append((f"{token} token, untouched", unmasked, None, maps[1].mean(1)))
        lines.append((f"{token} token, occluded", mask, None, maps[0].mean(1)))
        lines += [(f"{token} token, head {head}", mask, None, maps[0, :, head]) for head in range(heads)]
    of_images = zip(examples["images"], examples["occluded"], examples["single"], strict=True)
    for number, (image, occluded, maps) in enumerate(of_images, 1):
        lines.append((f"image {number}, untouched", unmasked, image, maps[1]))
        lines.append((f"image {number}, occluded", mask, occluded, maps[0]))
    drawn = []
    for _, seen, image, maps in lines:
        shown = enlarged((seen.float() if image is None else image).expand(3, -1, -1), "area")
        drawn.append([shown, *(coloured(each, seen, None if image is None else shown) for each in maps)])
    columns = ["seen", *(f"block {number}" for number in range(1, blocks + 1))]
    return sheets.tiled(drawn), columns, [name for name, *_ in lines]


def enlarged(values, mode):
    """Float [channels, H, W] as a cell of the picture, [CELL_PIXELS, CELL_PIXELS, channels]."""
    return interpolate(values[None], [CELL_PIXELS, CELL_PIXELS], mode=mode)[0].permute(1, 2, 0)


def coloured(attended, mask, image):
    """A map (float [rows, columns]) in colours, over an image in grey if there is one, with the outline of
    what is visible (bool [1, H, W]): float [CELL_PIXELS, CELL_PIXELS, 3] in [0, 1]."""
    brightest = attended.quantile(BRIGHTEST).clamp(min=1e-12)
    scaled = (attended / brightest * (len(COLOURS) - 1)).numpy()
    channels = zip(*COLOURS, strict=True)
    colours = np.stack([np.interp(scaled, range(len(COLOURS)), channel) for channel in channels])
    drawn = enlarged(torch.from_numpy(colours).float() / 255, "nearest-exact")
    if image is not None:
        drawn = OVERLAID * drawn + (1 - OVERLAID) * image.mean(2, keepdim=True)
    visible = enlarged(mask.float(), "nearest-exact")[..., 0].bool()
    eroded = visible.clone()
    for step, side in [(1, 0), (-1, 0), (1, 1), (-1, 1)]:
        eroded &= visible.roll(step, side)
    outline = (visible & ~eroded)[..., None]
    return torch.where(outline, (1 + drawn) / 2, drawn)
