"""Which images of a dataset are to learn from, to choose by and to test, where no folder says so."""

import numpy as np

from patchwork import noise


def split(paths, labels, name, fractions):
    """The rows of images that each part has, ascending: {"train": int64 [n], part: int64 [n], ...}.

    paths: of the images. labels: names of their classes. name: of the transfer. fractions: {part: share of
    the images of each class, above 0}, together less than 1; the rest is `train`. Shares are rounded, but
    every class has an image in every part. The part of an image hangs on the name, on its path and on the
    other images of its class, neither on their order nor on other classes.

    Raises ValueError naming a class that has fewer images than there are parts.
    """
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if (counts <= len(fractions)).any():
        least = int(counts.argmin())
        raise ValueError(
            f"transfer {name}: class {str(classes[least])!r} has {counts[least]} images, too few for one in "
            f"each part: train, {', '.join(fractions)}"
        )
    keys = np.array([noise.key(0, name, path, "split") for path in paths])
    order = np.lexsort((keys, codes))  # class after class
    place = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)  # in its class
    taken, rows, waiting = np.zeros_like(counts), {}, len(fractions)
    for part, share in fractions.items():
        # Parts that are still to come, and `train`, get an image of each class, too.
        last = taken + np.clip(np.rint(share * counts).astype(int), 1, counts - taken - waiting)
        inside = (place >= np.repeat(taken, counts)) & (place < np.repeat(last, counts))
        rows[part], taken, waiting = np.sort(order[inside]), last, waiting - 1
    return {"train": np.sort(order[place >= np.repeat(taken, counts)]), **rows}
