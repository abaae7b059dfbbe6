"""The decoder of a stylizer from a URL, to a .safetensors."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import fetching, files
from patchwork.urls import UNKNOWN

name, entry = snakemake.wildcards.stylizer, snakemake.params.stylizer
with files.whole(snakemake.output[0]) as path:
    sha256 = fetching.fetch_decoder(entry, path)
if entry.get("sha256") == UNKNOWN:
    print(f"sha256: {sha256}  # of stylizers.{name}, {entry['decoder']}", file=jobs.terminal)
