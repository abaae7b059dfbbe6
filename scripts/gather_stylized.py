"""Stylized images in a store to an image folder with masks and an index."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import files, stylizing

given, params = snakemake.input, snakemake.params
columns, listed = given.get("columns"), (given.get("contents_list"), given.get("styles_list"))
name = snakemake.wildcards.dataset
rows = stylizing.rows(name, given.contents, given.styles, columns, params.images, listed)
with files.whole(Path(snakemake.output.index).parent) as folder:
    stylizing.gather(rows, params.store, folder, given.contents, params.pixels, columns)
