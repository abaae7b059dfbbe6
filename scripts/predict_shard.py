"""A model and a share of packed images to parts of a strip of predictions, in its store."""

from patchwork import jobs

jobs.start(snakemake, can_reuse=False)  # its result is in the store, not in its output

from patchwork import costs, files, models, packed, strips

given, params, where = snakemake.input, snakemake.params, snakemake.wildcards
data = packed.Packed(given.images, given.index)
model = models.build(params.model, given.weights, data.classes, data.categories)
model, needs = models.place(model, params.compute), {name: given[name] for name in params.needs}
seen = where.dataset, where.perturbation, where.variant, params.compute, params.settings
strip = strips.Strip(model, data, *seen, needs=needs, needs_origin=params.needs)
cells = [tuple(cell) for cell in params.cells]
shard = int(where.shard), int(where.shards)
strips.evaluate_shard(strip, cells, params.store, params.strip, params.code, *shard)
costs.note(params.cost, strip, params.model, snakemake.threads)
with files.whole(snakemake.output[0]) as path:
    path.write_text(f"{strip.passes} passes in {strip.seconds:.0f} s\n")
