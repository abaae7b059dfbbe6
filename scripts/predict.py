"""A model and packed images to a strip of predictions."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import models, packed, strips

where, params = snakemake.wildcards, snakemake.params
data = packed.Packed(snakemake.input.images, snakemake.input.index)
model = models.build(params.model, snakemake.input.weights, data.classes, data.categories)
model = models.place(model, params.compute)
strip = strips.Strip(
    model,
    data,
    where.dataset,
    where.perturbation,
    where.variant,
    params.compute,
    settings=params.settings,
    needs={name: snakemake.input[name] for name in params.needs},
    needs_origin=params.needs,
)
cells = [tuple(cell) for cell in params.cells]
strips.evaluate(strip, cells, params.store, snakemake.output[0], params.code)
