"""Tokens of a model to classifiers that learn from a few images of other classes than its own."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import few_shot, packed, tokens

given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.few_shot
data = packed.Packed(given.images, given.index)
few_shot.few_shot(name, params.entry, tokens.Tokens(given.tokens), data, params.seeds, snakemake.output[0])
