"""A model and images to what one measure finds."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import masked, measuring, models, packed

given, params, where = snakemake.input, snakemake.params, snakemake.wildcards
if folder := given.get("folder"):
    told = {key: given.get(key) for key in ("masks", "listed", "columns")}
    data = masked.Masked(folder, **told, **params.taken, threads=snakemake.threads)
else:
    data = packed.Packed(given.images, given.index)
names = (data.classes, data.categories) if params.labels else ()
model = models.place(models.build(params.model, given.weights, *names), params.compute)
subject = measuring.Subject(model, data, where.dataset, params.compute, params.settings, params.seeds)
measuring.measure(where.measure, subject, snakemake.output.table, snakemake.output.examples)
