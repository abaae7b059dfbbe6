"""Pictures of what the models saw."""

import numpy as np
from PIL import Image

GAP_PIXELS = 4


def sheet(view, levels, seed, images=4):
    """A few images, spread over the dataset, as rows, seen at every level as columns (a PIL image)."""
    total = len(view.data.labels)
    rows = []
    for row in dict.fromkeys(i * total // images for i in range(images)):
        image, drawn = view.images(row, row + 1), view.draw(seed, row, row + 1)
        rows.append([view.perturb(image, level, drawn)[0][0].permute(1, 2, 0).numpy() for level in levels])
    height, width = rows[0][0].shape[:2]
    tall, wide = height + GAP_PIXELS, width + GAP_PIXELS
    canvas = np.ones((len(rows) * tall - GAP_PIXELS, len(levels) * wide - GAP_PIXELS, 3), np.float32)
    for i, row in enumerate(rows):
        for j, seen in enumerate(row):
            canvas[i * tall : i * tall + height, j * wide : j * wide + width] = seen
    return Image.fromarray((canvas * 255).round().astype(np.uint8))
