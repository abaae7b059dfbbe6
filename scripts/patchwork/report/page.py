"""The report: one HTML page that holds all it needs, so it opens from a disk and without a network."""

from html import escape
from string import Template

import vl_convert

from patchwork import warehouse
from patchwork.report import (
    cards,
    charts,
    claims,
    coverage,
    expenses,
    gaps,
    markup,
    models,
    origin,
    paper,
    pictures,
)


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
                *("datasets", "models", "claims", "claim_comparisons", "tradeoff", "skipped", "refused"),
                *("measures", "computations", "beside_paper", "coverage", "costs", "cost_totals"),
                *("networks", "trainings", "epochs", "headlines", "sparklines"),
            )
        }
        seeds = [row[0] for row in db.sql("SELECT DISTINCT seed FROM asked ORDER BY seed").fetchall()]
    drawn = [(name, caption, charts.read_json(spec)) for name, caption, spec in figures]
    drawn_names = {name for name, _, _ in drawn}
    told_by = ("networks", "trainings", "epochs", "headlines", "sparklines")
    described = cards.cards(*(tables[name] for name in told_by))
    sections = {
        "missing": ("Missing", gaps.missing(lost)),
        "claims": ("Claims", claims.claims(tables["claims"], tables["claim_comparisons"], drawn_names)),
        "models": ("Models", models.untouched(tables["models"]) + described),
        "tradeoff": ("Trade-off", models.tradeoff(tables["tradeoff"])),
        "beside": ("Beside the paper", paper.beside(tables["beside_paper"])),
        "figures": (
            "Figures",
            charts.FOR_PRINT * bool(drawn)
            + charts.titles(drawn)
            + "".join(charts.figure(*each) for each in drawn),
        ),
        "sheets": ("What the models saw", "".join(pictures.sheet(*each) for each in sheets)),
        "examples": ("Inside the models", "".join(pictures.example(*each) for each in examples)),
        "stylized": ("Stylized images", "".join(pictures.stylization(*each) for each in stylized)),
        "coverage": ("Coverage", coverage.coverage(tables["coverage"])),
        "cost": ("Cost", expenses.expenses(tables["cost_totals"], tables["costs"])),
        "refused": ("Not applicable", gaps.refused(tables["refused"], tables["measures"])),
        "skipped": ("Files left out", gaps.skipped(tables["skipped"])),
        "settings": ("Settings", origin.configuration(settings)),
    }
    return fill(
        template,
        sections,
        drawn,
        title="Patchwork: what vision models see",
        lead="What vision models see when images are taken apart, spoilt or attacked",
        summary=origin.summary(tables, seeds),
        origin=origin.origin(tables),
    )


def fill(template, sections, drawn, **told):
    """A page of sections, {name: (title, HTML)}, those without text left out.

    drawn: the figures in them: (name, caption, specification). told: HTML of the other $names.
    """
    sections = {name: section for name, section in sections.items() if section[1]}
    return Template(template).substitute(
        told,
        contents="".join(f'<li><a href="#{name}">{title}</a></li>' for name, (title, _) in sections.items()),
        sections="".join(
            f'<section id="{name}" aria-labelledby="{name}-title">'
            f'<h2 id="{name}-title">{title}</h2>{body}</section>'
            for name, (title, body) in sections.items()
        ),
        specifications="".join(
            f'<script type="application/json" data-figure="{escape(name)}">{markup.in_script(spec)}</script>'
            for name, _, spec in drawn
        ),
        # Vega, Vega-Lite and vega-embed, once for all figures. Without a snippet it sets window.vegaEmbed.
        bundle=vl_convert.javascript_bundle(),  # ty: ignore[missing-argument]
    )
