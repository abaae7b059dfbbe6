"""A few packed images to a picture of them under every level of a perturbation."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import files, models, packed, sheets, views

data = packed.Packed(snakemake.input.images, snakemake.input.index)
where, params = snakemake.wildcards, snakemake.params
needs = {name: snakemake.input[name] for name in params.needs}
view = views.View(
    data, where.dataset, where.perturbation, where.variant, settings=params.settings, needs=needs
)
weights = snakemake.input.get("weights")
model = models.build(params.model[0], weights[0], data.classes) if weights else None
picture = sheets.sheet(view, params.levels, params.seed, model)
with files.whole(snakemake.output[0]) as path:
    picture.save(path, "WEBP", quality=90)
