"""Delete the stored cells that no given strip was assembled from."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import strips

strips.clear(snakemake.params.store, snakemake.input)
