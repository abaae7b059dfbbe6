"""The last checkpoint of a run to weights that models.build reads."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import files, models, training

checkpoint = training.load(snakemake.input[0])
with files.whole(snakemake.output[0]) as path:
    models.save(path, checkpoint["model"], classes=checkpoint["classes"])
