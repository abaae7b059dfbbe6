"""Which block transfers? What a linear classifier learns from the frozen tokens of each block alone.

From left to right, the blocks of a transformer, or the stages of a CNN and, if its head sees something else
than the last of them, that; upwards, top-1 on test images of classes that the network was not trained on.
Full lines are class tokens after the final norm (means over places where there are none), dashed ones
class tokens beside mean patch tokens of the same block. A colour is a model, a panel a transfer; a click on a
model in the legend lets it stand out. Logistic regression on standardised features, its penalty chosen on
validation images. Upright bars are 95 % Wilson intervals over images.
"""

import altair as alt

from patchwork import theme

ORDER = 73
FAMILY = "transfer"
SQL = """
SELECT
    dataset AS panel, dataset, model, place, block,
    if(patch = 'none', 'class token', 'and mean patch token') AS tokens,
    width, parameters, top1, low, high, chance, images
FROM transfer_scores
WHERE protocol = 'validated' AND block IS NOT NULL
ORDER BY dataset, place, tokens DESC, block
"""


def chart(cells):
    chosen = alt.selection_point(fields=["model"], bind="legend")
    base = alt.Chart(cells).encode(
        x=alt.X("block:Q", title="block or stage", axis=alt.Axis(tickMinStep=1, format="d")),
        color=theme.colour(cells),
        detail="tokens:N",
    )
    y = alt.Y("top1:Q", title="top-1 accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    dash = alt.StrokeDash(
        "tokens:N", scale=alt.Scale(domain=["class token", "and mean patch token"], range=[[1, 0], [4, 4]])
    )
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("block:Q"),
        alt.Tooltip("tokens:N"),
        alt.Tooltip("top1:Q", title="top-1", format=".1%"),
        alt.Tooltip("low:Q", title="95 % from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("width:Q", title="dimensions", format=","),
        alt.Tooltip("parameters:Q", format=","),
        alt.Tooltip("images:Q", title="test images", format=","),
    ]
    chance = alt.Chart(cells).encode(y="mean(chance):Q")
    layers = [
        chance.mark_rule(style="chance"),
        chance.mark_text(style="chance-label", text="chance").encode(x=alt.value(0)),
        base.mark_line().encode(y=y, strokeDash=dash, opacity=theme.faded(chosen, 1, 0.12)),
        base.mark_rule(style="interval").encode(
            y="low:Q", y2="high:Q", opacity=theme.faded(chosen, 0.6, 0.05)
        ),
        base.mark_point(opacity=1)
        .encode(y=y, shape=theme.shape(cells), opacity=theme.faded(chosen, 1, 0.12), tooltip=tooltip)
        .add_params(chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Linear readouts of each block")
