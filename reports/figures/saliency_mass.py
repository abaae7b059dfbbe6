"""Top-1 accuracy as a share of the attention is blacked out.

From left to right, the share of the attention (of the class token of another model, over the patches of an
image) that is dropped: at least so much by `salient drop`, which takes the fewest patches that hold it; at
most so much by `nonsalient drop`, which leaves the fewest patches that hold the rest. The same share of
attention is many more patches of the background than of the foreground; the tooltip and the table tell how
many pixels are lost, as a mean over the images. Upwards, the share of images whose class the model ranks
first. A line is a model, a panel a dataset and what is dropped first. Upright bars are 95 % Wilson intervals
over images. The dashed line is chance: what always naming the most frequent class would score. The number of
images is under the title. A click on a model in the legend lets it stand out.
"""

import altair as alt

from patchwork import theme

ORDER = 12
FAMILY = "saliency"
SQL = """
SELECT * REPLACE (concat_ws(' · ', dataset, replace(perturbation, '_', ' ')) AS panel)
FROM accuracy
WHERE family = 'saliency' AND variant = 'mass'
ORDER BY panel, place, level
"""


def chart(cells):
    x = alt.X(
        "level:Q",
        title="attention dropped",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", tickCount=5),
    )
    lost = alt.Tooltip("lost:Q", title="pixels lost", format=".1%")
    return theme.curves(cells, "Accuracy and attention dropped", x, [lost])
