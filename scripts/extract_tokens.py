"""A model and packed images to the tokens of every block."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import measuring, models, packed, tokens

given, params, dataset = snakemake.input, snakemake.params, snakemake.wildcards.dataset
data = packed.Packed(given.images, given.index)
model = models.place(models.build(params.model, given.weights), params.compute)
subject = measuring.Subject(model, data, dataset, params.compute, settings={}, seeds=())
tokens.extract(subject, snakemake.output.tokens)
