"""Predictions and indexes to one DuckDB file, which must pass every check."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import files, warehouse

given, params = snakemake.input, snakemake.params
marts, checks = Path(given.marts).read_text(), Path(given.checks).read_text()
limits = snakemake.threads, snakemake.resources.mem_mb
with files.whole(snakemake.output[0]) as path:
    warehouse.build(
        path,
        given.predictions,
        given.indexes,
        given.published,
        params.asked,
        params.reference,
        marts,
        checks,
        *limits,
        foregrounds=given.get("foregrounds", []),
        saliency=params.saliency,
    )
