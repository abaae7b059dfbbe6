"""Universal adversarial patches: a disc of pixels that makes one model wrong wherever it lies on an image.

Source: Brown et al., "Adversarial Patch" (2017), untargeted, as in Figures 12, 30 and 31 of the paper: a
disc that covers a given share of the image, hard-edged, its pixels in [0, 1]. Where it lies and how it is
turned is drawn for each image. A perturbation pastes it by the same function when it is crafted and when it
is evaluated.
"""

import logging
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from patchwork import files, jobs, noise
from patchwork.views import Batch

LEARNING_RATE = 0.3  # in units of pixels in [0, 1], so that few steps take a pixel all the way
CHECKED_IMAGES = 256  # on so many is told what a patch does before and after it is crafted


def key(share, seed):
    """The name of a patch in a file of patches."""
    return f"{share:g}/{seed}"


def disc(share, height, width):
    """The disc that covers a share of an image: bool [side, side], True where the centre of a pixel is in it.

    Raises ValueError if no such disc fits into the image.
    """
    radius = math.sqrt(share * height * width / math.pi)
    side = round(2 * radius)
    if not 1 <= side <= min(height, width):
        raise ValueError(
            f"a disc of {share:g} of its area does not fit into an image of {height}x{width} pixels"
        )
    away = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    return away[:, None] ** 2 + away**2 <= radius**2


