"""Top-1 accuracy as patches of the images are blacked out.

From left to right, the share of an image's pixels that is really lost, as a mean over the images; upwards,
the share of images whose class the model ranks first, as a mean over the seeds. A line is a model. A panel
is a dataset and the grid that cuts its images into patches. Upright bars are 95 % Wilson intervals over
images; the pale band around a line is one standard deviation over seeds to either side, where there are
several. The dashed line is chance: what always naming the most frequent class would score. The numbers of
images and seeds are under the title. A click on a model in the legend lets it stand out.

Hollow marks on a thin dashed line are what the paper tells of a model, where the config says that model and
images are the paper's.
"""

import altair as alt

from patchwork import theme

ORDER = 10
FAMILY = "occlusion"
SQL = "FROM accuracy WHERE family = 'occlusion' ORDER BY panel, place, level"


def chart(cells):
    return theme.curves(cells, "Accuracy and pixels lost", theme.share("lost", "pixels lost", alt.X))
