"""Pieces of HTML that several sections are made of."""

import base64
import io
import json
from html import escape

from PIL import Image

NUMBER = ' class="number"'


def in_script(value):
    """JSON that cannot end the script element it stands in, whatever its strings say."""
    return json.dumps(value).replace("<", "\\u003c")


def count(number, one, many=None):
    """'1 image', '2 images'."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def facts(known, more=""):
    """A list of facts. known: {name: words}, those without words left out. more: HTML of others."""
    told = (f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in known.items() if value)
    return f"<dl>{''.join(told)}{more}</dl>"


def heading(title):
    """The title of a column, with '#' in front if it holds numbers, '?' if rows can be chosen by what it
    holds."""
    kind = {"#": NUMBER, "?": " data-choose"}.get(title[0], "")
    return f'<th scope="col"{kind}>{escape(title.lstrip("#?"))}</th>'


def table(caption, titles, rows):
    """A table. titles: of its columns, see `heading`. rows: lists of strings."""
    return framed(caption, titles, (row(titles, map(escape, cells)) for cells in rows))


def framed(caption, titles, rows):
    """A table that scrolls in a region of its own. titles: of its columns, see `heading`. rows: see `row`."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{''.join(map(heading, titles))}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(titles, cells, attributes=""):
    """A row of a table. titles: of its columns, see `heading`. cells: HTML."""
    told = "".join(
        f"<td{NUMBER * title.startswith('#')}>{cell}</td>" for title, cell in zip(titles, cells, strict=True)
    )
    return f"<tr{attributes}>{told}</tr>"


def img(text, data):
    """A picture, the bytes of a WebP file, in the page itself."""
    width, height = Image.open(io.BytesIO(data)).size
    source = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{text}" width="{width}" height="{height}" loading="lazy" src="{source}">'
