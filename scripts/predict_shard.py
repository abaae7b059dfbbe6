"""A model and a share of packed images to parts of a strip of predictions, in its store."""

from patchwork import jobs

jobs.start(snakemake, can_reuse=False)  # its result is in the store, not in its output

from patchwork import costs, files, strips

params, where = snakemake.params, snakemake.wildcards
strip = strips.of_job(snakemake.input, where, params)
cells = [tuple(cell) for cell in params.cells]
shard = int(where.shard), int(where.shards)
strips.evaluate_shard(strip, cells, params.store, params.strip, params.code, *shard)
costs.note(params.cost, strip, params.model, snakemake.threads)
with files.whole(snakemake.output[0]) as path:
    path.write_text(f"{strip.passes} passes in {strip.seconds:.0f} s\n")
