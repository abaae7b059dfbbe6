"""The report: one HTML page that holds all it needs, so it opens from a disk and without a network."""

import base64
import io
import json
import platform
import subprocess
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template

import vl_convert
import yaml
from PIL import ExifTags, Image

from patchwork import files, warehouse

PACKAGES = [
    *("snakemake", "torch", "torchvision", "timm", "numpy", "pillow", "pyarrow"),
    *("duckdb", "altair", "vl-convert-python"),
]
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
SHEET_COLUMN_PIXELS = 56  # below that a tile of a sheet cannot be made out, and the sheet scrolls instead


def page(template, path, figures, sheets, examples, stylized, lost, settings):
    """The whole page.

    template: HTML with $names. path: the warehouse. figures: (name, caption, path of its specification).
    sheets: (dict of dataset, perturbation, variant, axis and levels; path of the picture).
    examples: (dict of dataset, measure, models and shows; path of the picture).
    stylized: (dataset, entry of the config, path of the picture). lost: {file that is not there: last line of
    its log}. settings: the config as it was used.
    """
    with warehouse.reading(path) as db:
        tables = {
            name: db.sql(f"FROM {name}").to_arrow_table().to_pylist()
            for name in (
                *("datasets", "models", "findings", "tradeoff", "skipped", "refused", "measures"),
                "computations",
            )
        }
        seeds = [row[0] for row in db.sql("SELECT DISTINCT seed FROM asked ORDER BY seed").fetchall()]
    drawn = [(name, caption, read_json(spec)) for name, caption, spec in figures]
    sections = {
        "missing": ("Missing", missing(lost)),
        "findings": ("Findings", findings(tables["findings"])),
        "models": ("Models", models(tables["models"])),
        "tradeoff": ("Trade-off", tradeoff(tables["tradeoff"])),
        "figures": ("Figures", "".join(figure(*each) for each in drawn)),
        "sheets": ("What the models saw", "".join(sheet(*each) for each in sheets)),
        "examples": ("Inside the models", "".join(example(*each) for each in examples)),
        "stylized": ("Stylized images", "".join(stylization(*each) for each in stylized)),
        "refused": ("Not applicable", refused(tables["refused"], tables["measures"])),
        "skipped": ("Files left out", skipped(tables["skipped"])),
        "settings": ("Settings", configuration(settings)),
    }
    sections = {name: section for name, section in sections.items() if section[1]}
    return Template(template).substitute(
        summary=summary(tables, seeds),
        origin=origin([row["computed_with"] for row in tables["computations"]]),
        contents="".join(f'<li><a href="#{name}">{title}</a></li>' for name, (title, _) in sections.items()),
        sections="".join(
            f'<section id="{name}" aria-labelledby="{name}-title">'
            f'<h2 id="{name}-title">{title}</h2>{body}</section>'
            for name, (title, body) in sections.items()
        ),
        specifications="".join(
            f'<script type="application/json" data-figure="{escape(name)}">{in_script(spec)}</script>'
            for name, _, spec in drawn
        ),
        # Vega, Vega-Lite and vega-embed, once for all figures. Without a snippet it sets window.vegaEmbed.
        bundle=vl_convert.javascript_bundle(),  # ty: ignore[missing-argument]
    )


def in_script(value):
    """JSON that cannot end the script element it stands in, whatever its strings say."""
    return json.dumps(value).replace("<", "\\u003c")


