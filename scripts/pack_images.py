"""An image folder to one array and its index."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import pixels

dataset = snakemake.params.dataset
packed, left_out = pixels.pack(
    snakemake.input.folder,
    snakemake.output.images,
    snakemake.output.index,
    snakemake.params.pixels,
    classes=snakemake.input.get("classes"),
    categories=snakemake.input.get("categories"),
    columns=snakemake.input.get("columns"),
    names=dataset.get("names"),
    images=dataset.get("images"),
    listed=snakemake.input.get("listed"),
    skip=dataset.get("corrupt") == "skip",
    threads=snakemake.threads,
)
