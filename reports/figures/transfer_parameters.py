"""Are more tokens worth their parameters? Linear readouts of frozen features by the size of the classifier.

From left to right, the parameters of the linear classifier, on a logarithmic scale: (dimensions + 1) times
classes; upwards, its top-1 on test images of classes that the network was not trained on. A mark is a
readout: the last block, the last four, all blocks, each alone, with and without mean patch tokens; point at
one to see which. The line joins the best readouts: whatever is below it has more parameters than one that
is as good. A colour is a model, a panel a transfer. Logistic regression on standardised features, its penalty
chosen on validation images. Upright bars are 95 % Wilson intervals over images; which readout is best was
seen on these test images, so that the line is a little too high.
"""

import altair as alt

from patchwork import theme

ORDER = 72
FAMILY = "transfer"
SQL = """
SELECT
    dataset AS panel, dataset, model, place, readout, width, parameters, top1, low, high, images,
    top1 > max(top1) OVER (
        PARTITION BY dataset, model
        ORDER BY parameters, top1 DESC, readout
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) IS NOT false AS is_best
FROM transfer_scores
WHERE protocol = 'validated'
ORDER BY dataset, place, parameters, readout
"""


def chart(cells):
    chosen = theme.choice()
    scale, axis = alt.Scale(type="log", nice=False, padding=12), alt.Axis(format="~s", tickCount=4)
    base = alt.Chart(cells).encode(x=alt.X("parameters:Q", scale=scale, axis=axis), color=theme.colour(cells))
    y = alt.Y("top1:Q", title="top-1 accuracy", scale=alt.Scale(zero=False), axis=alt.Axis(format="%"))
    best = base.transform_filter("datum.is_best").encode(y=y)
    layers = [
        theme.line(best, chosen, interpolate="step-after"),
        theme.interval(base, chosen, opacity=0.3),
        theme.points(base.encode(y=y), cells, chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "Readouts and their parameters")
