"""The charts of the report, each with its caption and its numbers."""

import json
from html import escape
from pathlib import Path

from patchwork import columns, files
from patchwork.report import markup

FOR_PRINT = (
    "<p>For print, each chart lies as PDF, SVG and PNG, as wide as a column of a journal (85 mm), and its "
    "rows as CSV, in the folder <code>figures</code> beside this page.</p>"
)


def titles(figures):
    """Links to all charts by their titles; nothing without charts. figures: arguments of `figure`."""
    links = (f'<li><a href="#{escape(name)}">{escape(title(text))}</a></li>' for name, text, _ in figures)
    return bool(figures) * f'<ul class="titles">{"".join(links)}</ul>'


def title(caption):
    """The first line of a caption."""
    return caption.partition("\n\n")[0].rstrip(".")


def figure(name, caption, spec):
    """A chart's place, its caption, and the numbers that it shows."""
    key, heading = escape(name), escape(title(caption))
    parts = caption.split("\n\n")[1:]
    paragraphs = "".join(f"<p>{escape(' '.join(part.split()))}</p>" for part in parts)
    rows = columns.rows(spec)
    if not rows:
        text = f"<p>{columns.NOTHING}</p>"
        return f'<figure id="{key}"><h3>{heading}</h3><figcaption>{text}</figcaption></figure>'
    shown = {
        column: told
        for column, told in columns.SHOWN.items()
        if any(row.get(column) is not None for row in rows)
    }
    names = ["#" * bool(form) + told for told, form in shown.values()]  # numbers have formats
    numbers = [[columns.told(row[column], form) for column, (_, form) in shown.items()] for row in rows]
    details = (
        f"<details><summary>The numbers behind it ({len(rows):,} rows)</summary>"
        f"{markup.table(f'Numbers behind {name}', names, numbers)}</details>"
    )
    return (
        f'<figure id="{key}" aria-labelledby="{key}-title"><h3 id="{key}-title">{heading}</h3>'
        f'<div class="chart" id="chart-{key}" role="img" aria-labelledby="{key}-title"></div>'
        f'<p class="save">Save this chart as '
        f'<button type="button" data-save="png" data-of="{key}">PNG</button>'
        f'<button type="button" data-save="svg" data-of="{key}">SVG</button>'
        f'<button type="button" data-save="csv" data-of="{key}">CSV</button></p>'
        f"<figcaption>{paragraphs}</figcaption>{details * bool(shown)}</figure>"
    )


def read_json(path):
    with files.reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))
