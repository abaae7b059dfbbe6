"""The report: one HTML file that opens from disk, without a network."""

import base64
import html
import importlib.metadata
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from string import Template

import vl_convert
import yaml

from patchwork import warehouse

PACKAGES = ["torch", "timm", "snakemake", "duckdb", "altair"]
COLUMNS = {
    "panel": "dataset and strip", "model": "model", "level": "level", "lost": "pixels lost", "top1": "top-1",
    "low": "95 % from", "high": "95 % to", "relative_top1": "of clean", "seed_spread": "sd over seeds",
    "seeds": "seeds", "images": "images",
}  # fmt: skip
SHARES = {"lost", "top1", "top5", "low", "high", "relative_top1", "seed_spread", "chance"}


def write(path, template, specs, captions, sheets, database, settings):
    """Write the page.

    template: an HTML file with $placeholders. specs: {figure: Vega-Lite file}. captions: {figure: text}.
    sheets: [(image file, {dataset, perturbation, variant, axis, levels})]. database: the warehouse.
    settings: the config as used.
    """
    models = warehouse.read(database, "FROM models").to_pylist()
    skipped = warehouse.read(database, "FROM skipped").to_pylist()
    charts = {name: json.loads(Path(spec).read_text()) for name, spec in specs.items()}
    # "</script>" in a text of the specs would end the script early.
    script = json.dumps(charts).replace("</", "<\\/")
    page = Template(Path(template).read_text(encoding="utf-8")).substitute(
        summary=summary(models, settings),
        models=table(
            ["dataset", "model", "family", "top-1", "95 % interval", "top-5", "images", "chance", "above chance"],
            [
                [
                    row["dataset"], row["model"], row["model_family"], percent(row["top1"]),
                    f"{percent(row['low'])} to {percent(row['high'])}", percent(row["top5"]), row["images"],
                    percent(row["chance"]), "yes" if row["above_chance"] else "no: its curves say nothing",
                ]
                for row in models
            ],
        ),
        contents="".join(f'<li><a href="#{name}">{title(name)}</a></li>' for name in specs),
        figures="".join(figure(name, captions[name], charts[name]) for name in specs),
        sheets="".join(sheet(file, facts) for file, facts in sheets),
        skipped=left_out(skipped),
        settings=html.escape(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)),
        made=html.escape(made()),
        vega=vl_convert.javascript_bundle(),
        specs=script,
    )  # fmt: skip
    Path(path).write_text(page, encoding="utf-8")


def summary(models, settings):
    """One sentence: what was run."""
    images = {row["dataset"]: row["images"] for row in models}
    datasets = ", ".join(f"{html.escape(name)} ({count:,} images)" for name, count in images.items())
    seeds = len(settings["seeds"])
    names = len({row["model"] for row in models})
    return f"{names} models on {datasets}, {seeds} {'seeds' if seeds > 1 else 'seed'} for what is random."


def made():
    """When the page was made and with what."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if installed(name))
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    commit = f", git commit {git.stdout.strip()}" if git.returncode == 0 else ""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC with {versions}{commit}"


def installed(name):
    """Whether a package is there: an environment for reports needs no torch."""
    return bool([*importlib.metadata.distributions(name=name)])


def percent(share):
    return "" if share is None else f"{share:.1%}"


def title(name):
    return html.escape(name.replace("_", " ").capitalize())


def table(header, rows):
    """An HTML table; numbers and percentages align to the right."""

    def cell(value):
        text = html.escape(str(value))
        return f'<td class="number">{text}</td>' if text[:1].isdigit() else f"<td>{text}</td>"

    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(name, caption, spec):
    """A chart, its caption and the numbers behind it."""
    rows = [row for data in spec["datasets"].values() for row in data if "top1" in row]
    numbers = [
        [
            percent(row[key]) if key in SHARES else row[key] if key != "level" else f"{row[key]:g}"
            for key in COLUMNS
        ]
        for row in rows
    ]
    return (
        f'<figure id="{name}"><h3>{title(name)}</h3>'
        f'<div class="chart" data-figure="{name}" role="img" aria-label="{html.escape(caption)}"></div>'
        f"<figcaption>{html.escape(caption)}</figcaption>"
        f"<details><summary>The numbers</summary>{table(COLUMNS.values(), numbers)}</details></figure>"
    )


def sheet(file, facts):
    """What the models saw of some images, from the untouched image to the last level."""
    variant = "" if facts["variant"] == "plain" else f" {facts['variant']}"
    levels = ", ".join(f"{level:g}" for level in facts["levels"])
    caption = f"{facts['perturbation']}{variant} on {facts['dataset']}; from left to right, {facts['axis']}: {levels}"
    data = base64.b64encode(Path(file).read_bytes()).decode()
    return (
        f'<figure class="sheet"><div class="wide"><img loading="lazy" alt="{html.escape(caption)}" '
        f'src="data:image/webp;base64,{data}"></div><figcaption>{html.escape(caption)}</figcaption></figure>'
    )


def left_out(rows):
    """The files that could not be read and were left out, if any."""
    if not rows:
        return "<p>None: every file of every dataset was read.</p>"
    return table(["dataset", "file", "why"], [[row["dataset"], row["path"], row["problem"]] for row in rows])
