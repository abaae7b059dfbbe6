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
    chosen = alt.selection_point(fields=["model"], bind="legend")
    base = alt.Chart(cells).encode(
        x=alt.X("block:O", title="block", axis=alt.Axis(labelAngle=0)), color=theme.colour(cells)
    )
    attended = alt.Y("attended:Q", title="attention on visible patches", axis=alt.Axis(format="%"))
    chance = alt.Chart(cells).encode(y="mean(visible_fraction):Q")
    dashes = alt.Scale(domain=["occluded", "untouched"], range=[[1, 0], [4, 4]])
    layers = [
        chance.mark_rule(style="chance"),
        chance.mark_text(style="chance-label", text="chance").encode(x=alt.value(0)),
        base.mark_line().encode(
            y=attended,
            strokeDash=alt.StrokeDash("seen:N", scale=dashes),
            opacity=theme.faded(chosen, 1, 0.12),
        ),
        base.mark_rule(style="interval").encode(
            y="low:Q", y2="high:Q", opacity=theme.faded(chosen, 0.6, 0.05)
        ),
        base.mark_point(opacity=1)
        .transform_calculate(interval="format(datum.low, '.1%') + ' to ' + format(datum.high, '.1%')")
        .encode(
            y=attended,
            shape=theme.shape(cells),
            opacity=theme.faded(chosen, 1, 0.12),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("token:N"),
                alt.Tooltip("seen:N", title="images"),
                alt.Tooltip("block:O"),
                alt.Tooltip("attended:Q", title="on visible patches", format=".1%"),
                alt.Tooltip("interval:N", title="95 % interval"),
                alt.Tooltip("visible_fraction:Q", title="chance", format=".1%"),
                alt.Tooltip("images:Q", title="number of images", format=","),
            ],
        )
        .add_params(chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Attention to what is left")
