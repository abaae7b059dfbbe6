"""Error consistency: do two observers err on the same images?

Rows and columns are observers, a panel is a dataset in which shape and texture disagree; the number is
Cohen's kappa of being right about the shape (Geirhos et al., NeurIPS 2020), in hundredths. Two observers who
are right as often as they are agree on some images by chance alone; kappa is 0 if they agree as often as
that, 100 if they are right about the very same images, and below 0 if they agree less often. The tooltip and
the table give 95 % bootstrap intervals over the images that both have decided, and how often they agree in
truth and by chance. Where one of the two is nearly always right or nearly never, kappa says little, and its
interval is wide. Networks and persons whose decisions were read from files are paired by the names of
images. A pair of which both are always right, or never, has no kappa and is left blank.
"""

import altair as alt

from patchwork import theme

ORDER = 62
FAMILY = "clean"
SQL = """
WITH pairs AS (
    SELECT dataset, observer AS model, place, other, other_place, kappa, low, high, agreed, expected, images
    FROM error_consistency
    UNION ALL
    SELECT dataset, other, other_place, observer, place, kappa, low, high, agreed, expected, images
    FROM error_consistency
)
SELECT dataset AS panel, * RENAME (low AS kappa_low, high AS kappa_high)
FROM pairs
ANTI JOIN stylized USING (dataset)
WHERE kappa IS NOT NULL
ORDER BY dataset, place < 0, place, model, other_place < 0, other_place, other
"""
CELL_PIXELS = 40
FEW_OBSERVERS = 8


def chart(cells):
    names = list(dict.fromkeys(cells["model"].to_pylist()))
    panels = list(dict.fromkeys(cells["panel"].to_pylist()))
    side = max(CELL_PIXELS, CELL_PIXELS * len(names))
    base = alt.Chart(cells).encode(
        x=alt.X("other:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("model:N", sort=names, title=None, axis=alt.Axis(grid=False, labelLimit=220)),
    )
    colour = alt.Color("kappa:Q", title="kappa", scale=alt.Scale(domain=[-1, 1], scheme="redblue"))
    boxes = theme.told(base.mark_rect().encode(color=colour), cells)
    numbers = (
        base.mark_text(fontSize=12)
        .transform_calculate(hundredths="format(100 * datum.kappa, '.0f')")
        .encode(
            text="hundredths:N",
            color=alt.when("abs(datum.kappa) > 0.6").then(alt.value("white")).otherwise(alt.value("black")),
        )
    )
    return (
        alt.layer(boxes, numbers)
        .properties(width=side, height=side)
        .facet(**theme.facets(panels, 2 if len(names) <= FEW_OBSERVERS else 1))
        .resolve_axis(x="independent", y="independent")
        .resolve_scale(x="independent", y="independent")
        .properties(title=alt.Title("Error consistency", subtitle=theme.sampled(cells)))
    )
