"""How many tokens the dropped patches cover wholly, in part, and not at all.

The same masks as in the figure before, as the tokens of each vision transformer see them. A panel is a
dataset, a grid with the percentage of its tiles that are dropped, and a model. Shares are means over images
and seeds; "none" is the untouched image. Without an offset, a mask on the tokens' own grid covers each token
wholly or not at all; with one, nearly all tokens that are touched are cut. CNNs have no tokens and are left
out.
"""

import altair as alt

from patchwork import theme

ORDER = 15
FAMILY = "offset"
SQL = """
SELECT
    panel || ' · ' || model AS panel, model, place, level, dataset, images, seeds, top1, share,
    replace(state, '_', ' ') AS state
FROM (
    SELECT *, tokens_lost AS lost_wholly, tokens_cut AS cut, 1 - tokens_lost - tokens_cut AS untouched
    FROM accuracy
    WHERE family = 'offset' AND tokens_lost IS NOT NULL
)
UNPIVOT (share FOR state IN (untouched, cut, lost_wholly))
ORDER BY panel, place, level, state
"""


def chart(cells):
    states, chosen = ["untouched", "cut", "lost wholly"], theme.choice("state")
    none = "datum.value < 0 ? 'none' : datum.label"
    axis = alt.Axis(labelAngle=0, labelExpr=none)
    bars = (
        alt.Chart(cells)
        .mark_bar()
        .encode(
            x=alt.X("level:O", title="offset, sixteenths of a tile", axis=axis),
            y=alt.Y("share:Q", title="share of tokens", axis=alt.Axis(format="%")),
            color=alt.Color("state:N", sort=states, scale=alt.Scale(domain=states, range=theme.STATES)),
            order=alt.Order("rank:Q"),
            opacity=theme.faded(chosen, 1, 0.12),
        )
        .transform_calculate(rank=f"indexof({states}, datum.state)")
        .add_params(chosen)
    )
    return theme.panels(theme.told(bars, cells), cells, "Tokens under the masks")
