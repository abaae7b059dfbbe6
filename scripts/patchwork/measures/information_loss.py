"""How much of the final features is left when patches are dropped?

Source: section 3.1 of the paper (table 1, figure 5), which correlates the features of an image, those that
the head sees, with those of the same image under random PatchDrop. It calls them random variables over all
images, and tells means and deviations; so the correlation is that of an image over the dimensions of its
features ("image"). Beside it stand the correlation of each dimension over the images ("dimension"), which a
feature that never changes cannot raise, and linear CKA (Kornblith et al., ICML 2019; "cka"), which compares
what the features tell of the set of images, however they are turned or scaled. The masks are those of the
perturbation random_drop.
"""

import itertools

import numpy as np
import torch

from patchwork import grids, views
from patchwork.perturbations import random_drop

COLUMNS = {"kind": "string", "level": "float32", "seed": "int16", "index": "int32", "value": "float32"}
SETTINGS = {"grid": "14x14"}
LEVELS = [0.25, 0.5, 0.75]
ROUNDING = 1e-6  # of a number: what varies less than that is the same number, as float32 computes it


def refuses(model):
    """It needs one vector of features of an image. Tried on one black image."""
    try:
        with torch.inference_mode():
            model.features(torch.zeros(1, 3, *model.size, device=model.mean.device))
    except ValueError as error:
        return str(error)
    return None


def measure(subject):
    """A row per kind, level, seed and image or dimension (`index`, null for CKA)."""
    if np.prod(grids.parse(subject.settings["grid"])) > random_drop.NOISE:
        raise ValueError(
            f"settings.information_loss.grid: {subject.settings['grid']} has more than "
            f"{random_drop.NOISE} tiles"
        )
    view = views.View(subject.data, subject.dataset, "random_drop", subject.settings["grid"], subject.device)
    cells = [(level, seed) for level in LEVELS for seed in subject.seeds]

    def look(first, last):
        batch = view.batch(first, last)
        dropped = (view.perturb(batch, *cell)[0] for cell in cells)  # one at a time, as they take memory
        seen = itertools.chain([batch.images], dropped)
        features = torch.stack([subject.model.features(images).float() for images in seen])
        features = subject.finite(features, first, last).double()
        return features[0], features[1:]

    batches = subject.each(look)
    first = next(batches)
    sums, of_images = Sums(*first), []
    for whole, dropped in itertools.chain([first], batches):
        sums.add(whole, dropped)
        of_images.append(pearson(whole, dropped))
    of_dimensions, cka = sums.found()
    found = {"image": torch.cat(of_images, 1), "dimension": of_dimensions, "cka": cka[:, None]}
    parts = [rows(kind, values.cpu().numpy(), cells) for kind, values in found.items()]
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}, {}


def rows(kind, values, cells):
    """Values [cells, count] of a kind as columns of the table."""
    count = values.shape[1]
    level, seed = np.array(cells).T.repeat(count, axis=1)
    index = np.full(values.size, np.nan) if kind == "cka" else np.tile(np.arange(count), len(cells))
    kinds = np.full(values.size, kind)
    return {"kind": kinds, "level": level, "seed": seed, "index": index, "value": values.flatten()}


def pearson(x, y):
    """The correlation of vectors over their last dimension: float64 [N, D], [cells, N, D] -> [cells, N]; NaN
    for a vector whose values are all the same."""
    centred = [values - values.mean(-1, keepdim=True) for values in (x, y)]
    squares = [values.square().sum(-1) for values in centred]
    sizes = [x.shape[-1] * values.mean(-1).square() for values in (x, y)]
    return correlation(centred[0].mul(centred[1]).sum(-1), *squares, *sizes)


def correlation(products, x_squares, y_squares, x_sizes, y_sizes):
    """From sums about the mean, and as many squares of that mean; NaN where one of both does not vary."""
    vary = (x_squares > x_sizes * ROUNDING**2) & (y_squares > y_sizes * ROUNDING**2)
    return (products / (x_squares * y_squares).sqrt()).where(vary, torch.nan)


class Sums:
    """What correlations over images are computed from, added up batch by batch: no features are kept.

    x: float64 [N, D], features of images; y: [cells, N, D], of the same in other ways. Sums of products are
    float64 [D, D], two of each cell: 0.6 GB for 2,048 dimensions and nine cells. All values are counted from
    those of the first image, so that no digits are lost where the mean is far from 0, and what is constant
    gives 0 exactly.
    """

    def __init__(self, x, y):
        cells, _, width = y.shape
        self.images, self.x_first, self.y_first = 0, x[0], y[:, :1]
        self.x, self.y = x.new_zeros(width), y.new_zeros(cells, width)
        self.xx = x.new_zeros(width, width)
        self.yy, self.xy = y.new_zeros(2, cells, width, width)

    def add(self, x, y):
        x, y = x - self.x_first, y - self.y_first
        self.images += len(x)
        self.x += x.sum(0)
        self.y += y.sum(1)
        self.xx.addmm_(x.T, x)
        for yy, xy, seen in zip(self.yy, self.xy, y, strict=True):
            yy.addmm_(seen.T, seen)
            xy.addmm_(x.T, seen)

    def found(self):
        """(the correlation of each dimension over the images [cells, D], linear CKA [cells]); NaN where
        nothing varies."""
        cells = [self.cell(*sums) for sums in zip(self.y_first, self.y, self.yy, self.xy, strict=True)]
        return tuple(map(torch.stack, zip(*cells, strict=True)))

    def cell(self, y_first, y, yy, xy):
        """The same of one cell, from its sums."""
        xx = self.xx - torch.outer(self.x, self.x) / self.images
        yy, xy = yy - torch.outer(y, y) / self.images, xy - torch.outer(self.x, y) / self.images
        sizes = [
            self.images * (first + total / self.images).square()
            for first, total in ((self.x_first, self.x), (y_first[0], y))
        ]
        of_dimensions = correlation(xy.diag(), xx.diag(), yy.diag(), *sizes)
        varies = [(s.diag() > size * ROUNDING**2).any() for s, size in zip((xx, yy), sizes, strict=True)]
        cka = xy.square().sum() / (xx.norm() * yy.norm())
        return of_dimensions, cka.where(varies[0] & varies[1], torch.nan)
