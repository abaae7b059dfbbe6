"""Two warehouses to a table of all that they have in common, and a page of what moved."""

from patchwork import jobs

jobs.start(snakemake, can_reuse=False)

import runpy
from pathlib import Path

from pyarrow import csv

from patchwork import comparing, files
from patchwork.report import comparison

given, params = snakemake.input, snakemake.params
template, units = (Path(given[name]).read_text(encoding="utf-8") for name in ("page", "units"))
limits = snakemake.threads, snakemake.resources.mem_mb
rows = comparing.compare(given.before, given.after, units, *limits)
figure = runpy.run_path(given.figure)
text = comparison.write(template, rows, params.runs, figure["__doc__"], figure["chart"])
with files.whole(snakemake.output.cells) as path:
    csv.write_csv(rows, path)
with files.whole(snakemake.output.page) as path:
    path.write_text(text, encoding="utf-8")
print(comparison.told(rows), file=jobs.terminal)
