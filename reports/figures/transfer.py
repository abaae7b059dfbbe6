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
places365; a hollow mark in a model's own colour is of the network that the config says it to be. The authors
chose the epoch by the test images, and their ResNet50 normalised with the statistics of its batches.
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
            published, chance, images, train_images, 'this run' AS source
        FROM transfer_scores
        LEFT JOIN transfer_compared_with_paper USING (dataset, model, readout)
        WHERE protocol = 'validated' AND blocks <> 'block'
        UNION ALL BY NAME
        SELECT dataset, model || ' (published)' AS model, 1000 AS place, readout, blocks, patch, top1, source
        FROM transfer_published AS p
        ANTI JOIN published_as AS a ON a.kind = 'model' AND a.published = p.model
    )
SELECT dataset AS panel, *
FROM shown
ORDER BY
    dataset, list_position(['last', 'last4', 'all'], blocks), list_position(['none', 'last', 'each'], patch),
    place, model, source
"""


def chart(cells):
    own, chosen = cells.filter(cells["images"].is_valid()), theme.choice()
    readouts = list(dict.fromkeys(cells["readout"].to_pylist()))
    base = alt.Chart(cells).encode(
        y=alt.Y("readout:N", sort=readouts, title=None, axis=alt.Axis(labelLimit=240))
    )
    x = theme.share("top1", "top-1 accuracy", alt.X)
    measured = base.transform_filter("isValid(datum.images)").encode(color=theme.colour(own))
    others = base.transform_filter("!isValid(datum.images)").encode(x=x)
    strokes = others.mark_point(color=theme.PALE, shape="stroke", angle=90, filled=False, size=120)
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(x="mean(chance):Q"),
        theme.told(strokes, cells),
        others.transform_aggregate(top1="mean(top1)", groupby=["panel", "model", "readout"])
        .mark_text(color=theme.PALE, fontSize=9, dy=-10)
        .encode(text="name:N")
        .transform_calculate(name="replace(datum.model, ' (published)', '')"),
        *theme.published(measured, cells, chosen, channel=alt.X),
        theme.interval(measured, chosen, channel=alt.X),
        theme.points(measured.encode(x=x), own, chosen, size=70),
    ]
    return theme.rows(alt.layer(*layers), cells, "Linear readouts of frozen features", learnt(own))


def learnt(cells):
    """What was learnt from and tested on, a line for each transfer."""
    rows = {row["dataset"]: row for row in cells.to_pylist()}
    return [
        f"{name}: {row['images']:,} test images, learnt from {row['train_images']:,}"
        for name, row in sorted(rows.items())
    ]
