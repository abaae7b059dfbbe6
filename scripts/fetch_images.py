"""A split of a set that torchvision knows, to an image folder of links and its index."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import files, sources

dataset = snakemake.params.dataset
# No parameter: what may be downloaded decides no image.
download = snakemake.config["datasets"][snakemake.wildcards.dataset].get("download", False)
with files.whole(Path(snakemake.output.index).parent) as folder:
    sources.fetch(
        *(dataset["fetch"], str(dataset["split"]), dataset["root"], folder),
        listed=snakemake.input.get("listed"),
        download=download,
    )
