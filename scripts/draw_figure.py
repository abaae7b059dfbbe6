"""A figure's query and chart to one Vega-Lite specification."""

from patchwork import jobs

jobs.start(snakemake)

from patchwork import figures, files

text = figures.draw(snakemake.input.figure, snakemake.input.warehouse, snakemake.params.caption)
with files.whole(snakemake.output[0]) as path:
    path.write_text(text, encoding="utf-8")
