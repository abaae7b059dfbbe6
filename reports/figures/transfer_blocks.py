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
    chosen = theme.choice()
    base = alt.Chart(cells).encode(
        x=alt.X("block:Q", title="block or stage", axis=alt.Axis(tickMinStep=1, format="d")),
        color=theme.colour(cells),
        detail="tokens:N",
    )
    top1 = base.encode(y=theme.share("top1", "top-1 accuracy"))
    dashes = alt.Scale(domain=["class token", "and mean patch token"], range=[[1, 0], [4, 4]])
    layers = [
        *theme.chance(cells),
        theme.line(top1.encode(strokeDash=alt.StrokeDash("tokens:N", scale=dashes)), chosen),
        theme.interval(base, chosen),
        theme.points(top1, cells, chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Linear readouts of each block")
