"""An encoder, contents and styles to the decoder of a stylizer."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import adain, files, folders, models, stylizing

given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.stylizer
entry, metrics = params.stylizer, {}
encoder = adain.Encoder(
    models.place(models.build(params.model, given.weights), params.compute), entry["layers"]
)
if given.get("decoder"):
    decoder = adain.decoder(encoder, given.decoder)
else:
    contents = [path for _, path in folders.listing(given.contents[0], params.images[0])]
    sources = (given.contents[0], contents), (given.styles[0], folders.below(given.styles[0]))
    decoder, metrics = stylizing.train(encoder, name, entry, *sources, params.pixels, snakemake.threads)
with files.whole(snakemake.output[0]) as path:
    models.save(path, decoder.state_dict(), metrics=metrics)
