"""Top-1 accuracy of each model under the adversarial patches of each.

A row is the model that patches were crafted on, a column the model that sees them; a panel is a dataset,
where patches lie, and the share of the image that they cover. The number in a cell is the share of images,
in percent, whose class the model still ranks first, as a mean over the seeds, each of which has a patch of
its own: the darker, the fewer. Framed cells are the white box, where a model sees the patch that was
crafted on itself; the others are attacks by transfer. The tooltip and the table give 95 % Wilson intervals
over images, the standard deviation over seeds, and the points lost against untouched images, which include
what any patch costs by hiding what it lies on: the row (noise), where it was asked for, is a disc of random
pixels at the same places.
"""

import altair as alt

from patchwork import theme

ORDER = 71
FAMILY = "patch"
SQL = """
SELECT *, concat_ws(' · ', dataset, lies, format('{:g} %', 100 * level)) AS panel
FROM patch_transfer
WHERE NOT clean
ORDER BY dataset, perturbation, level, crafted_on, model
"""
NOISE = "(noise)"  # what was crafted on nothing
CELL_PIXELS = 44
FEW_MODELS = 8
PANEL_COLUMNS = 3


def sampled(cells):
    """What was measured, with what always naming the most frequent class would score."""
    chances = dict(zip(cells["dataset"].to_pylist(), cells["chance"].to_pylist(), strict=True))
    lines = zip(theme.sampled(cells), sorted(chances), strict=True)
    return [f"{line}, chance {chances[dataset]:.1%}" for line, dataset in lines]


def chart(cells):
    names = sorted({*cells["crafted_on"].to_pylist(), *cells["model"].to_pylist()} - {NOISE})
    panels = list(dict.fromkeys(cells["panel"].to_pylist()))
    base = alt.Chart(cells).encode(
        x=alt.X("model:N", sort=names, title="seen by", axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("crafted_on:N", sort=[*names, NOISE], title="crafted on", axis=alt.Axis(grid=False)),
    )
    colour = alt.Color(
        "top1:Q", title="top-1 accuracy", scale=alt.Scale(domain=[0, 1], scheme="blues", reverse=True)
    )
    boxes = base.mark_rect(stroke=theme.PALE).encode(
        color=colour.legend(format="%"),
        strokeWidth=alt.when("datum.white_box").then(alt.value(2.5)).otherwise(alt.value(0)),
    )
    numbers = (
        base.mark_text(fontSize=12)
        .transform_calculate(percent="format(100 * datum.top1, '.0f')")
        .encode(
            text="percent:N",
            color=alt.when("datum.top1 < 0.5").then(alt.value("white")).otherwise(alt.value("black")),
        )
    )
    columns = max(1, min(PANEL_COLUMNS, len(panels))) if len(names) <= FEW_MODELS else 1
    return (
        alt.layer(theme.told(boxes, cells), numbers)
        .properties(width=alt.Step(CELL_PIXELS), height=alt.Step(CELL_PIXELS))
        .facet(facet=alt.Facet("panel:N", sort=panels), columns=columns)
        .resolve_axis(x="independent")
        .properties(title=alt.Title("Accuracy under the patches of each model", subtitle=sampled(cells)))
    )