def count(number, one, many=None):
    """'1 image', '2 images'."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def summary(tables, seeds):
    """What was run, in a sentence."""
    names = {row["model"] for kind in ("models", "measures") for row in tables[kind]}
    seen = {
        row["dataset"]: f"{row['dataset']} ({count(row['images'], 'image')}, "
        f"{count(row['classes'], 'class', 'classes')})"
        for row in tables["datasets"]
    }
    seen = {row["dataset"]: row["dataset"] for row in tables["measures"]} | seen
    listed = f"; seed{'s'[: len(seeds) != 1]} {', '.join(map(str, seeds))}" * bool(seeds)
    return escape(f"{count(len(names), 'model')} on {', '.join(seen.values())}{listed}.")


def origin(computations):
    """With what the predictions were computed; when and with what the page was made."""
    several = " Not all with the same software or on the same device." * (len(computations) > 1)
    told = f"Predictions computed with {'; '.join(computations)}.{several} " * bool(computations)
    made = f"Page made on {datetime.now(UTC):%Y-%m-%d at %H:%M} UTC"
    commit = git_commit()
    return escape(f"{told}{made}{f', commit {commit}' if commit else ''}, with {', '.join(versions())}.")


def versions():
    """Python and the packages that are installed here, with their versions."""
    yield f"Python {platform.python_version()}"
    for name in PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:  # environments hold what their rules need
            continue


def git_commit():
    """The commit of the code, with '-dirty' if files were changed since; '' outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def table(caption, titles, rows):
    """A table. titles: of its columns, with '#' in front if they hold numbers. rows: lists of strings."""
    classes = [' class="number"' if title.startswith("#") else "" for title in titles]
    head = "".join(
        f'<th scope="col"{kind}>{escape(title.lstrip("#"))}</th>'
        for kind, title in zip(classes, titles, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(classes, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def models(rows):
    """What each model knows of the untouched images, and a plain word where that is nothing."""
    titles = [
        "model",
        "family",
        "dataset",
        "#top-1",
        "#95 % interval",
        "#images",
        "#chance",
        "against chance",
    ]
    cells = [
        [
            *(row["model"], row["model_family"], row["dataset"], f"{row['top1']:.1%}"),
            *(f"{row['low']:.1%} to {row['high']:.1%}", f"{row['images']:,}", f"{row['chance']:.1%}"),
            row["against_chance"],
        ]
        for row in rows
    ]
    guessing = ", ".join(
        f"{row['model']} on {row['dataset']}"
        for row in rows
        if row["perturbed"] and row["against_chance"] == "not told apart"
    )
    warning = (
        f'<p class="warning"><strong>Not told apart from chance:</strong> {escape(guessing)}. What such a '
        "model loses to a perturbation cannot be seen, so its curves say nothing about robustness.</p>"
    )
    return (
        "<p>Accuracy on untouched images, with a 95 % Wilson interval over images. Chance is what always "
        "naming the most frequent class would score; a model is above or below it if its whole interval is. "
        "Below means that it goes by something other than the label: where cues disagree, another cue.</p>"
        + warning * bool(guessing)
        + table("Accuracy on untouched images", titles, cells)
    )


def findings(rows):
    """What the trainings show, a statement a row; nothing if there is nothing to compare."""
    titles = ["statement", "of", "verdict", "numbers"]
    cells = [[row["claim"], row["about"], row["verdict"], row["numbers"]] for row in rows]
    return bool(rows) * (
        "<p>Statements about shape, texture and training, each decided by its numbers alone. Intervals "
        "are 95 % intervals over images: Wilson's, and of the mean for Jaccard indices. A verdict is yes or "
        "no only where the intervals are apart; else the images cannot tell. Nothing is corrected for the "
        "number of rows, and every network was trained once, so a verdict is about these networks. Shape "
        "bias (Geirhos et al. 2019) is the share of decisions for the shape among those for shape or "
        "texture, where the two disagree. A texture counts as hidden if it is answered less often than "
        "before and than 1.5 times by chance.</p>" + table("Findings", titles, cells)
    )


def tradeoff(rows):
    """What shape bias costs: a table for each dataset of disagreeing images, with a row for each model, of a
    distilled one for each token; nothing if none was measured."""
    tables = {}
    for row in rows:
        tables.setdefault((row["dataset"], row["natural_images"], row["stylized_images"]), []).append(row)
    return bool(rows) * (
        "<p>What shape bias costs: top-1 on natural and on stylized images beside the shape bias, each token "
        "of a distilled network scored alone. The shape bias is that over all images that were decided for "
        "shape or texture; its mean over classes lets every class count alike, however many of its images "
        "were. In brackets are 95 % intervals over images: Wilson's, and by bootstrap for the mean. A dash "
        "stands where nothing was measured.</p>"
        + "".join(tradeoff_of(*datasets, those) for datasets, those in tables.items())
    )


def tradeoff_of(conflict, natural, stylized, rows):
    """The table of one dataset of disagreeing images."""

    def share(row, name, low, high):
        if row[name] is None:
            return "-"
        told = f"{100 * row[name]:.1f}"
        return f"{told} ({100 * row[low]:.0f} to {100 * row[high]:.0f})" if row[low] is not None else told

    titles = ["model", "token", "trained on", "teacher"]
    titles += [f"#top-1 on {dataset}, %" for dataset in (natural, stylized) if dataset]
    titles += ["#shape bias, %", "#mean over classes, %"]
    cells = [
        [
            row["model"],
            *(row[name] or "-" for name in ("head", "trained_on", "teacher")),
            *[share(row, "natural_top1", "natural_low", "natural_high")] * bool(natural),
            *[share(row, "stylized_top1", "stylized_low", "stylized_high")] * bool(stylized),
            share(row, "shape_bias", "low", "high"),
            share(row, "class_mean", "class_mean_low", "class_mean_high"),
        ]
        for row in rows
    ]
    return f"<h3>{escape(conflict)}</h3>" + table(f"Trade-off on {conflict}", titles, cells)


def figure(name, caption, spec):
    """A chart's place, its caption, and the numbers that it shows."""
    title, _, text = caption.partition("\n\n")
    key, title = escape(name), escape(title.rstrip("."))
    paragraphs = "".join(f"<p>{escape(' '.join(part.split()))}</p>" for part in text.split("\n\n") if part)
    rows = [row for values in spec.get("datasets", {}).values() for row in values]
    shown = [column for column in SHOWN if rows and column in rows[0]]
    numbers = [
        ["-" if row[column] is None else SHOWN[column][1].format(row[column]) for column in shown]
        for row in rows
    ]
    if not rows:
        text = "Nothing was measured that this figure could show."
        return f'<figure id="{key}"><h3>{title}</h3><figcaption><p>{text}</p></figcaption></figure>'
    titles = ["#" * (SHOWN[column][1] != "{}") + SHOWN[column][0] for column in shown]  # numbers have formats
    details = (
        f"<details><summary>The numbers behind it ({len(rows):,} rows)</summary>"
        f"{table(f'Numbers behind {name}', titles, numbers)}</details>"
    )
    return (
        f'<figure id="{key}" aria-labelledby="{key}-title"><h3 id="{key}-title">{title}</h3>'
        f'<div class="chart" id="chart-{key}"></div>'
        f'<p class="save">Save this chart as '
        f'<button type="button" data-save="png" data-of="{key}">PNG</button>'
        f'<button type="button" data-save="svg" data-of="{key}">SVG</button></p>'
        f"<figcaption>{paragraphs}</figcaption>{details * bool(shown)}</figure>"
    )


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
        f"{img(text, data)}</div></div>"
        f"<figcaption><p>Columns are levels ({escape(about['axis'])}); rows are a few images of "
        f"{escape(about['dataset'])}, the same at every level{by}. {escape(about['shows'])}</p>"
        "</figcaption></figure>"
    )


def read_picture(path):
    """The bytes of an image file, and the image (PIL)."""
    data = Path(path).read_bytes()
    with files.reading(path):
        picture = Image.open(io.BytesIO(data))
        picture.load()
    return data, picture


def read_json(path):
    with files.reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def told(picture):
    """What sheets.save has written into a picture about itself."""
    return json.loads(picture.getexif().get(ExifTags.Base.ImageDescription, "{}"))


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
        f"{img(text, data)}</div></div><figcaption><p>{escape(about['shows'])}</p></figcaption></figure>"
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
        f"{img(text, data)}</div>"
        f"<figcaption><p>{escape(entry['stylize'])} in the styles of {escape(entry['styles'])}, by the "
        f"stylizer {escape(entry['stylizer'])} with alpha {alpha}: features of the content take the means "
        "and deviations of those of the style (AdaIN).</p></figcaption></figure>"
    )


def img(text, data):
    """A picture, the bytes of a WebP file, in the page itself."""
    width, height = Image.open(io.BytesIO(data)).size
    source = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{text}" width="{width}" height="{height}" loading="lazy" src="{source}">'


def refused(rows, measures):
    """What could not be done to which models, by perturbations and measures; nothing if there was nothing."""
    reasons = {}
    for row in rows:
        strip = (row["model"], f"{row['perturbation']} {row['variant']}".replace("_", " "), row["reason"])
        reasons.setdefault(strip, []).append(f"{row['level']:g}")
    cells = [
        [model, name, reason, ", ".join(dict.fromkeys(levels))]
        for (model, name, reason), levels in reasons.items()
    ]
    cells += [
        [row["model"], f"{row['measure'].replace('_', ' ')} on {row['dataset']}", row["reason"], "all"]
        for row in measures
        if row["reason"]
    ]
    return bool(cells) * (
        "<p>Some perturbations and measures do not apply to some models. These were left out, and are in no "
        "figure.</p>" + table("Not applicable", ["model", "what", "why", "levels left out"], cells)
    )


def missing(lost):
    """What was asked for and is not there; nothing if all is. lost: {file: last line of its log}."""
    return bool(lost) * (
        f'<p class="warning"><strong>{count(len(lost), "result")} that the config asks for '
        f"{'is' if len(lost) == 1 else 'are'} not there.</strong> This page is made without.</p>"
        + table("Missing", ["file", "last line of its log"], [*lost.items()])
    )


def skipped(rows):
    """The files that took no part; nothing if all did."""
    if not rows:
        return ""
    cells = [[row["dataset"], row["path"], row["problem"] or ""] for row in rows]
    return f"<p>{count(len(rows), 'file')} could not be used.</p>" + table(
        "Files left out", ["dataset", "file", "problem"], cells
    )


def configuration(settings):
    text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False, allow_unicode=True, width=100)
    code = f"<pre><code>{escape(text)}</code></pre>"
    return f"<details><summary>The config as it was used</summary>{code}</details>"
