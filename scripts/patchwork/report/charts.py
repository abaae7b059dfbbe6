"""The charts of the report, each with its caption and its numbers."""

import json
from html import escape
from pathlib import Path

from patchwork import files
from patchwork.report import markup

# The columns of a figure's rows that its table shows, with their titles and formats.
SHOWN = {
    "panel": ("shown", "{}"),
    "crafted_on": ("crafted on", "{}"),
    "model": ("model", "{}"),
    "other": ("and", "{}"),
    "class_name": ("shape", "{}"),
    "level": ("level", "{:g}"),
    "kind": ("foreground", "{}"),
    "trained_on": ("trained on", "{}"),
    "head": ("head", "{}"),
    "epoch": ("epoch", "{:d}"),
    "block": ("block", "{:d}"),
    "tokens": ("tokens", "{}"),
    "token": ("token", "{}"),
    "seen": ("images are", "{}"),
    "cosine": ("mean cosine", "{:.3f}"),
    "deviation": ("standard deviation", "{:.3f}"),
    "lowest": ("5 % of images below", "{:.3f}"),
    "highest": ("95 % below", "{:.3f}"),
    "distance_pixels": ("mean distance, pixels", "{:.1f}"),
    "deviation_pixels": ("standard deviation, pixels", "{:.1f}"),
    "mean_pixels": ("mean over heads, pixels", "{:.1f}"),
    "class_group": ("group", "{}"),
    "classes": ("classes", "{:,}"),
    "correlation": ("mean correlation", "{:.3f}"),
    "correlation_low": ("95 % from", "{:.3f}"),
    "correlation_high": ("to", "{:.3f}"),
    "correlation_deviation": ("standard deviation", "{:.3f}"),
    "constant": ("without a correlation", "{:,}"),
    "value": ("value", "{:.4g}"),
    "answer": ("answer", "{}"),
    "answered": ("share of images", "{:.1%}"),
    "shape_bias": ("shape bias", "{:.1%}"),
    "kappa": ("kappa", "{:.3f}"),
    "jaccard": ("mean Jaccard index", "{:.1%}"),
    "random": ("random patches", "{:.1%}"),
    "corruption": ("corruption", "{}"),
    "error": ("error", "{:.1%}"),
    "lost": ("pixels lost", "{:.1%}"),
    "visible_fraction": ("patches visible", "{:.1%}"),
    "attended": ("attention on them", "{:.1%}"),
    "top1": ("top-1", "{:.1%}"),
    "low": ("95 % from", "{:.1%}"),
    "high": ("to", "{:.1%}"),
    "natural_top1": ("top-1 on natural images", "{:.1%}"),
    "natural_low": ("95 % from", "{:.1%}"),
    "natural_high": ("to", "{:.1%}"),
    "decided": ("decided images", "{:,}"),
    "class_mean": ("mean over classes", "{:.1%}"),
    "class_mean_low": ("95 % from", "{:.1%}"),
    "class_mean_high": ("to", "{:.1%}"),
    "people": ("humans", "{}"),
    "human_bias": ("their shape bias", "{:.1%}"),
    "human_low": ("95 % from", "{:.1%}"),
    "human_high": ("to", "{:.1%}"),
    "agreed": ("agree on", "{:.1%}"),
    "expected": ("by chance", "{:.1%}"),
    "seed_spread": ("spread over seeds", "{:.2%}"),
    "state": ("tokens", "{}"),
    "share": ("share of them", "{:.1%}"),
    "tokens_lost": ("tokens lost", "{:.1%}"),
    "tokens_cut": ("tokens cut", "{:.1%}"),
    "difference": ("to the reference", "{:+.1%}"),
    "difference_low": ("95 % from", "{:+.1%}"),
    "difference_high": ("to", "{:+.1%}"),
    "relative": ("of untouched", "{:.1%}"),
    "fall": ("points lost", "{:.1f}"),
    "ce": ("CE", "{:.1f}"),
    "relative_ce": ("relative CE", "{:.1f}"),
    "normaliser": ("100 is", "{}"),
    "source": ("source", "{}"),
    "images": ("images", "{:,}"),
    "seeds": ("seeds", "{:d}"),
}


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
    rows = [row for values in spec.get("datasets", {}).values() for row in values]
    shown = [column for column in SHOWN if rows and column in rows[0]]
    numbers = [
        ["-" if row[column] is None else SHOWN[column][1].format(row[column]) for column in shown]
        for row in rows
    ]
    if not rows:
        text = "Nothing was measured that this figure could show."
        return f'<figure id="{key}"><h3>{heading}</h3><figcaption><p>{text}</p></figcaption></figure>'
    columns = [
        "#" * (SHOWN[column][1] != "{}") + SHOWN[column][0] for column in shown
    ]  # numbers have formats
    details = (
        f"<details><summary>The numbers behind it ({len(rows):,} rows)</summary>"
        f"{markup.table(f'Numbers behind {name}', columns, numbers)}</details>"
    )
    return (
        f'<figure id="{key}" aria-labelledby="{key}-title"><h3 id="{key}-title">{heading}</h3>'
        f'<div class="chart" id="chart-{key}" role="img" aria-labelledby="{key}-title"></div>'
        f'<p class="save">Save this chart as '
        f'<button type="button" data-save="png" data-of="{key}">PNG</button>'
        f'<button type="button" data-save="svg" data-of="{key}">SVG</button></p>'
        f"<figcaption>{paragraphs}</figcaption>{details * bool(shown)}</figure>"
    )


def read_json(path):
    with files.reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))
