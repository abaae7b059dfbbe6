"""Pictures of what the models saw."""

import json

import numpy as np
import torch
from PIL import ExifTags, Image

GAP_PIXELS = 4


def first_that_can(view, levels, models):
    """The first model that the perturbation of `view` does not refuse, (name, models.Model), or ("", None).
    models: {name: function that builds it}."""
    for name, build in models.items():
        model = build()
        if not view.refusal(levels[1], model):
            return name, model
    return "", None


def sheet(view, levels, seed, model=None, images=4):
    """A few images, spread over the dataset, as rows, seen at every level as columns (a PIL image).

    model: models.Model, for a perturbation that asks for one; what it refuses stays white. A perturbation
    that changes a model instead of images tells by `shown` what to draw.
    """
    total = len(view.data.labels)
    rows = []
    for row in dict.fromkeys(i * total // images for i in range(images)):
        batch = view.batch(row, row + 1)
        seen = [see(view, batch, level, seed, model)[0] for level in levels]
        rows.append([image.permute(1, 2, 0).cpu().numpy() for image in seen])
    return tiled(rows)


def tiled(rows):
    """Images side by side, rows below each other (a PIL image). rows: lists of float [H, W, 3] in [0, 1]."""
    height, width = rows[0][0].shape[:2]
    tall, wide = height + GAP_PIXELS, width + GAP_PIXELS
    canvas = np.ones((len(rows) * tall - GAP_PIXELS, len(rows[0]) * wide - GAP_PIXELS, 3), np.float32)
    for i, row in enumerate(rows):
        for j, seen in enumerate(row):
            canvas[i * tall : i * tall + height, j * wide : j * wide + width] = seen
    return Image.fromarray((canvas * 255).round().astype(np.uint8))


def see(view, batch, level, seed, model):
    """Images as a sheet draws them: float32 [N, 3, H, W]."""
    if hasattr(view.module, "MODEL") and (model is None or view.refusal(level, model)):
        return batch.images if level == view.module.LEVELS[0] else torch.ones_like(batch.images)
    if hasattr(view.module, "shown"):
        return view.call("shown", batch, level, seed, model=model)
    return view.perturb(batch, level, seed, model)[0]


def save(path, picture, **about):
    """Write a sheet as WebP, with what is to be told about it."""
    facts = Image.Exif()
    facts[ExifTags.Base.ImageDescription] = json.dumps(about)
    picture.save(path, "WEBP", quality=90, exif=facts)
