"""Predictions and indexes to one DuckDB file, which must pass every check."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import files, warehouse

given, params = snakemake.input, snakemake.params
kinds = {"predictions": given.predictions, "indexes": given.indexes, "published": given.published}
kinds |= {name: given.get(name, []) for name in ("foregrounds", "trainings")}  # Snakemake drops an empty list
asked = params.asked, params.reference, params.saliency
trained = params.trainings, params.stylized, params.decisions
sql = [Path(path).read_text() for path in given.marts], Path(given.checks).read_text()
with files.whole(snakemake.output[0]) as path:
    warehouse.build(path, kinds, *asked, *sql, snakemake.threads, snakemake.resources.mem_mb, *trained)
