"""Tokens of a model to linear classifiers of other classes than its own."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import models, packed, probing, tokens

given, params = snakemake.input, snakemake.params
read = zip(given.tokens, given.images, given.index, strict=True)
found = [(tokens.Tokens(path), packed.Packed(images, index)) for path, images, index in read]
sets = dict(zip(params.parts, found, strict=True))
model = models.place(models.build(params.model, given.weights), params.compute)
transfer, result = snakemake.wildcards.transfer, snakemake.output[0]
probing.probe(model, sets, transfer, params.shares, params.compute, result)
