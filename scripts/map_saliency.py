"""A model's attention on packed images to the rank of every tile by saliency."""

from patchwork import jobs

jobs.start(snakemake)

import numpy as np

from patchwork import files, models, packed, saliency

params = snakemake.params
data = packed.Packed(snakemake.input.images, snakemake.input.index)
model = models.place(models.build(params.model, snakemake.input.weights), params.compute)
ranks = saliency.ranks(model, data, params.compute, params.head, params.grid)
with files.whole(snakemake.output[0]) as path, open(path, "wb") as array:
    np.save(array, ranks.numpy())
