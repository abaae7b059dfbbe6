"""Top-1 accuracy under common corruptions.

From left to right, the severity of a corruption, from the untouched image (0) to the strongest (5); upwards,
the share of images whose class the model ranks first, as a mean over the seeds. A line is a model, a panel is
a dataset and a corruption of ImageNet-C (Hendrycks and Dietterich, 2019). Upright bars are 95 % Wilson
intervals over images; the pale band around a line is one standard deviation over seeds to either side, where
there are several. The dashed line is chance: what always naming the most frequent class would score. The
numbers of images and seeds are under the title. A click on a model in the legend lets it stand out.

What severities mean was chosen for photographs of 224 pixels a side; on smaller images the same blur or grain
covers more of what is seen.
"""

import altair as alt

from patchwork import theme

ORDER = 50
FAMILY = "corruption"
SQL = "FROM accuracy WHERE family = 'corruption' ORDER BY panel, place, level"


def chart(cells):
    x = alt.X("level:O", title="severity", axis=alt.Axis(labelAngle=0))
    return theme.curves(cells, "Accuracy and corruptions", x, columns=4)
