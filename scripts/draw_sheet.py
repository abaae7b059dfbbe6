"""A few packed images to a picture of them under every level of a perturbation."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import files, packed, sheets, views

data = packed.Packed(snakemake.input.images, snakemake.input.index)
where = snakemake.wildcards
view = views.View(data, where.dataset, where.perturbation, where.variant)
picture = sheets.sheet(view, snakemake.params.levels, snakemake.params.seed)
with files.whole(snakemake.output[0]) as path:
    picture.save(path, "WEBP", quality=90)
