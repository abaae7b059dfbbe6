"""How large what is to be fetched is, told before it is fetched; more than the disks hold is refused."""

from patchwork import jobs

jobs.start(snakemake, can_reuse=False)

from pathlib import Path

from patchwork import downloads, files

params, made = snakemake.params, str(Path(snakemake.output[0]).parent)
found = downloads.once(downloads.look(params.models, params.stylizers, params.datasets, made))
rooms = downloads.disks(found)
print(downloads.table(found, rooms), file=jobs.terminal)
downloads.check_room(rooms)
with files.whole(snakemake.output[0]) as path:
    downloads.write(found, path)
