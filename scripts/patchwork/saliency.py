"""What is salient in an image: where the class token of a self-supervised vision transformer looks.

Source: section 3.1 of the paper, which finds the foreground by DINO (Caron et al., "Emerging properties in
self-supervised vision transformers", ICCV 2021): the attention of the last block. The authors' code takes
its second head (1, counted from 0) and normalises the images as the evaluated model wants them; here the head
is chosen, and the backbone gets its own normalisation, so that all models see the same foreground.
"""

import torch

from patchwork import grids, jobs, models, packed

BELOW_ONE = 1 - 2.0**-24  # the largest float32 below 1


@torch.inference_mode()
def ranks(model, data, compute, head, grid):
    """The ranks (`rank`) of the tiles of a packed dataset (packed.Packed): float32 [N, rows, columns].

    model: models.Model in its place. compute: the config's {dtype, batch_images}; a lower dtype than float32
    works by autocast. head: "mean" or a number from 0. grid: "rows x columns" of tiles, like "14x14".
    """
    rows, columns = grids.parse(grid)
    device, dtype = model.mean.device, getattr(torch, compute["dtype"])
    found = torch.empty(len(data.labels), rows, columns)
    with jobs.progress(total=len(found), unit="image", desc="saliency") as bar:
        for first in range(0, len(found), compute["batch_images"]):
            last = min(first + compute["batch_images"], len(found))
            pixels = packed.pixels(data, first, last, device)
            with models.autocast(device, dtype):
                found_mass = mass(model, pixels, head)
            if not found_mass.isfinite().all():
                paths = f"{data.paths[first]} to {data.paths[last - 1]}"
                raise ValueError(f"its attention has NaN in {paths}, computing in {dtype}")
            found[first:last] = rank(redistributed(found_mass, rows, columns)).cpu()
            bar.update(last - first)
    return found


def mass(model, pixels, head):
    """How the class token of the last block divides its attention among the patch tokens: float64 [N, rows,
    columns] of the model's own tokens, 1 for each image.

    Raises ValueError for a network without a class token, for patches that do not divide the image, and for a
    head that it does not have.
    """
    net = model.net
    if problem := models.no_class_token(net):
        raise ValueError(f"saliency: {problem}")
    if grids.reach(model, *model.size) != model.size:
        raise ValueError(f"saliency: the tokens of {type(net).__name__} leave out a border of the image")
    seen = attended(model, pixels)[:, 0]
    heads = seen.shape[1]
    if head != "mean" and head >= heads:
        raise ValueError(f"saliency.head: there are heads 0 to {heads - 1} and `mean`, no {head}")
    seen = seen.mean(1) if head == "mean" else seen[:, head]
    return (seen / seen.sum(1, keepdim=True)).unflatten(1, model.grid)


def attended(model, pixels, tokens=1):
    """How much the first tokens (class, shape) of the last block attend to each patch token, head by head:
    float64 [N, tokens, heads, patch tokens]."""
    attention = model.attention(pixels, last=1)[0]
    return attention[:, :, :tokens, model.net.num_prefix_tokens :].transpose(1, 2).double()


def redistributed(values, rows, columns):
    """Mass on a grid (float64 [N, R, C]) on another, [N, rows, columns]: every tile gets of each old one the
    share of its area that it covers, so no mass is lost."""
    down, across = (
        overlaps(old, new).to(values.device)
        for old, new in zip(values.shape[1:], (rows, columns), strict=True)
    )
    return down @ values @ across.T


def overlaps(old, new):
    """How much of each of `old` equal parts of a side lies in each of `new` ones: float64 [new, old]."""
    # Counted in units of 1 / (old * new), where all borders are whole numbers.
    starts, others = torch.arange(old) * new, torch.arange(new)[:, None] * old
    shared = torch.minimum(starts + new, others + old) - torch.maximum(starts, others)
    return shared.clamp(min=0).double() / new


def rank(mass):
    """The share of the mass (float64 [N, rows, columns], 1 for each image) on tiles that are more salient:
    float32 of the same shape, in [0, 1). Of equal tiles the earlier counts as more salient.

    The tiles with a rank below q are the fewest most salient ones that hold at least q of the mass. The
    authors' code sorts upwards and takes those whose cumulative sum is above 1 - q, which is the same.
    """
    flat = mass.flatten(1)
    flat, order = flat.sort(dim=1, descending=True, stable=True)
    above = flat.cumsum(1).roll(1, 1)
    above[:, 0] = 0
    return torch.zeros_like(above).scatter_(1, order, above).float().clamp_(max=BELOW_ONE).view_as(mass)
