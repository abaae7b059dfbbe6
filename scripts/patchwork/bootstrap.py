"""Bootstrap intervals of shape bias and of error consistency, from counts: nothing loops over images.

To draw images again, with replacement, is to draw their counts from a multinomial distribution. Intervals
are 95 % percentile intervals; they draw from a generator that starts anew for each, so that equal counts give
equal intervals in any order.
"""

import numpy as np

DRAWS = 10_000
PERCENTILES = [2.5, 97.5]


def interval(draws):
    """[low, high] of a statistic, float [draws]; draws where it is NaN are left out. NaN if all are."""
    known = draws[~np.isnan(draws)]
    return np.percentile(known, PERCENTILES).tolist() if len(known) else [np.nan, np.nan]


def ratio(part, whole):
    """part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def biases(shape, texture):
    """Pooled and class-mean shape bias, float [...] each, of counts of decisions, int [..., classes].

    The class mean is over the classes of which an image was decided for its shape or texture.
    """
    each = ratio(shape, shape + texture)
    known = ~np.isnan(each)
    pooled = ratio(shape.sum(-1), (shape + texture).sum(-1))
    return pooled, ratio(np.where(known, each, 0).sum(-1), known.sum(-1))


def over_images(shape, texture, images):
    """Intervals of the pooled and of the class-mean shape bias, [low, high, low, high], when images are drawn
    again within their class. shape, texture, images: int [classes], decisions for each and images."""
    shape, texture, images = (np.asarray(counts, np.int64) for counts in (shape, texture, images))
    shares = np.stack([shape, texture, images - shape - texture], 1) / images[:, None]
    drawn = np.random.default_rng(0).multinomial(images, shares, (DRAWS, len(images)))
    return [end for draws in biases(drawn[..., 0], drawn[..., 1]) for end in interval(draws)]


def over_observers(shape, texture):
    """The same when observers are drawn again. shape, texture: int [observers, classes]."""
    shape, texture = np.asarray(shape, np.int64), np.asarray(texture, np.int64)
    drawn = np.random.default_rng(0).multinomial(len(shape), np.full(len(shape), 1 / len(shape)), DRAWS)
    return [end for draws in biases(drawn @ shape, drawn @ texture) for end in interval(draws)]


def kappa(table):
    """Cohen's kappa, float [...]; NaN where chance alone would make both agree on all.

    table: int [..., 4], images on which both are right, only the first, only the second, neither.
    """
    both, first, second, neither = np.moveaxis(np.asarray(table, float), -1, 0)
    images = both + first + second + neither
    right, other = (both + first) / images, (both + second) / images
    expected = right * other + (1 - right) * (1 - other)
    return ratio((both + neither) / images - expected, 1 - expected)


def kappa_interval(table):
    """[low, high] of kappa when images are drawn again. table: int [4]."""
    counts = np.asarray(table, np.int64)
    return interval(kappa(np.random.default_rng(0).multinomial(counts.sum(), counts / counts.sum(), DRAWS)))


def register(db):
    """Make the intervals known to a DuckDB connection, as functions of lists."""
    counts, doubles = "BIGINT[]", "DOUBLE[]"
    db.create_function("bias_over_images", over_images, [counts] * 3, doubles)
    db.create_function("bias_over_observers", over_observers, ["BIGINT[][]"] * 2, doubles)
    db.create_function("kappa_interval", kappa_interval, [counts], doubles)
