"""The pictures of the report: what models saw, what they attend to, stylized images."""

import io
import json
from html import escape
from pathlib import Path

from PIL import ExifTags, Image

from patchwork import files
from patchwork.report import markup

SHEET_COLUMN_PIXELS = 56  # below that a tile of a sheet cannot be made out, and the sheet scrolls instead


def sheet(about, path):
    """A picture of a few images at every level, with the levels above its columns."""
    data, picture = read_picture(path)
    width, model = picture.width, told(picture).get("model")
    levels = [f"{level:g}" for level in about["levels"]]
    variant = "" if about["variant"] == "plain" else f", {about['variant'].replace('_', ' ')}"
    title = escape(f"{about['dataset']}: {about['perturbation'].replace('_', ' ')}{variant}")
    across = f"{about['axis']}: {', '.join(levels)}"
    text = escape(f"A few images of {about['dataset']}, one in each row; from left to right, {across}")
    by = f", seen by {escape(model)}" if model else ""
    smallest = len(levels) * SHEET_COLUMN_PIXELS
    return (
        f'<figure><h3>{title}</h3><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<div class="sheet" style="min-width:{smallest}px;max-width:{max(width, smallest)}px">'
        f'<div class="levels" aria-hidden="true">{"".join(f"<span>{level}</span>" for level in levels)}</div>'
        f"{markup.img(text, data)}</div></div>"
        f"<figcaption><p>Columns are levels ({escape(about['axis'])}); rows are a few images of "
        f"{escape(about['dataset'])}, the same at every level{by}. {escape(about['shows'])}</p>"
        "</figcaption></figure>"
    )


def example(about, path):
    """A picture of what a measure has seen in a few images, with names above its columns and beside its rows;
    nothing if it applied to no model. about: dict of dataset, measure, models and shows."""
    data, picture = read_picture(path)
    columns, rows = (told(picture).get(key, []) for key in ("columns", "rows"))
    if not rows:
        return ""
    title = escape(
        f"{about['dataset']}: {about['measure'].replace('_', ' ')} of {', '.join(about['models'])}"
    )
    text = escape(f"In rows: {', '.join(rows)}; from left to right: {', '.join(columns)}")
    smallest = len(columns) * SHEET_COLUMN_PIXELS
    across = "".join(f"<span>{escape(name)}</span>" for name in columns)
    down = "".join(f"<span>{escape(name)}</span>" for name in rows)
    return (
        f'<figure><h3>{title}</h3><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<div class="example" style="min-width:{smallest}px;max-width:{max(picture.width, smallest)}px">'
        f'<div class="levels" aria-hidden="true">{across}</div>'
        f'<div class="rows" aria-hidden="true">{down}</div>'
        f"{markup.img(text, data)}</div></div>"
        f"<figcaption><p>{escape(about['shows'])}</p></figcaption></figure>"
    )


def stylization(dataset, entry, path):
    """A picture of a few contents, styles and results."""
    data, picture = read_picture(path)
    width = picture.width
    columns, alpha = ("content", "style", "result"), f"{entry['alpha']:g}"
    text = escape(
        f"A few images of {dataset}, one in each row; from left to right, the content, the style, and the "
        "content in that style"
    )
    return (
        f'<figure><h3>{escape(dataset)}</h3><div class="sheet" style="max-width:{2 * width}px">'
        f'<div class="levels" aria-hidden="true">{"".join(f"<span>{name}</span>" for name in columns)}</div>'
        f"{markup.img(text, data)}</div>"
        f"<figcaption><p>{escape(entry['stylize'])} in the styles of {escape(entry['styles'])}, by the "
        f"stylizer {escape(entry['stylizer'])} with alpha {alpha}: features of the content take the means "
        "and deviations of those of the style (AdaIN).</p></figcaption></figure>"
    )


def read_picture(path):
    """The bytes of an image file, and the image (PIL)."""
    data = Path(path).read_bytes()
    with files.reading(path):
        picture = Image.open(io.BytesIO(data))
        picture.load()
    return data, picture


def told(picture):
    """What sheets.save has written into a picture about itself."""
    return json.loads(picture.getexif().get(ExifTags.Base.ImageDescription, "{}"))
