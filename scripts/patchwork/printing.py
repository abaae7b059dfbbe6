"""Charts for print: as wide as a column of a journal, on white, with their rows as a table."""

import copy
import csv
import io
import re

import vl_convert

from patchwork import columns

COLUMN_MM, DOTS_PER_INCH = 85, 300
COLUMN_POINTS = COLUMN_MM / 25.4 * 72
# A chart is drawn in this width and scaled to a column's: the 12 pixels of most texts become 8 points.
COLUMN_PIXELS, NARROWEST_PANEL = 360, 60
NOTHING = {
    "width": COLUMN_PIXELS,
    "height": 40,
    "config": {"view": {"stroke": None}},
    "data": {"values": [{}]},
    "mark": {"type": "text", "text": columns.NOTHING, "fontSize": 12},
}


def versions(spec):
    """A chart as the files svg, pdf, png (DOTS_PER_INCH) and csv: bytes by these names.

    spec: a Vega-Lite specification with its rows (dict). One without rows becomes files that say so.
    """
    rows = columns.rows(spec)
    drawn = draw(in_column(spec) if rows else NOTHING)
    width, height = size(drawn)
    return {
        "svg": sized(drawn, f"{COLUMN_MM}mm", f"{COLUMN_MM * height / width:.3f}mm").encode(),
        # A pixel is a point there.
        "pdf": vl_convert.svg_to_pdf(sized(drawn, COLUMN_POINTS, COLUMN_POINTS * height / width)),
        "png": vl_convert.svg_to_png(drawn, scale=COLUMN_POINTS / width, ppi=DOTS_PER_INCH),
        "csv": table(rows).encode(),
    }


def in_column(spec):
    """The same chart with its panels beneath each other, no wider than a column whatever its names are."""
    spec = copy.deepcopy(spec)
    config = spec["config"]
    config["background"] = "white"
    config["title"] |= {"limit": COLUMN_PIXELS, "frame": "bounds"}
    config["header"]["labelLimit"] = COLUMN_PIXELS - 40
    config["legend"] |= {"columns": 2, "labelLimit": 130, "layout": {"top": {"direction": "vertical"}}}
    panel = spec.get("spec", spec)
    if "facet" in spec:
        spec["columns"] = 1
    spec.pop("autosize", None)
    panel["width"] = COLUMN_PIXELS
    # How much room the names of rows take is known when they are drawn.
    panel["width"] = max(NARROWEST_PANEL, 2 * COLUMN_PIXELS - size(draw(spec))[0])
    return spec


def draw(spec):
    """SVG of a chart, without asking any network."""
    return vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])


def size(svg):
    """Width and height in pixels."""
    [(width, height), *_] = re.findall(r'width="([\d.]+)" height="([\d.]+)"', svg)
    return float(width), float(height)


def sized(svg, width, height):
    """The same picture in another size."""
    return re.sub(r'width="[^"]*" height="[^"]*"', f'width="{width}" height="{height}"', svg, count=1)


def table(rows):
    """Rows as CSV, with the names of their columns above; a comment where there are none."""
    if not rows:
        return f"# {columns.NOTHING}\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
