"""Does attention find objects? The Jaccard index of what a token attends to and the true masks.

Of the patches of an image, the fewest that hold 90 % of the attention of the class token, or of the shape
token, in the last block are taken for the object. To the right, the Jaccard index (intersection over union,
in pixels) of these patches and each class in the image, as a mean over the classes of an image and then over
the images. A row is a model and a token, a pale tick as many random patches, counted in the same way: only
what is to the right of it has been found by attention.

A panel is a way of counting. As the authors: for each class in each image that head counts which agrees best
with the mask, and void pixels of the mask count as background; images are squashed into a square. Void left
out: the same, but void pixels count for nothing (where masks have no void, nothing changes). One head for all
images: the one that is best in the mean over these images. Mean of heads: no head is chosen. Aspect kept:
the mean of heads on images as they are, on about as many patches (where they are square, nothing changes).
Bars are 95 % intervals of the mean over images (normal approximation).

Table 4 of the paper tells the first on PASCAL VOC 2012 (validation) at 512 pixels. DeiT-T and DeiT-S have
32.2 % and 29.2 % trained on ImageNet, 29.4 % and 37.5 % trained on stylized images, 19.6 % and 22.0 %
untrained; taught by a network that was trained on stylized images, their class token has 40.0 % and 42.0 %,
their shape token 42.2 % and 42.4 %. Where the config says that models and images are these, hollow marks show
it.
"""

import altair as alt

from patchwork import theme

ORDER = 67
FAMILY = "segmentation"
SQL = """
SELECT
    dataset || ' · ' || way AS panel, dataset, model, place, token, model || ' · ' || token AS row,
    jaccard, low, high, published, random, images
FROM segmentation_scores
LEFT JOIN (
    SELECT dataset, model, token, 1 AS step, published
    FROM published_here
    WHERE experiment = 'voc12_segmentation'
) USING (dataset, model, token, step)
ORDER BY dataset, step, place, token
"""


def chart(cells):
    ordered = cells.sort_by([("place", "ascending"), ("token", "ascending")])["row"].to_pylist()
    chosen, title = theme.choice(), "mean Jaccard index"
    rows = alt.Y("row:N", sort=list(dict.fromkeys(ordered)), title=None, axis=alt.Axis(labelLimit=220))
    base = alt.Chart(cells).encode(y=rows)
    measured = base.encode(color=theme.colour(cells))
    layers = [
        base.mark_tick(thickness=3, height=16, color=theme.PALE).encode(x=alt.X("random:Q", title=title)),
        *theme.published(measured, cells, chosen, channel=alt.X),
        theme.interval(measured, chosen, channel=alt.X),
        theme.points(measured.encode(x=theme.share("jaccard", title, alt.X)), cells, chosen, size=70),
    ]
    return theme.rows(alt.layer(*layers), cells, "Attention and true masks")
