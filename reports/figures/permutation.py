"""Top-1 accuracy as the patches of the images are shuffled.

From left to right, the number of tiles that an image is cut into before they are put back in random order
(the leftmost is the image as it is); upwards, the share of images whose class the model ranks first, as a
mean over the seeds. Steps to the right are evenly spaced whatever the numbers. A line is a model, a panel
is a dataset. Upright bars are 95 % Wilson intervals over images; the pale band around a line is one
standard deviation over seeds to either side, where there are several. The dashed line is chance: what
always naming the most frequent class would score. The numbers of images and seeds are under the title. A
click on a model in the legend lets it stand out.

Hollow marks on a thin dashed line are what the paper tells of a model, where the config says that model and
images are the paper's.
"""

import altair as alt

from patchwork import theme

ORDER = 20
FAMILY = "permutation"
SQL = "FROM accuracy WHERE family = 'permutation' ORDER BY panel, place, level"


def chart(cells):
    x = alt.X("level:O", title="number of tiles", axis=alt.Axis(labelAngle=0))
    return theme.curves(cells, "Accuracy and shuffled tiles", x)
