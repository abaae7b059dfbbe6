"""A split of a set that torchvision knows, to an image folder of links and its index."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

import yaml

from patchwork import files, inventory, sources

dataset, name = snakemake.params.dataset, snakemake.wildcards.dataset
# No parameters: what may be downloaded, and how much it should be, decide no image.
entry = snakemake.config["datasets"][name]
expected = yaml.safe_load(Path(snakemake.input.published).read_text()).get(entry.get("expects"), {})
with files.whole(Path(snakemake.output.index).parent) as folder:
    sources.fetch(
        *(dataset["fetch"], str(dataset["split"]), dataset["root"], folder),
        listed=snakemake.input.get("listed"),
        download=entry.get("download", False),
    )
    inventory.check_whole(entry, expected)
