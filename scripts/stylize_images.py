"""A share of the images of a folder, each in the style of another image, into a store."""

from patchwork import jobs

jobs.start(snakemake, can_reuse=False)  # the images are in a store beside its output

from patchwork import adain, files, models, stylizing

given, params, where = snakemake.input, snakemake.params, snakemake.wildcards
model = models.place(models.build(params.model, given.weights), params.compute)
encoder = adain.Encoder(model, params.stylizer["layers"])
listed = given.get("contents_list"), given.get("styles_list")
rows = stylizing.rows(where.dataset, given.contents, given.styles, images=params.images, listed=listed)
rows = stylizing.shard(rows, int(where.shard), int(where.shards))
stylizing.adopt(rows, params.store, snakemake.config.get("reuse"))
made = stylizing.stylize(
    *(rows, params.store, encoder, adain.decoder(encoder, given.decoder)),
    *(given.contents, given.styles, params.pixels),
    alpha=params.dataset["alpha"],
    threads=snakemake.threads,
)
with files.whole(snakemake.output[0]) as path:
    path.write_text("".join(f"{name}\n" for name in made))
