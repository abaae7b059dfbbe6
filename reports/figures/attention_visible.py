"""Does the class token look at what is left of an image?

Every image is seen under the same random mask, which blacks out most of it. From left to right the blocks of
a network, upwards the share of the class token's attention to patches that falls on visible ones, as a mean
over heads and images; a patch that the mask cuts counts by its visible part. Dashed, for comparison: the
share of the same places in the untouched images. The grey line is chance, the visible share of all patches.
Upright bars are 95 % intervals over images (1.96 standard errors). A panel is a dataset and a token
(distilled networks have a shape token, too), a colour a model; a click on a model in the legend lets it stand
out. The paper shows maps of this attention and says that deeper layers attend to what is left of an image; it
gives no numbers.
"""

import altair as alt

from patchwork import theme

ORDER = 63
FAMILY = "attention"
SQL = """
WITH shares AS (
    UNPIVOT (
        SELECT dataset, model, token, block, visible_fraction, occluded, untouched
        FROM attention
        WHERE kind = 'visible' AND image IS NOT NULL
    )
    ON occluded, untouched INTO NAME seen VALUE attended
)
SELECT
    format('{} · {} token', dataset, token) AS panel,
    dataset, model, place, token, seen, block,
    avg(attended) AS attended,
    share_low(attended) AS low,
    share_high(attended) AS high,
    any_value(visible_fraction) AS visible_fraction,
    count(*) AS images
FROM shares
JOIN places USING (model)
GROUP BY dataset, model, place, token, seen, block
ORDER BY dataset, token, place, seen, block
"""


def chart(cells):
    chosen = theme.choice()
    base = alt.Chart(cells).encode(x=theme.blocks(), color=theme.colour(cells))
    attended = alt.Y("attended:Q", title="attention on visible patches", axis=alt.Axis(format="%"))
    dashes = alt.Scale(domain=["occluded", "untouched"], range=[[1, 0], [4, 4]])
    layers = [
        *theme.chance(cells, "visible_fraction"),
        theme.line(base.encode(y=attended, strokeDash=alt.StrokeDash("seen:N", scale=dashes)), chosen),
        theme.interval(base, chosen),
        theme.points(base.encode(y=attended), cells, chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Attention to what is left")
