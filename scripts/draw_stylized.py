"""A few images of a stylized dataset beside their contents and styles."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import files, stylizing

given = snakemake.input
sheet = stylizing.sheet(given.index, given.images, given.contents, given.styles, snakemake.params.pixels)
with files.whole(snakemake.output[0]) as path:
    sheet.save(path, "WEBP", quality=90)
