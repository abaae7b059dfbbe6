"""Stylized images in a store to an image folder with masks and an index."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import files, stylizing

given, params = snakemake.input, snakemake.params
columns = given.get("columns")
rows = stylizing.rows(snakemake.wildcards.dataset, given.contents, given.styles, columns, params.images)
with files.whole(Path(snakemake.output.index).parent) as folder:
    stylizing.gather(rows, params.store, folder, given.contents, params.pixels, columns)
