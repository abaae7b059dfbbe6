"""Weights from the hub, a URL or a file, or random ones, to a .safetensors that fits its network."""

from patchwork import jobs

jobs.start(snakemake)

from tempfile import TemporaryDirectory

from patchwork import fetching, files

with files.whole(snakemake.output[0]) as path, TemporaryDirectory(dir=path.parent) as downloads:
    fetching.fetch(snakemake.wildcards.model, snakemake.params.model, path, downloads)
