"""Figures, tables and sheets to one page."""

from patchwork import jobs

jobs.start(snakemake)

from pathlib import Path

from patchwork import files
from patchwork.report import page

given, params = snakemake.input, snakemake.params
figures = [
    (name, text, spec) for (name, text), spec in zip(params.captions.items(), given.specs, strict=True)
]
sheets = list(zip(params.sheets, given.sheets, strict=True))
examples = list(zip(params.examples, given.examples, strict=True))
stylized = [(*told, path) for told, path in zip(params.stylized.items(), given.stylized, strict=True)]
template = Path(given.page).read_text(encoding="utf-8")
text = page.page(
    template, given.warehouse, figures, sheets, examples, stylized, params.missing, params.settings
)
with files.whole(snakemake.output[0]) as path:
    path.write_text(text, encoding="utf-8")
