"""Weights from the hub, a URL or a file, or random ones, to a .safetensors that fits its network."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import fetching, files
from patchwork.urls import UNKNOWN

name, entry = snakemake.wildcards.model, snakemake.params.model
with files.whole(snakemake.output[0]) as path:
    sha256 = fetching.fetch(name, entry, path)
if entry.get("sha256") == UNKNOWN:
    print(f"sha256: {sha256}  # of models.{name}, {entry['weights']}", file=jobs.terminal)
