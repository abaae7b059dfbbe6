"""What does the protocol itself gain? The same frozen features, learnt from in other ways.

To the right, top-1 on the same test images; a row is a readout. Validated: logistic regression on
standardised features, its penalty chosen on validation images. Authors: as their code does, AdamW
on features as they are, ten epochs, constant learning rate; of these the last epoch, and the best one on the
test images, which is what they report: what lies between the two is what choosing by the test images gains.
With batch statistics: the same for a network with batch normalisation that never was put into evaluation
mode, as the paper's ResNet50; its test images come in order of their classes, so that a batch holds few of
them. (They pass all images anew in every epoch; here the batches of training images are shuffled once.) A
panel is a transfer and a model. Bars are 95 % Wilson intervals over images.
"""

import altair as alt

from patchwork import theme

ORDER = 74
FAMILY = "transfer"
SQL = """
WITH
    ways AS (
        SELECT *, CASE protocol WHEN 'validated' THEN 'validated' WHEN 'authors' THEN 'authors, best epoch'
            ELSE 'batch statistics, best epoch' END AS way
        FROM transfer_scores
        UNION ALL BY NAME
        SELECT
            * REPLACE (
                last_top1 AS top1,
                wilson_low(last_top1, images) AS low,
                wilson_high(last_top1, images) AS high
            ),
            if(protocol = 'authors', 'authors, last epoch', 'batch statistics, last epoch') AS way
        FROM transfer_scores
        WHERE last_top1 IS NOT NULL
    )
SELECT
    dataset || ' · ' || model AS panel, dataset, model, place, readout, way,
    top1, low, high, chance, images
FROM ways
SEMI JOIN (FROM transfer_scores WHERE protocol = 'authors') USING (dataset, model, readout)
ORDER BY dataset, place, list_position(['last', 'last4', 'all'], blocks), patch DESC, way
"""
WAYS = {
    "validated": "circle",
    "authors, best epoch": "square",
    "authors, last epoch": "cross",
    "batch statistics, best epoch": "triangle-up",
    "batch statistics, last epoch": "triangle-down",
}


def chart(cells):
    readouts, chosen = list(dict.fromkeys(cells["readout"].to_pylist())), theme.choice("way")
    present = [way for way in WAYS if way in cells["way"].to_pylist()]
    shapes = alt.Scale(domain=present, range=[WAYS[way] for way in present])
    base = alt.Chart(cells).encode(
        y=alt.Y("readout:N", sort=readouts, title=None, axis=alt.Axis(labelLimit=240)),
        color=theme.colour(cells).legend(None),
    )
    points = base.mark_point(opacity=1, size=60).encode(
        x=theme.share("top1", "top-1 accuracy", alt.X),
        shape=alt.Shape("way:N", scale=shapes),
        opacity=theme.faded(chosen, 1, 0.12),
    )
    layers = [
        alt.Chart(cells).mark_rule(style="chance").encode(x="mean(chance):Q"),
        theme.interval(base, chosen, channel=alt.X, opacity=0.5),
        theme.told(points, cells).add_params(chosen),
    ]
    return theme.rows(alt.layer(*layers), cells, "What the protocol gains")
