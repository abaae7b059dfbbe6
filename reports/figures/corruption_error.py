"""Corruption error: how much a model errs under corruption, with another model's errors as the unit.

A row is a model, a column is a corruption of ImageNet-C (Hendrycks and Dietterich, 2019) in its order, and a
number is its corruption error CE: the top-1 error, summed over severities, in percent of the error that the
normaliser makes under the same. So 100 is as bad as the normaliser, and less is better. On the classes of
ImageNet the normaliser is AlexNet with its published errors, which are of the whole validation set; on any
other dataset it is the model that all others are compared with; where that one hardly errs at all, CE means
little. Colour says the same as the number.

The first column, mCE, is the mean over the 15 corruptions of ImageNet-C, all five severities of each. If not
all of them were run, it is the mean over those that were, and the column says how many; such a mean is
comparable with no published mCE. The four further corruptions at the right are never in it. AlexNet's errors
are published for neither these four nor single severities, so datasets of ImageNet have no CE there.

For datasets with the classes of ImageNet, models that others have published follow below, with their mCE. It
was computed on the official files of ImageNet-C, of all 50,000 images; what is corrupted anew is like those
files, but not the same.

The table has the errors themselves (means over severities and seeds, with 95 % intervals over images), and
relative CE, which takes the error on untouched images from both models first: what corruption adds.
"""

import altair as alt

from patchwork import theme

ORDER = 51
FAMILY = "corruption"
SQL = """
    WITH
        rows AS (
            SELECT
                dataset, model, place, replace(corruption, '_', ' ') AS corruption, rank,
                error, low, high, ce, relative_ce, normaliser, images, seeds, 'this run' AS source
            FROM corruptions
            UNION ALL
            SELECT
                dataset, model, place,
                CASE WHEN mce IS NULL THEN 'mean of ' || corruptions ELSE 'mCE' END, 0,
                mean_error, NULL, NULL, mean_ce, mean_relative_ce, normaliser, images, seeds, 'this run'
            FROM mce
            UNION ALL
            SELECT
                mce.dataset, p.model || ' (published)', 1000, 'mCE', 0, NULL, NULL, NULL,
                p.value::DOUBLE, NULL, mce.normaliser, NULL, NULL, string_agg(DISTINCT p.condition, '; ')
            FROM published AS p
            JOIN mce ON p.experiment = 'imagenet_c_mce' AND mce.normaliser = 'AlexNet, published'
            GROUP BY ALL
        )
    FROM rows ORDER BY dataset, place, model, source, rank
"""
ROW_PIXELS = 24
PALE = ["#9ec5f4", "#f4f4f4", "#f7b28c"]  # better, equal, worse


def chart(cells):
    rows = cells.select(["model", "corruption", "rank", "dataset", "normaliser", "images"]).to_pylist()
    models = list(dict.fromkeys(row["model"] for row in rows))
    columns = list(dict.fromkeys(row["corruption"] for row in sorted(rows, key=lambda row: row["rank"])))
    known = alt.Chart(cells).transform_filter("isValid(datum.ce)")
    base = known.encode(
        x=alt.X("corruption:N", sort=columns, title=None, axis=alt.Axis(labelAngle=-45, orient="top")),
        y=alt.Y("model:N", sort=models, title=None, axis=alt.Axis(labelLimit=220, grid=False)),
    )
    # Pale enough at both ends for the numbers, which are dark on any page.
    colour = alt.Color("ce:Q", title="CE", scale=alt.Scale(range=PALE, domainMid=100), legend=None)
    tiles = theme.told(base.mark_rect().encode(color=colour), cells)
    numbers = base.mark_text(fontSize=11, color="#15181d").encode(text=alt.Text("ce:Q", format=".0f"))
    units = sorted({f"{row['dataset']}: 100 is {row['normaliser']}" for row in rows if row["normaliser"]})
    return (
        alt.layer(tiles, numbers)
        .properties(width=theme.WIDTH * theme.PANEL_COLUMNS, height=alt.Step(ROW_PIXELS))
        .facet(facet=alt.Facet("dataset:N"), columns=1)
        .resolve_scale(x="independent", y="independent")
        .properties(title=alt.Title("Corruption error", subtitle=[*theme.sampled(measured(cells)), *units]))
    )


def measured(cells):
    """The rows of this run's models."""
    return cells.filter(cells["images"].is_valid())
