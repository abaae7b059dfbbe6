"""What a measure has kept of a few images, of one model or of several side by side, to a picture."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import files, measuring, sheets

picture, told = measuring.picture(
    snakemake.wildcards.measure, dict(zip(snakemake.params.models, snakemake.input, strict=True))
)
with files.whole(snakemake.output[0]) as path:
    sheets.save(path, picture, **told)
