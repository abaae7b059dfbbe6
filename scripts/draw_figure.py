"""A figure's query and chart to one Vega-Lite specification."""

from patchwork import jobs

jobs.start(snakemake)

import runpy

from patchwork import files, theme, warehouse

figure = runpy.run_path(snakemake.input.figure)
chart = figure["chart"](warehouse.query(snakemake.input.warehouse, figure["SQL"]))
with files.whole(snakemake.output[0]) as path:
    path.write_text(theme.specification(chart, snakemake.params.caption), encoding="utf-8")
