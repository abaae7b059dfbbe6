"""Weights from the hub, a URL or a file, or random ones, to a .safetensors that fits its network."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import fetching, files

params = snakemake.params
with files.whole(snakemake.output[0]) as path:
    fetching.fetch(snakemake.wildcards.model, params.model, path, params.store)
