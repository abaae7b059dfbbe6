"""Top-1 accuracy as a share of the attention is blacked out.

From left to right, the share of the attention (of the class token of another model, over the patches of an
image) that is dropped: at least so much by `salient drop`, which takes the fewest patches that hold it; at
most so much by `nonsalient drop`, which leaves the fewest patches that hold the rest. The same share of
attention is many more patches of the background than of the foreground; the tooltip and the table tell how
many pixels are lost, as a mean over the images. Upwards, the share of images whose class the model ranks
first. A line is a model, a panel a dataset and what is dropped first. Upright bars are 95 % Wilson intervals
over images. The dashed line is chance: what always naming the most frequent class would score. The number of
images is under the title. A click on a model in the legend lets it stand out.

Hollow marks on a thin dashed line are what the paper tells of a model, where the config says that model and
images are the paper's.
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
    return theme.curves(
        cells, "Accuracy and attention dropped", theme.share("level", "attention dropped", alt.X)
    )
