"""A generated shape-texture dataset to an image folder, its masks and its index."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import files, shapes

name, dataset = snakemake.wildcards.dataset, snakemake.params.dataset
with files.whole(Path(snakemake.output.index).parent) as folder:
    shapes.draw(folder, name, dataset["draw"], dataset["images"], dataset["size"], snakemake.threads)
