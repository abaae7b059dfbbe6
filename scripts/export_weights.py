"""The last checkpoint of a run to weights that models.build reads, what they are, and metrics."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import checkpoints, exporting

params, output = snakemake.params, snakemake.output
checkpoint = checkpoints.load(snakemake.input[0], params.origin)
exporting.export(checkpoint, params.facts, output.weights, output.facts, output.metrics)
