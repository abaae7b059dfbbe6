"""Where in a network does the class appear? The class token of each block, through the network's own head.

From left to right the blocks of a network, upwards the share of the images whose class the head names when it
is given the class token of that block, after the last norm, in place of that of the last block. At the last
block it is the accuracy of the model itself. The head has learnt to read the last block alone, so what it
cannot read may be there all the same. Upright bars are 95 % intervals (Wilson) over the images, chance is
always naming the most frequent class. Of a distilled network these are the token and the head by which the
model decides, or the mean of both. A panel is a dataset, a colour a model; a click on a model in the legend
lets it stand out.

For datasets with the classes of ImageNet, pale lines are the readings of figure 15 of the paper (all 50,000
validation images; to within 0.8 points); dashed, in its own colour, that of a model which the config says to
be the paper's.
"""

import altair as alt

from patchwork import theme

ORDER = 69
FAMILY = "block_accuracy"
SQL = """
WITH
    measured AS (
        SELECT dataset, model, place, block, top1, low, high, published, chance, images, 'this run' AS source
        FROM accuracy_by_block
        LEFT JOIN (
            SELECT dataset, model, level AS block, published
            FROM published_here
            WHERE experiment = 'blockwise_cls_token'
        ) USING (dataset, model, block)
        UNION ALL
        SELECT
            v.dataset, p.model || ' (published)', 1000,
            regexp_extract(p.condition, 'block=(\\d+)', 1)::SMALLINT, p.value::DOUBLE / 100,
            NULL, NULL, NULL, NULL, NULL,
            'figure 15 of the paper'
        FROM published AS p
        JOIN vocabularies AS v ON of_imagenet
        SEMI JOIN accuracy_by_block ON accuracy_by_block.dataset = v.dataset
        ANTI JOIN published_here AS h
            ON h.dataset = v.dataset AND h.network = p.model AND h.experiment = p.experiment
        WHERE experiment = 'blockwise_cls_token'
    )
SELECT dataset AS panel, *
FROM measured
ORDER BY dataset, place, model, block
"""


def chart(cells):
    own, chosen = cells.filter(cells["images"].is_valid()), theme.choice()
    base = alt.Chart(cells).encode(x=theme.blocks())
    y = theme.share("top1", "top-1 accuracy")
    measured = base.transform_filter("isValid(datum.images)").encode(color=theme.colour(own))
    layers = [
        *theme.chance(cells),
        theme.line(measured.encode(y=y), chosen),
        *theme.others(
            base.encode(y=y), cells, "datum.block == 9", align="left", dx=8, dy=5
        ),  # far apart there
        *theme.published(measured, cells, chosen),
        theme.interval(measured, chosen),
        theme.points(measured.encode(y=y), own, chosen),
    ]
    return theme.panels(alt.layer(*layers), cells, "The class, block by block", subtitle=theme.sampled(own))
