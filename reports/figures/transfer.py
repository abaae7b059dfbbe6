"""Off-the-shelf features: what a linear classifier learns from the frozen tokens of a network.

To the right, top-1 on test images of classes that the network was not trained on. A row is a readout: the
class token of the last block, of the last four, or of all blocks, one after the other (of a network without
class token what its head sees, and the means over places of its stages); with the mean patch token of the
last block, as the authors' code takes it, or with that of each of these blocks, as the paper's text says. A
network with no more than four blocks has no readout of the last four. A colour is a model, a panel a
transfer.

The classifier is logistic regression on standardised features, fitted by L-BFGS; its penalty is chosen on
validation images, and the test images are looked at once. Networks are in evaluation mode. Bars are 95 %
Wilson intervals over images.

Pale marks are numbers of the paper (its table 5, and its figure 16 as read off), for transfers that have the
name and the number of classes of its datasets: aircraft, cub, dtd, flowers102, fungi, gtsrb, inaturalist2019,
places365. The authors chose the epoch by the test images, and their ResNet50 normalised with the statistics
of its batches.
"""

import altair as alt

from patchwork import theme

ORDER = 71
FAMILY = "transfer"
SQL = """
WITH
    shown AS (
        SELECT
            dataset, model, place, readout, blocks, patch, width, parameters, penalty, top1, low, high,
            chance, images, train_images, 'this run' AS source
        FROM transfer_scores
        WHERE protocol = 'validated' AND blocks <> 'block'
        UNION ALL BY NAME
        SELECT dataset, model || ' (published)' AS model, 1000 AS place, readout, blocks, patch, top1, source
        FROM transfer_published
    )
SELECT dataset AS panel, *
FROM shown
ORDER BY
    dataset, list_position(['last', 'last4', 'all'], blocks), list_position(['none', 'last', 'each'], patch),
    place, model, source
"""


def chart(cells):
    own = cells.filter(cells["images"].is_valid())
    readouts = list(dict.fromkeys(cells["readout"].to_pylist()))
    base = alt.Chart(cells).encode(
        y=alt.Y("readout:N", sort=readouts, title=None, axis=alt.Axis(labelLimit=240)),
        x=alt.X("top1:Q", title="top-1 accuracy", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("readout:N"),
            alt.Tooltip("top1:Q", title="top-1", format=".1%"),
            alt.Tooltip("low:Q", title="95 % from", format=".1%"),
            alt.Tooltip("high:Q", title="to", format=".1%"),
            alt.Tooltip("width:Q", title="dimensions", format=","),
            alt.Tooltip("parameters:Q", format=","),
            alt.Tooltip("penalty:Q", format=".1e"),
            alt.Tooltip("images:Q", title="test images", format=","),
            alt.Tooltip("source:N"),
        ],
    )
    measured = base.transform_filter("isValid(datum.images)").encode(color=theme.colour(own))
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(x="mean(chance):Q"),
        base.transform_filter("!isValid(datum.images)").mark_point(
            color=theme.PALE, shape="stroke", angle=90, filled=False, size=120
        ),
        base.transform_filter("!isValid(datum.images)")
        .transform_aggregate(top1="mean(top1)", groupby=["panel", "model", "readout"])
        .mark_text(color=theme.PALE, fontSize=8, dy=-10)
        .encode(text="name:N", tooltip=alt.value(None))
        .transform_calculate(name="replace(datum.model, ' (published)', '')"),
        measured.mark_rule(style="interval").encode(x="low:Q", x2="high:Q"),
        measured.mark_point(opacity=1, size=70).encode(shape=theme.shape(own)),
    ]
    return theme.rows(alt.layer(*layers), cells, "Linear readouts of frozen features", learnt(own))


def learnt(cells):
    """What was learnt from and tested on, a line for each transfer."""
    rows = {row["dataset"]: row for row in cells.to_pylist()}
    return [
        f"{name}: {row['images']:,} test images, learnt from {row['train_images']:,}"
        for name, row in sorted(rows.items())
    ]
