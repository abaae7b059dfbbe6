"""An encoder, contents and styles to the decoder of a stylizer."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import adain, checkpoints, files, folders, models, stylizing

given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.stylizer
entry, metrics, keeper = params.stylizer, {}, checkpoints.Keeper(params.store)
model = models.place(models.build(params.model, given.weights), params.compute)
encoder = adain.Encoder(model, entry["layers"])
if given.get("decoder"):
    decoder = adain.decoder(encoder, given.decoder)
else:
    contents = folders.listing(given.contents, params.images[0], given.get("contents_list"))
    styles = folders.below(given.styles, given.get("styles_list"))
    sources = (given.contents, [path for _, path in contents]), (given.styles, styles)
    how = params.pixels, snakemake.threads, keeper, params.origin
    decoder, metrics = stylizing.train(encoder, name, entry, *sources, *how)
with files.whole(snakemake.output[0]) as path:
    models.save(path, decoder.state_dict(), metrics=metrics)
keeper.done()
