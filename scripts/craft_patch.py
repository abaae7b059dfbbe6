"""A model and packed images to universal adversarial patches of every size and seed."""

from patchwork import jobs

jobs.start(snakemake)

from safetensors.torch import save_file

from patchwork import files, models, packed, patches, views

where, given, params = snakemake.wildcards, snakemake.input, snakemake.params
data = packed.Packed(given.images, given.index)
model = models.build(params.model, given.weights, data.classes, data.categories)
model = models.place(model, params.compute)
view = views.View(data, params.patches["data"], where.perturbation, where.model, model.mean.device)
steps, batch_images = params.patches["steps"], params.patches["batch_images"]
found = patches.craft(view, model, params.levels, params.seeds, steps, batch_images, params.store)
with files.whole(snakemake.output[0]) as path:
    save_file(found, path)
