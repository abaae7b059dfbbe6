"""How much of the final features is left when patches are dropped?

Source: section 3.1 of the paper (table 1, figure 5), which correlates the features of an image, those that
the head sees, with those of the same image under random PatchDrop. It calls them random variables over all
images, and tells means and deviations; so the correlation is that of an image over the dimensions of its
features ("image"). What all images share raises it, so the mean correlation with the features of all other
images is told, too ("other"). Beside it stand the correlation of each dimension over the images
("dimension"), which a feature that never changes cannot raise, and linear CKA (Kornblith et al., ICML 2019;
"cka"), which compares what the features tell of the set of images, however they are turned or scaled; with
few images for many dimensions it is too high, but not with the unbiased estimator of HSIC (Song et al., JMLR
2012; "debiased"). The masks are those of the perturbation random_drop.
"""

import itertools

import numpy as np
import torch

from patchwork import grids, views
from patchwork.perturbations import random_drop

COLUMNS = {"kind": "string", "level": "float32", "seed": "int16", "index": "int32", "value": "float32"}
SETTINGS = {"grid": "14x14"}
LEVELS = [0.25, 0.5, 0.75]
PASSES_PER_SEED = 3
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
    """A row per kind, level, seed and image or dimension (`index`; null where one number is for all)."""
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
        of_images.append(sums.add(whole, dropped))
    found = {"image": torch.cat(of_images, 1)} | sums.found()
    parts = [rows(kind, values.cpu().numpy(), cells) for kind, values in found.items()]
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}, {}


def rows(kind, values, cells):
    """Values [cells, count] of a kind as columns of the table."""
    count = values.shape[1]
    level, seed = np.array(cells).T.repeat(count, axis=1)
    indexed = kind in ("image", "dimension")
    index = np.tile(np.arange(count), len(cells)) if indexed else np.full(values.size, np.nan)
    kinds = np.full(values.size, kind)
    return {"kind": kinds, "level": level, "seed": seed, "index": index, "value": values.flatten()}


def standardised(x):
    """Vectors less their mean, of length 1, so that products of them are Pearson's correlation over their
    dimensions: float64 [..., D]; NaN for one whose values are all the same."""
    mean = x.mean(-1, keepdim=True)
    squares = (x - mean).square().sum(-1, keepdim=True)
    varies = squares > x.shape[-1] * (mean * ROUNDING).square()
    return ((x - mean) / squares.sqrt()).where(varies, torch.nan)


class Sums:
    """What correlations over images are computed from, added up batch by batch: no features are kept.

    x: float64 [N, D], features of images; y: [cells, N, D], of the same in other ways. Sums of products are
    float64 [D, D], two of each cell: 0.6 GB for 2,048 dimensions and nine cells. All values are counted from
    those of the first image, so that no digits are lost where the mean is far from 0, and what is constant
    gives 0 exactly.
    """

    def __init__(self, x, y):
        self.x_first, self.y_first = x[0], y[:, :1]
        self.x, self.y = Moments(x), [Moments(x) for _ in y]
        self.xy = [Products(x) for _ in y]
        # Of standardised features, and how many images have some: for pairs of different images.
        self.directions = x.new_zeros(1 + len(y), x.shape[1])
        self.alike, self.known = y.new_zeros(len(y)), y.new_zeros(1 + len(y))
        self.both = y.new_zeros(len(y))

    def add(self, x, y):
        """Add images, and tell the correlation of each with itself in every cell: float64 [cells, N], NaN
        where one of the two does not vary."""
        directions = standardised(torch.cat([x[None], y]))
        correlations = (directions[0] * directions[1:]).sum(2)
        self.directions += directions.nan_to_num().sum(1)
        self.known += (~directions[..., 0].isnan()).sum(1)
        self.alike += correlations.nan_to_num().sum(1)
        self.both += (~correlations.isnan()).sum(1)
        x, y = x - self.x_first, y - self.y_first
        self.x.add(x)
        for moments, products, seen in zip(self.y, self.xy, y, strict=True):
            moments.add(seen)
            products.add(x, seen)
        return correlations

    def found(self):
        """{kind: float64 [cells, count]}, all but `image`; NaN where nothing varies."""
        cells = [self.cell(*of_cell) for of_cell in zip(self.y_first, self.y, self.xy, strict=True)]
        pairs = self.known[0] * self.known[1:] - self.both
        other = (self.directions[1:] @ self.directions[0] - self.alike) / pairs
        return {"other": other[:, None]} | {kind: torch.stack([c[kind] for c in cells]) for kind in cells[0]}

    def cell(self, y_first, y, xy):
        """What is found of one cell, from its sums: {kind: float64 [count]}."""
        x, images = self.x, self.x.images
        sizes = [
            images * (first + moments.sum / images).square()
            for first, moments in ((self.x_first, x), (y_first[0], y))
        ]
        covariances = [x.products.centred(x, x), y.products.centred(y, y), xy.centred(x, y)]
        squares = [covariance.diag() for covariance in covariances]
        varies = [square > size * ROUNDING**2 for square, size in zip(squares, sizes, strict=False)]
        of_dimensions = squares[2] / (squares[0] * squares[1]).sqrt()
        norms = [covariance.square().sum() for covariance in covariances]
        unbiased = [x.products.hsic(x, x), y.products.hsic(y, y), xy.hsic(x, y)]
        alike = {
            "cka": norms[2] / (norms[0] * norms[1]).sqrt(),
            "debiased": unbiased[2] / (unbiased[0] * unbiased[1]).sqrt(),
        }
        both_vary = varies[0].any() & varies[1].any()
        found = {"dimension": of_dimensions.where(varies[0] & varies[1], torch.nan)}
        return found | {kind: value.where(both_vary, torch.nan)[None] for kind, value in alike.items()}


class Moments:
    """Sums over images of features x (float64 [N, D]), of their squares and products."""

    def __init__(self, x):
        self.images, self.sum, self.squares = 0, x.new_zeros(x.shape[1]), x.new_zeros(())
        self.products = Products(x)

    def add(self, x):
        self.images += len(x)
        self.sum += x.sum(0)
        self.squares += x.square().sum()
        self.products.add(x, x)


class Products:
    """Sums over images of products of features x and y, float64 [N, D] both."""

    def __init__(self, x):
        width = x.shape[1]
        self.products = x.new_zeros(width, width)
        self.x_long, self.y_long = x.new_zeros(2, width)  # each times the squared length of the other
        self.lengths = x.new_zeros(())

    def add(self, x, y):
        x_length, y_length = x.square().sum(1), y.square().sum(1)
        self.products.addmm_(x.T, y)
        self.x_long += y_length @ x
        self.y_long += x_length @ y
        self.lengths += x_length @ y_length

    def centred(self, x, y):
        """Sums of products about the means. x, y: Moments."""
        return self.products - torch.outer(x.sum, y.sum) / x.images

    def hsic(self, x, y):
        """The unbiased estimator of HSIC with linear kernels (equation 5 of Song et al.), times n (n - 3).

        There it is written with kernel matrices of zero diagonal; here with what their sums come to.
        """
        n = x.images
        trace = self.products.square().sum() - self.lengths
        total = (x.sum @ x.sum - x.squares) * (y.sum @ y.sum - y.squares)
        rows = x.sum @ self.products @ y.sum - x.sum @ self.x_long - y.sum @ self.y_long + self.lengths
        return trace + total / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
