"""Ranks of tiles by saliency and true masks to the Jaccard index of every image."""

from patchwork import jobs

jobs.start(snakemake)

import pyarrow.parquet as pq

from patchwork import files, foreground

given = snakemake.input
scores = foreground.score(
    given.saliency,
    given.index,
    given.folder,
    given.get("columns"),
    snakemake.wildcards.dataset,
    snakemake.params.pixels,
)
with files.whole(snakemake.output[0]) as path:
    pq.write_table(scores, path, compression="zstd")