def corner(uniform, length, side, tiles):
    """Where along one side of an image a patch begins: int64 [N], at the first pixel of one of its tiles.

    uniform: float64 [N] in [0, 1). length, side: pixels of image and patch.
    """
    count = (length - side) * tiles // length + 1  # the tiles in which it can begin and still be whole
    return -(-(uniform * count).long() * length // tiles)


def turned(patch, turns):
    """A patch (float [3, side, side]) turned against the clock by some turns (float64 [N], 1 is a whole
    one): [N, 3, side, side]. Bilinear; quarter turns move whole pixels."""
    # In float64: rounding errors of float32 would mix neighbours in a quarter turn.
    cosine, sinus = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    zero = torch.zeros_like(turns)
    turn = torch.stack([cosine, -sinus, zero, sinus, cosine, zero], 1).view(-1, 2, 3)
    many = patch.double().expand(len(turns), *patch.shape)
    grid = affine_grid(turn, list(many.shape), align_corners=False)
    return grid_sample(many, grid, padding_mode="border", align_corners=False).to(patch.dtype)


def paste(images, patch, share, uniform, tiles=None, reach=None):
    """Images (float [N, 3, H, W]) with a patch on each; gradients of the patch flow through.

    patch: float [3, side, side], of which the disc of this share is seen. uniform: float64 [N, 3] in [0, 1),
    for row, column and turn. tiles: None for any place and any angle; (rows, columns) for a patch that begins
    where a tile of that grid does and makes quarter turns. reach: rows and columns of pixels that the grid is
    laid over; None for all.
    """
    height, width = images.shape[-2:]
    inside = disc(share, height, width).to(images.device)
    rows, columns = tiles or (height, width)
    tall, wide = reach or (height, width)
    turns = uniform[:, 2] if tiles is None else (uniform[:, 2] * 4).floor() / 4
    pixels = torch.arange(len(inside), device=images.device)
    top = corner(uniform[:, 0], tall, len(inside), rows)
    left = corner(uniform[:, 1], wide, len(inside), columns)
    place = (
        torch.arange(len(images), device=images.device)[:, None, None],
        slice(None),
        (top[:, None] + pixels)[:, :, None],
        (left[:, None] + pixels)[:, None, :],
    )
    seen = images.clone()
    seen[place] = torch.where(inside[..., None], turned(patch, turns).permute(0, 2, 3, 1), images[place])
    return seen


def start(share, seed, height, width, device):
    """The noise that crafting starts from: float32 [3, side, side] in [0, 1)."""
    side = len(disc(share, height, width))
    keys = torch.tensor([noise.key(seed, "", "", f"patch of {share:g}")], device=device)
    return noise.uniform(keys, 3 * side**2).float().view(3, side, side)


def craft(view, model, shares, seeds, steps, batch_images, store):
    """A patch of every share (above 0) for every seed: {key: float32 [3, side, side] in [0, 1]}, on the CPU.
    Only those that are not in the folder `store` are crafted: a GPU would not make the same patch again, and
    a job that was killed goes on with what it has.

    view: views.View of the images to craft on and of the perturbation that pastes. model: models.Model, on
    the device of the view. Each patch begins as noise and takes `steps` steps of Adam that raise the
    cross-entropy of batches of images; where it lies on each is drawn anew in every step (expectation over
    transformations). As in jhayes14/adversarial-patch, only images take part that the model gets right: the
    others are wrong already. Computed in float32; on a CPU, the same bytes each time.
    Raises ValueError if there are none, or if gradients are no numbers.
    """
    rows = right(view, model, batch_images)
    logging.info("%d of %d images are classified rightly and crafted on", len(rows), len(view.data.labels))
    if not len(rows):
        raise ValueError(
            f"the model gets none of the images of {view.dataset} right: no patch could make it wrong"
        )
    found = {}
    with jobs.progress(total=len(shares) * len(seeds) * steps, unit="step") as bar:
        for share in shares:
            for seed in seeds:
                kept = Path(store, f"{share:g}-{seed}.safetensors")
                if not kept.exists():
                    patch = ascend(view, model, rows, share, seed, steps, batch_images, bar.update)
                    with files.whole(kept) as temporary:
                        save_file({"patch": patch.detach().cpu()}, temporary)
                with files.reading(kept):
                    found[key(share, seed)] = load_file(kept)["patch"]
    return found


def right(view, model, batch_images):
    """The rows of the images that a model gets right: int64 array."""
    total, hits = len(view.data.labels), []
    for first in range(0, total, batch_images):
        batch = view.batch(first, min(first + batch_images, total))
        with torch.inference_mode():
            hits.append((model(batch.images).argmax(1) == batch.labels).cpu().numpy())
    return np.concatenate(hits).nonzero()[0]


def ascend(view, model, rows, share, seed, steps, batch_images, advance):
    """One patch, crafted on some rows of a dataset: float32 [3, side, side] on the device."""
    patch = start(share, seed, *view.data.shape[-2:], view.device).requires_grad_()
    optimizer = torch.optim.Adam([patch], LEARNING_RATE, maximize=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    before = told(view, model, rows, share, seed, patch, batch_images)
    for step, chosen in enumerate(batches(view, rows, seed, steps, batch_images), 1):
        loss = cross_entropy(*attacked(view, model, chosen, share, seed, patch, step))
        optimizer.zero_grad()
        loss.backward()
        if not patch.grad.isfinite().all():
            raise ValueError(f"gradients are no numbers in step {step} of the patch {share:g}, seed {seed}")
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            patch.clamp_(0, 1)
        advance()
    after = told(view, model, rows, share, seed, patch, batch_images)
    logging.info("share %g, seed %d, before: %s; after %d steps: %s", share, seed, before, steps, after)
    return patch


def attacked(view, model, rows, share, seed, patch, step):
    """Logits and labels of some images with a patch on each: float32 [N, classes], through which gradients of
    the patch flow, and int64 [N]. step: what decides, with seed and image, where the patch lies.
    """
    batch = gathered(view, rows)
    keys = [noise.key(seed, view.dataset, path, f"{view.perturbation}/{step}") for path in batch.paths]
    uniform = noise.uniform(torch.tensor(keys, device=view.device), view.module.NOISE)
    given = {"model": model, "noise": uniform, "patches": {key(share, seed): patch}}
    return model(view.call("apply", batch, share, seed, **given)), batch.labels


def batches(view, rows, seed, steps, batch_images):
    """The rows of each step's batch, int64 [steps, images]: shuffled passes over all rows, end to end."""
    images = min(batch_images, len(rows))
    passes = []
    for number in range(-(-steps * images // len(rows))):
        name = f"{view.perturbation}/pass {number}"
        keys = [noise.key(seed, view.dataset, view.data.paths[row], name) for row in rows]
        passes.append(rows[noise.uniform(torch.tensor(keys), 1)[:, 0].argsort(stable=True).numpy()])
    return np.concatenate(passes)[: steps * images].reshape(steps, images)


def gathered(view, rows):
    """Some images of a dataset, in any order, as a views.Batch."""
    single = [view.batch(row, row + 1) for row in rows]
    images, labels = torch.cat([one.images for one in single]), torch.cat([one.labels for one in single])
    return Batch(images, labels, [path for one in single for path in one.paths], {})


@torch.no_grad()
def told(view, model, rows, share, seed, patch, batch_images):
    """What a patch does to some of the images that it is crafted on, at places of their own, in words."""
    rows = rows[:: math.ceil(len(rows) / CHECKED_IMAGES)]
    parts = np.array_split(rows, math.ceil(len(rows) / batch_images))
    logits, labels = zip(*(attacked(view, model, p, share, seed, patch, "check") for p in parts), strict=True)
    logits, labels = torch.cat(logits), torch.cat(labels)
    top1 = (logits.argmax(1) == labels).float().mean()
    return f"cross-entropy {cross_entropy(logits, labels):.3f}, top-1 {top1:.1%}"
