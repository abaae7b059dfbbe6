"""A few packed images to a picture of them under every level of a perturbation."""

from patchwork import jobs

jobs.start(snakemake)

from functools import partial

from patchwork import files, models, packed, sheets, views

given, params, where = snakemake.input, snakemake.params, snakemake.wildcards
data = packed.Packed(given.images, given.index)
needs = {name: given[name] for name in params.needs}
view = views.View(
    data, where.dataset, where.perturbation, where.variant, settings=params.settings, needs=needs
)
candidates = {
    name: partial(models.build, entry, weights, data.classes, data.categories)
    for (name, entry), weights in zip(params.models.items(), given.get("weights", []), strict=True)
}
name, model = sheets.first_that_can(view, params.levels, candidates)
picture = sheets.sheet(view, params.levels, params.seed, model)
with files.whole(snakemake.output[0]) as path:
    sheets.save(path, picture, model=name)
