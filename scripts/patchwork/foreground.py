"""How well the most salient tiles of an image agree with the true mask of its object."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from patchwork import files, grids, jobs, masked, noise, pixels

SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
SCORES = pa.schema(
    [
        ("image", pa.int32()),  # row in the packed images
        ("level", pa.float32()),  # share of the attention that the foreground holds at least
        ("jaccard", pa.float32()),  # of the foreground and the true mask
        ("random", pa.float32()),  # ... of as many tiles, chosen at random
    ]
)
BATCH_IMAGES = 64
ONE_CHANNEL = {"1", "L", "P", "I", "I;16", "F"}  # of PIL; in a palette 0 is a colour, but of no object


def score(ranks, index, folder, columns, dataset, view):
    """Jaccard indices of a dataset, a table of SCORES: a row per image and share, none for images that have
    no mask or where the mask shows no object.

    ranks: a .npy file (saliency.ranks). index: of the packed images; where it has a column `mask`, that is a
    picture of the size of the image, not 0 where the object is, its path relative to the folder of the
    CSV `columns`. folder: of the images. view: {resize, crop, interpolation} of the packed images; masks
    are resized by the nearest pixel.
    Raises ValueError or FileNotFoundError naming the mask at fault.
    """
    with files.reading(index):
        listed = pq.read_table(index).to_pylist()
    rows = [row for row in listed if row["image"] is not None and row.get("mask")]
    for row in rows:
        row["mask"] = Path(columns).parent / row["mask"]
        if not row["mask"].is_file():
            raise FileNotFoundError(f"{columns}: there is no mask {row['mask']} of {row['path']}")
    with files.reading(ranks):
        ranks = np.load(ranks, allow_pickle=False)
    transform = pixels.view(**(view | {"interpolation": "nearest"}))
    tables = [SCORES.empty_table()]
    with jobs.progress(total=len(rows), unit="image", desc="foreground") as bar:
        for first in range(0, len(rows), BATCH_IMAGES):
            some = rows[first : first + BATCH_IMAGES]
            objects = [read_mask(row["mask"], Path(folder, row["path"]), transform) for row in some]
            keys = [noise.key(0, dataset, row["path"], "foreground") for row in some]
            images = np.array([row["image"] for row in some])
            tables.append(scores(images, ranks[images], np.stack(objects), keys))
            bar.update(len(some))
    return pa.concat_tables(tables).combine_chunks()


def scores(images, ranks, objects, keys):
    """A table of SCORES. images: their rows, int64 [N]. ranks: float32 [N, rows, columns]. objects: bool
    [N, 1, H, W]. keys: of the images' random numbers."""
    grid, size, objects = ranks.shape[1:], objects.shape[-2:], torch.from_numpy(objects)
    order = noise.uniform(torch.tensor(keys), grid[0] * grid[1]).argsort(1).argsort(1)
    tables = []
    for share in SHARES:
        chosen = torch.from_numpy(ranks).flatten(1) < share
        random = order < chosen.sum(1, keepdim=True)
        agreement = [jaccard(grids.spread(tiles, *grid, *size), objects) for tiles in (chosen, random)]
        tables.append(pa.table([images, np.full(len(images), share), *map(np.asarray, agreement)], SCORES))
    shows_object = objects.flatten(1).any(1).numpy()
    return pa.concat_tables([table.filter(shows_object) for table in tables])


def jaccard(one, other):
    """Intersection over union of masks (bool [N, 1, H, W] that are not both empty): float64 [N]."""
    both, either = (one & other).sum((1, 2, 3)), (one | other).sum((1, 2, 3))
    return both.double() / either


def read_mask(path, image, transform):
    """The mask of an image file, upright, seen like the image: bool [1, H, W].

    Raises ValueError if it cannot be read or has not the size of the image.
    """
    mask = masked.opened(path, masked.upright_size(image), image)
    values = np.asarray(mask if mask.mode in ONE_CHANNEL else mask.convert("RGB"))
    inside = values.reshape(*values.shape[:2], -1).any(2)
    return np.asarray(transform(Image.fromarray(inside.astype(np.uint8))))[None] > 0
