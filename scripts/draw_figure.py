"""A figure's query and chart to one Vega-Lite specification, and to files for print."""

from patchwork import jobs

jobs.start(snakemake)

import json

from patchwork import figures, files, printing

text = figures.draw(snakemake.input.figure, snakemake.input.warehouse, snakemake.params.caption)
written = {"json": text.encode(), **printing.versions(json.loads(text))}
for kind, output in snakemake.output.items():
    with files.whole(output) as path:
        path.write_bytes(written[kind])
